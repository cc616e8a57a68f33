//go:build race

package home

import "time"

// theDay is shorter with the race detector, which makes it 20 times as long.
const theDay = 3 * time.Hour
