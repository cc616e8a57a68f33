package clock

import (
	"fmt"
	"time"
)

// edgeMargin is how near a rounding edge a timeline is not yet certain: two receivers may have heard
// time tables that differ by their jitter.
const edgeMargin = 90 * Hz

const hour = 3600 * Hz

// MaxTimeline is the largest number of hours a timeline can have, either way: half a PTS wrap is 13 h 15 min.
const MaxTimeline = 13

// Extend unwraps p to x: p + k·2^33 with k chosen so that x is nearest to utc. Of two equally near
// values it takes the later. utc may be hours off; it only picks k.
func Extend(p PTS, utc time.Time) Ticks {
	u := TicksAt(utc)
	return u - u.PTS().Sub(p&(Wrap-1))
}

// Bucket is floor(x/d), the group id of a chunk or the slot of a part. It is 0 for d ≤ 0.
func Bucket(x, d Ticks) int64 {
	if d <= 0 {
		return 0
	}
	q, _ := floorDiv(int64(x), int64(d))
	return q
}

// Timeline is round((utc − x/90000) / 1 h), −13 … 13: which run of the broadcaster's clock x belongs to.
// edge says that utc lies within 90 s of where this number changes, or of where Extend picks another k,
// so another receiver may have come to a neighbouring answer.
func Timeline(utc time.Time, x Ticks) (hours int, edge bool) {
	d := int64(TicksAt(utc) - x)
	q, r := floorDiv(d+hour/2, hour) // halves round up; they are edges anyway
	edge = r < edgeMargin || r > hour-edgeMargin
	const half = Wrap / 2
	if d > half-edgeMargin || d < -half+edgeMargin {
		edge = true
	}
	return int(max(-MaxTimeline, min(MaxTimeline, q))), edge
}

// Neighbor is the timeline on the other side of the rounding edge that x is nearest to.
func Neighbor(utc time.Time, x Ticks) int {
	d := int64(TicksAt(utc) - x)
	q, r := floorDiv(d+hour/2, hour)
	if r < hour/2 {
		q--
	} else {
		q++
	}
	return int(max(-MaxTimeline, min(MaxTimeline, q)))
}

// TimelineName writes hours as in a track's name: −13 is "t00", 0 is "t13", 13 is "t26".
func TimelineName(hours int) string {
	return fmt.Sprintf("t%02d", hours+MaxTimeline)
}

// ParseTimeline reads what TimelineName wrote.
func ParseTimeline(s string) (hours int, ok bool) {
	if len(s) != 3 || s[0] != 't' || s[1] < '0' || s[1] > '2' || s[2] < '0' || s[2] > '9' {
		return 0, false
	}
	n := int(s[1]-'0')*10 + int(s[2]-'0')
	if n > 2*MaxTimeline {
		return 0, false
	}
	return n - MaxTimeline, true
}
