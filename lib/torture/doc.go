// Package torture puts the two promises of docs/format/chunk.md to a test. From a seed it makes a random legal transport stream
// and random receivers of it, lets ec-chop cut what each receiver got, and reports every broken promise. The judge knows the
// promises and what the generator sent, and does not know the rules of lib/chop.
//
// spec.go makes a seed into habits, and into a line that names them; generate.go, tables.go, media.go and codec.go make the
// stream, receive.go the receivers. judge.go lists the promises and calls their judges: safety.go, liveness.go, cuts.go.
// contents.go finds out which packets of the stream an object holds, excuses.go what a receiver could not have known.
//
// The package is test support: nothing imports it. See docs/torture.md.
package torture
