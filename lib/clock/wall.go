package clock

import "time"

// Wall ties the buckets of a track to UTC: at UTC a receiver heard X. X runs with UTC from there, either way, so a time far from
// UTC is off by what the broadcaster's clock drifted.
type Wall struct {
	Grid Grid
	X    Ticks
	UTC  time.Time
}

// WallOfTimeline is what the timeline of a track alone says of its time, which is good for half an hour either way: x is
// so many hours behind UTC.
func WallOfTimeline(g Grid, hours int) Wall {
	return Wall{Grid: g, UTC: time.Unix(0, 0).Add(time.Duration(hours) * time.Hour)}
}

// Bucket is the one that is on at t.
func (w Wall) Bucket(t time.Time) int64 { return w.Grid.Of(w.X + TicksOf(t.Sub(w.UTC))) }

// Time is when a bucket begins.
func (w Wall) Time(bucket int64) time.Time { return w.UTC.Add((w.Grid.Start(bucket) - w.X).Duration()) }
