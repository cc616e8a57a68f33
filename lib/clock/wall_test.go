package clock

import (
	"testing"
	"time"
)

func TestWall(t *testing.T) {
	utc := time.Date(2026, 7, 4, 20, 20, 0, 0, time.UTC)
	grid := Grid(180_000)
	w := Wall{Grid: grid, X: grid.Start(1000) + 90_000, UTC: utc} // half way through bucket 1000
	for _, c := range []struct {
		name string
		t    time.Time
		want int64
	}{
		{"when it was heard", utc, 1000},
		{"the end of the bucket", utc.Add(time.Second - time.Nanosecond), 1000},
		{"the next bucket", utc.Add(time.Second), 1001},
		{"its start", utc.Add(-time.Second), 1000},
		{"the bucket before", utc.Add(-time.Second - time.Nanosecond), 999},
		{"an hour before", utc.Add(-time.Hour), 1000 - 1800},
	} {
		if got := w.Bucket(c.t); got != c.want {
			t.Errorf("%s: bucket %d, want %d", c.name, got, c.want)
		}
	}
	if got := w.Time(1001); !got.Equal(utc.Add(time.Second)) {
		t.Errorf("the next bucket begins at %v", got)
	}
	last := grid.Buckets() - 1 // is shorter than the others
	across := Wall{Grid: grid, X: grid.Start(last), UTC: utc}
	if got, want := across.Time(last+1), utc.Add((Wrap - grid.Start(last)).Duration()); !got.Equal(want) {
		t.Errorf("after the wrap: %v, want %v", got, want)
	}
}

func TestWallOfTimeline(t *testing.T) {
	for _, hours := range []int{-13, 0, 2, 13} {
		w := WallOfTimeline(180_000, hours)
		utc := time.Date(2026, 7, 4, 20, 20, 0, 0, time.UTC)
		x := TicksAt(utc.Add(-time.Duration(hours) * time.Hour))
		if got := w.Bucket(utc); got != w.Grid.Of(x) || Timeline(utc, x) != hours {
			t.Errorf("timeline %d: bucket %d at %v, want %d", hours, got, utc, w.Grid.Of(x))
		}
	}
}

func TestExtendFrom(t *testing.T) {
	for _, c := range []struct {
		name string
		p    PTS
		base Ticks
		want Ticks
	}{
		{"at the base", 5, 5, 5},
		{"after it", 7, 5, 7},
		{"before it, so a wrap later", 4, 5, Wrap + 4},
		{"in a later wrap", 7, 3*Wrap + 5, 3*Wrap + 7},
		{"across the wrap", 1, Wrap - 2, Wrap + 1},
		{"before the epoch", Wrap - 1, -3, -1},
	} {
		if got := ExtendFrom(c.p, c.base); got != c.want || got.PTS() != c.p {
			t.Errorf("%s: %d from %d is %d, want %d", c.name, c.p, c.base, got, c.want)
		}
	}
}

func TestParseTimeline(t *testing.T) {
	for hours := -MaxTimeline; hours <= MaxTimeline; hours++ {
		if got, ok := ParseTimeline(TimelineName(hours)); !ok || got != hours {
			t.Errorf("%s is %d, %v; want %d", TimelineName(hours), got, ok, hours)
		}
	}
	for _, name := range []string{"", "t", "t1", "13", "t27", "t99", "t013", "x13", "t1x", "t-1", "t13 "} {
		if got, ok := ParseTimeline(name); ok {
			t.Errorf("%q is taken for timeline %d", name, got)
		}
	}
}

func TestBucketsBetween(t *testing.T) {
	at := func(bucket int64, tag uint16) uint64 { return GroupID(bucket, tag) }
	for _, c := range []struct {
		name     string
		from, to uint64
		want     int64
	}{
		{"the same", at(7, 1), at(7, 1), -1},
		{"another chunk of the bucket", at(7, 1), at(7, 0xffff), -1},
		{"the next", at(7, 0xffff), at(8, 0), 0},
		{"one left out", at(7, 0), at(9, 3), 1},
		{"behind", at(9, 0), at(7, 0), -3},
	} {
		if got := BucketsBetween(c.from, c.to); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestMayBeBucket(t *testing.T) {
	for _, utc := range []time.Time{time.Date(1986, 1, 1, 0, 0, 0, 0, time.UTC), epochs[3], time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		for _, d := range []time.Duration{200 * time.Millisecond, 2 * time.Second, time.Minute} {
			bucket := Grid(TicksOf(d)).Of(TicksAt(utc))
			if !MayBeBucket(uint64(bucket)) || MayBeBucket(GroupID(bucket, 0)) {
				t.Errorf("%v, chunks of %v: bucket %d and its group %d are not told apart", utc, d, bucket, GroupID(bucket, 0))
			}
		}
	}
}

func TestForPeople(t *testing.T) {
	if got := Ticks(90_001).Ticks27(); got != 27_000_300 {
		t.Errorf("90,001 ticks are %d of 27 MHz", got)
	}
	if got := Ticks27(40_500_000).Seconds(); got != 1.5 {
		t.Errorf("%v s", got)
	}
	if got := Ticks27(-40_500_000).Milliseconds(); got != -1500 {
		t.Errorf("%v ms", got)
	}
	if got := Ticks27(13_500_000).Rate(30); got != 60 {
		t.Errorf("30 in half a second are %v in one", got)
	}
}
