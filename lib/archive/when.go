package archive

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// Which groups were broadcast at a time. Their ids count the broadcast's clock (docs/format/names.md), which the timelines of receivers tie to UTC.

// receivers is the namespace of receivers.
var receivers = object.Namespace{"ec", "source"}

const (
	// usualGrid is the length of chunks where nothing says it.
	usualGrid clock.Grid = 2 * clock.Hz
	// before and after are how many buckets are taken more than a range has: a chunk may be longer than a bucket, and receivers hear tables late.
	before, after = 3, 1
	// nameTells is how far off the time may be that a track's name tells.
	nameTells = 30*time.Minute + time.Minute
	// looked is how many groups of a timeline are looked at, from the newest.
	looked = 5
)

// everything is all groups of a track.
var everything = store.Range{First: 0, Last: object.MaxVarint}

// resolve notes which groups of the tracks in the store a takedown means, where that is not noted. It reports whether anything was.
func (ts *Takedowns) resolve(d *Takedown) (some bool) {
	switch {
	case d.Hash != "":
		return ts.resolveHash(d)
	case d.From == nil && d.To == nil:
		return false
	}
	e := newView([]Takedown{*d}).entries[0]
	for _, name := range ts.st.Tracks() {
		if !e.about(name) || e.known[name.String()] != nil || len(d.Ranges) >= maxTakedownRanges {
			continue
		}
		if r, ok := told(ts.st, name, d.From, d.To); ok {
			d.Ranges, some = append(slices.Clone(d.Ranges), TakenRange{name.String(), r.First, r.Last}), true
		}
	}
	return some
}

// resolveHash notes the groups of which manifests say that they have the hash.
func (ts *Takedowns) resolveHash(d *Takedown) (some bool) {
	for _, name := range ts.st.Tracks() {
		t := ts.st.Lookup(name)
		if t == nil || name.Name != catalog.TrackManifest {
			continue
		}
		for _, g := range t.Groups(0, object.MaxVarint) {
			each(t, g.Group, func(payload []byte) {
				m, err := catalog.ParseManifestEntry(payload)
				if err != nil || hex.EncodeToString(m.Hash[:]) != d.Hash {
					return
				}
				if r := (TakenRange{m.Track.String(), m.Group, m.Group}); !slices.Contains(d.Ranges, r) && len(d.Ranges) < maxTakedownRanges {
					d.Ranges, some = append(slices.Clone(d.Ranges), r), true
				}
			})
		}
	}
	return some
}

// withSources adds to the names of broadcasts the receivers that send them, too: chunks that were not promoted are under the receivers' own names.
func withSources(st *store.Store, names []string) []string {
	all := slices.Clone(names)
	for _, name := range st.Tracks() {
		if name.Name != catalog.TrackCatalog || !name.Namespace.HasPrefix(receivers) {
			continue
		}
		c := newestCatalog(st, name)
		if c == nil || c.EC == nil || !slices.Contains(names, c.EC.Broadcast) {
			continue
		}
		if ns := name.Namespace.String(); !slices.Contains(all, ns) && len(all) < maxTakedownNames {
			all = append(all, ns)
		}
	}
	return all
}

// newestCatalog returns the newest catalog of a track that can be read; nil: there is none.
func newestCatalog(st *store.Store, name object.TrackName) (c *catalog.Catalog) {
	t := st.Lookup(name)
	if t == nil {
		return nil
	}
	for _, id := range slices.Backward(t.Newest(looked)) {
		each(t, id, func(payload []byte) {
			if got, err := catalog.Parse(payload); err == nil {
				c = got
			}
		})
		if c != nil {
			return c
		}
	}
	return nil
}

// ids says what the group ids of a track count.
type ids uint8

const (
	plain   ids = iota // groups, one after the other, or what nobody here knows
	buckets            // buckets of a broadcast's clock
	tagged             // chunks: a bucket and a tag
	utcs               // catalogs: UTC by the length of a chunk, and a tag
)

