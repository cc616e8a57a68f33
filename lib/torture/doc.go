// Package torture puts the two promises of docs/format/chunk.md to a test. A seed goes in; out of it come a
// random legal transport stream, random receivers of it, what ec-chop makes of each, and every place where
// that breaks a promise. The judge knows the promises and what the generator sent, not the rules of lib/chop.
//
// spec.go makes a seed into habits, and a line of them; generate.go, tables.go, media.go and codec.go make the stream, receive.go
// the receivers. judge.go lists the promises and calls their judges: safety.go, liveness.go, cuts.go. contents.go finds
// out what was sent of what an object holds, excuses.go what a receiver could not have known.
//
// It is test support: nothing imports it. See docs/torture.md.
package torture
