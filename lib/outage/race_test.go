//go:build race

package outage

// raced: the race detector is on. Programs run several times slower with it, and tests of this room run as fast as a broadcast.
const raced = true
