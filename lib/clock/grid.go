package clock

import (
	"fmt"
	"time"
)

const hour = 3600 * Hz

// MaxTimeline is the largest number of hours a timeline can have, either way: half a PTS wrap is 13 h 15 min.
const MaxTimeline = 13

// Extend unwraps p to x: p + k·2^33 with k chosen so that x is nearest to utc. Of two equally near
// values it takes the later. utc may be hours off; it only picks k.
func Extend(p PTS, utc time.Time) Ticks {
	u := TicksAt(utc)
	return u - u.PTS().Sub(p&(Wrap-1))
}

// ExtendFrom unwraps p to the first x from base on.
func ExtendFrom(p PTS, base Ticks) Ticks { return base + Ticks((p-base.PTS())&(Wrap-1)) }

// Bucket is floor(x/d): the slot of length d that x lies in. It is 0 for d ≤ 0.
func Bucket(x, d Ticks) int64 {
	if d <= 0 {
		return 0
	}
	q, _ := floorDiv(int64(x), int64(d))
	return q
}

// Timeline is round((utc − x/90000) / 1 h), −13 … 13: which run of the broadcaster's clock x belongs to.
func Timeline(utc time.Time, x Ticks) (hours int) {
	q, _ := floorDiv(int64(TicksAt(utc)-x)+hour/2, hour) // halves round up
	return int(max(-MaxTimeline, min(MaxTimeline, q)))
}

// TimelineName writes hours as in a track's name: −13 is "t00", 0 is "t13", 13 is "t26".
func TimelineName(hours int) string {
	return fmt.Sprintf("t%02d", hours+MaxTimeline)
}

// ParseTimeline reads what TimelineName writes.
func ParseTimeline(name string) (hours int, ok bool) {
	if len(name) != len("t00") || name[0] != 't' || !isDigit(name[1]) || !isDigit(name[2]) {
		return 0, false
	}
	hours = int(name[1]-'0')*10 + int(name[2]-'0') - MaxTimeline
	return hours, hours <= MaxTimeline
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
