// Package limits bounds what each peer of a server may use up of it, and what all of them may together.
//
// In flow requests to use something: who asks, of what kind, and how much. Out flow leave or an Excess, and counts of what was refused. A
// peer is an address, or what it has proved to be; it is bounded by itself, then with the block of addresses around it, and then all are
// together. docs/relay.md has the bounds.
package limits
