//go:build race

package chop_test

// raceEnabled: the detector makes everything ten times slower, so inputs are shorter.
const raceEnabled = true
