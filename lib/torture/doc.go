// Package torture puts the two promises of docs/format/chunk.md to a test. A seed goes in; out of it come a
// random legal transport stream, random receivers of it, what ec-chop makes of each, and every place where
// that breaks a promise. The judge knows the promises and what the generator sent, not the rules of lib/chop.
//
// It is test support: nothing imports it. See docs/torture.md.
package torture
