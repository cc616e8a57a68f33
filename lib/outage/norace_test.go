//go:build !race

package outage

const raced = false
