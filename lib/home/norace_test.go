//go:build !race

package home

import "time"

const theDay = 24 * time.Hour
