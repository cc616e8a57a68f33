package clock

import "time"

// Wall ties the buckets of a track to UTC: at the time UTC a receiver heard X. X runs on with UTC in both directions, so a result
// far from UTC is off by the drift of the broadcaster's clock since then.
type Wall struct {
	Grid Grid
	X    Ticks
	UTC  time.Time
}

// WallOfTimeline returns what the timeline in a track's name says of its time: x is this many hours behind UTC. That is good for
// half an hour either way.
func WallOfTimeline(g Grid, hours int) Wall {
	return Wall{Grid: g, UTC: time.Unix(0, 0).Add(time.Duration(hours) * time.Hour)}
}

// Bucket returns the bucket that is on air at t.
func (w Wall) Bucket(t time.Time) int64 { return w.Grid.Of(w.X + TicksOf(t.Sub(w.UTC))) }

// Time is when a bucket begins.
func (w Wall) Time(bucket int64) time.Time { return w.UTC.Add((w.Grid.Start(bucket) - w.X).Duration()) }
