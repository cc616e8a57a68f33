package catalog

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
)

// Naming says what the group ids of a broadcast's track stand for (docs/format/names.md): all its receivers give them alike, from its clock.
type Naming struct {
	wall   clock.Wall
	chunks bool
}

// usual is the length of the chunks of tracks that name no other.
const usual = 2 * time.Second

// NamingOf returns the naming of a track of a broadcast, its chunks or a catalog. ok is false for a source's tracks, of which only the source
// knows what their ids stand for, and for tracks that are not this project's.
func NamingOf(t object.TrackName) (n Naming, ok bool) {
	ns := t.Namespace
	if len(ns) < 2 || string(ns[0]) != "ec" || !slices.Contains([]string{"atsc", "dvb"}, string(ns[1])) {
		return Naming{}, false
	}
	if hours, variant, ok := TSTrack(t.Name); ok {
		return Naming{clock.WallOfTimeline(clock.Grid(clock.TicksOf(lengthOf(variant))), hours), true}, true
	}
	variant, ok := strings.CutPrefix(t.Name, TrackCatalog)
	if !ok || variant != "" && variant[0] != '_' {
		return Naming{}, false
	}
	return Naming{clock.Wall{Grid: clock.Grid(clock.TicksOf(lengthOf(variant))), UTC: time.Unix(0, 0)}, false}, true
}

// lengthOf returns the length of the chunks of a variant: `_d4000_p200_ref1` has 4 s.
func lengthOf(variant string) time.Duration {
	rest, ok := strings.CutPrefix(variant, "_d")
	ms, rest, _ := strings.Cut(rest, "_")
	if n, err := strconv.ParseUint(ms, 10, 16); ok && err == nil && n > 0 && strings.HasPrefix(rest, "p") {
		return time.Duration(n) * time.Millisecond
	}
	return usual
}

// Chunks reports whether the groups are chunks. Two receivers of a broadcast then bring one group for a bucket, but where its clock was set back.
func (n Naming) Chunks() bool { return n.chunks }

// Length is that of a bucket.
func (n Naming) Length() time.Duration { return clock.Ticks(n.wall.Grid).Duration() }

// Time is when a group's bucket begins in UTC, at most the year 2200, as anybody may invent an id. Of chunks it is good for half an hour
// either way, and exact between two groups.
func (n Naming) Time(group uint64) time.Time {
	bucket := min(clock.GroupBucket(group), int64(latest)/int64(n.wall.Grid))
	if !n.chunks { // floor(UTC / D)
		return n.wall.UTC.Add((clock.Ticks(bucket) * clock.Ticks(n.wall.Grid)).Duration())
	}
	return n.wall.Time(bucket)
}

var latest = clock.TicksAt(time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC))

// First is the least id of the groups of a group's bucket.
func (n Naming) First(group uint64) uint64 { return clock.GroupID(clock.GroupBucket(group), 0) }

// timelineReach is how far from a chunk a timeline tells the time of another one.
const timelineReach = 10 * time.Minute

// UTC returns when a chunk is due on the air whose first time stamp is pts, by what a timeline says of another chunk of the track. ok is false where
// that is not certain: time stamps must be as far apart as group ids say, and the time must be one that the track's name allows. If the clock was
// set, or somebody invents entries, they are not.
func (n Naming) UTC(group, pts uint64, e *TimelineEntry) (utc time.Time, ok bool) {
	apart := clock.PTS(pts).Sub(clock.PTS(e.PTS)).Duration()
	off := apart - n.Time(group).Sub(n.Time(e.Group))
	if off > 2*n.Length() || off < -2*n.Length() || apart > timelineReach || apart < -timelineReach {
		return utc, false
	}
	// A timeline id stands for half an hour either way, and a chunk begins within its bucket or, where pictures are far apart, soon after.
	if off := e.UTC.Sub(n.Time(e.Group)); off > 31*time.Minute || off < -31*time.Minute {
		return utc, false
	}
	return e.UTC.Add(apart), true
}
