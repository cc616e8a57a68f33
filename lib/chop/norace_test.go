//go:build !race

package chop_test

const raceEnabled = false