func idsOf(n object.TrackName) ids {
	switch {
	case len(n.Namespace) == 0 || n.Namespace[0] != "ec":
		return plain
	case catalog.IsTS(n.Name):
		return tagged
	case n.Name == catalog.TrackCatalog || strings.HasPrefix(n.Name, catalog.TrackCatalog+"_"):
		return utcs
	}
	return buckets
}

// told returns the groups of a track in the store that were broadcast from a time to another; false: nothing in the store tells.
func told(st *store.Store, name object.TrackName, from, to *time.Time) (store.Range, bool) {
	kind := idsOf(name)
	grid := usualGrid
	if c := newestCatalog(st, catalog.For(name)); c != nil && c.EC != nil && c.EC.Duration > 0 {
		grid = clock.Grid(c.EC.Duration)
	}
	switch kind {
	case plain:
		return store.Range{}, false
	case utcs:
		return utcRange(grid, from, to), true
	}
	w, ok := tie(st, name, grid)
	if !ok {
		return store.Range{}, false
	}
	return wallRange(kind, w, 0, from, to), true
}

// guessed returns the same by the name of a track alone. Where that does not tell, it is all of the track: too much is taken down, and not too little.
func guessed(name object.TrackName, from, to *time.Time) store.Range {
	n, ok := catalog.NamingOf(name)
	if !ok {
		return everything
	}
	grid := clock.Grid(clock.TicksOf(n.Length()))
	hours, _, ok := catalog.TSTrack(name.Name)
	if !ok {
		return utcRange(grid, from, to)
	}
	return wallRange(tagged, clock.WallOfTimeline(grid, hours), nameTells, from, to)
}

// wallRange returns the groups from a time to another, and so much before and behind.
func wallRange(kind ids, w clock.Wall, off time.Duration, from, to *time.Time) store.Range {
	r := everything
	if from != nil {
		r.First = firstOf(kind, w.Bucket(from.Add(-off))-before)
	}
	if to != nil {
		r.Last = max(firstOf(kind, w.Bucket(to.Add(off))+after+1), 1) - 1
	}
	return r
}

func firstOf(kind ids, bucket int64) uint64 {
	id := uint64(max(bucket, 0))
	if kind != buckets {
		id *= clock.GroupsPerBucket
	}
	return id
}

// utcRange is wallRange for catalogs, whose groups count UTC itself.
func utcRange(grid clock.Grid, from, to *time.Time) store.Range {
	r, of := everything, func(t time.Time) int64 { return int64(clock.TicksAt(t)) / int64(grid) }
	if from != nil {
		r.First = firstOf(utcs, of(*from)-before)
	}
	if to != nil {
		r.Last = max(firstOf(utcs, of(*to)+after+1), 1) - 1
	}
	return r
}

// tie finds what the newest entry about a track in the timelines of receivers says.
func tie(st *store.Store, name object.TrackName, grid clock.Grid) (w clock.Wall, ok bool) {
	own := name.Namespace.HasPrefix(receivers)
	for _, n := range st.Tracks() {
		if n.Name != catalog.TrackTimeline || !n.Namespace.HasPrefix(receivers) || own && !n.Namespace.Equal(name.Namespace) {
			continue
		}
		t := st.Lookup(n)
		if t == nil {
			continue
		}
		for _, id := range slices.Backward(t.Newest(looked)) {
			each(t, id, func(payload []byte) {
				e, err := catalog.ParseTimelineEntry(payload)
				if err != nil || !own && !e.Track.Equal(name) {
					return
				}
				base := grid.Start(clock.GroupBucket(e.Group)) // the x of the entry lies within one grid length of base
				w, ok = clock.Wall{Grid: grid, X: clock.ExtendFrom(clock.PTS(e.PTS), base), UTC: e.UTC.Time}, true
			})
			if ok {
				return w, true
			}
		}
	}
	return w, false
}
