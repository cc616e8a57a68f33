package live

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// Track is a track: its newest groups in memory, over its files.
type Track struct {
	m     *Memory
	name  object.TrackName
	files Files

	mu        sync.Mutex // guards what follows, every group, and every Source's progress
	groups    map[uint64]*group
	bytes     int64 // of the payloads in groups
	largest   *moqt.Location
	remote    *moqt.Location // largest that an upstream told of
	ends      bool           // groups of this track carry their end
	props     []byte         // track properties
	sources   map[*Source]struct{}
	followers map[*Follower]struct{}
	over      bool // its last publisher said TRACK_ENDED, and no other has come since

	births []Birth   // of groups that came live, the newest last
	seq    uint64    // of the newest
	backAt time.Time // when the track last went back
}

// Source is a publisher of a track.
type Source struct {
	Name     string
	Origin   store.Origin // of what it brings
	Fetched  bool         // it brings what was asked for, and does not say what is live
	Upstream bool         // it is another relay
	// Told is the largest location that an upstream says there is; nil: it says nothing.
	Told func() *moqt.Location

	Objects, Duplicates, Conflicts, Refused atomic.Int64
	Heard                                   atomic.Int64 // Unix ns of the last object

	progress progress // the track's mutex guards it
}

// Track makes a track over what is stored of it.
func (m *Memory) Track(name object.TrackName, files Files) *Track {
	t := &Track{
		m: m, name: name, files: files, groups: make(map[uint64]*group),
		sources: make(map[*Source]struct{}), followers: make(map[*Follower]struct{}),
	}
	if g, id, ok := files.Largest(); ok {
		t.largest = &moqt.Location{Group: g, Object: id}
	}
	for _, i := range files.Groups(0, object.MaxVarint) {
		t.ends = t.ends || i.Complete
	}
	return t
}

// Exists reports whether there is anything to subscribe to.
func (t *Track) Exists() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.largest != nil || t.remote != nil || len(t.sources) > 0
}

// Empty reports whether nothing is known of the track, and nobody publishes or follows it.
func (t *Track) Empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sources)+len(t.followers)+len(t.groups) == 0 && t.largest == nil
}

// Info is what subscribers are told.
func (t *Track) Info() moqt.TrackInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := moqt.TrackInfo{Properties: t.props}
	if l := later(t.largest, t.told()); l != nil {
		l := *l
		i.Largest = &l
	}
	return i
}

// Status is what operators are told: the newest group, if there is one, and how long ago something of it came, if it is in memory.
func (t *Track) Status(now time.Time) (publishers int, newest *uint64, age *time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.largest != nil {
		id := t.largest.Group
		newest = &id
		if g := t.groups[id]; g != nil {
			d := now.Sub(g.touched)
			age = &d
		}
	}
	return len(t.sources), newest, age
}

// LargestBefore is the largest location before the track was asked for, when it was had, as far as it was known here and upstream.
func (t *Track) LargestBefore(had *moqt.Location) *moqt.Location {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.sources) == 0 {
		return later(had, later(t.largest, t.remote))
	}
	return later(had, t.told())
}

// told is the largest location that upstreams tell of. Of those that send the track the one that says least counts, for another may
// say anything, and then those that do not send it are not heard. The track's mutex is held.
func (t *Track) told() (l *moqt.Location) {
	for src := range t.sources {
		if src.Told == nil {
			continue
		}
		if at := src.Told(); at != nil && (l == nil || at.Less(*l)) {
			l = at
		}
	}
	if l == nil {
		return t.remote
	}
	return l
}

// Learn notes the largest location that an upstream tells of that does not send the track.
func (t *Track) Learn(l *moqt.Location) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l != nil && (t.remote == nil || t.remote.Less(*l)) {
		t.remote = l
	}
}

// Describe notes the properties of a track, unless some are known.
func (t *Track) Describe(props []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.describe(props)
}

func (t *Track) describe(props []byte) {
	if len(t.props) == 0 {
		t.props = slices.Clone(props)
	}
}

// Attach makes a source one of those that publish the track.
func (t *Track) Attach(src *Source, props []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.sources) == 0 {
		t.m.tracks.Add(1)
	}
	t.sources[src] = struct{}{}
	t.over = false
	t.describe(props)
}

// Detach forgets a source. Without any, nothing in memory is awaited any more: the store has it all. ended: it said that the
// track is; the last one's word counts, and then nobody waits for what is missing.
func (t *Track) Detach(src *Source, ended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sources, src)
	if len(t.sources) > 0 {
		return
	}
	t.m.tracks.Add(-1)
	if !ended {
		return
	}
	t.over = true
	for _, g := range t.groups {
		for _, o := range slices.Clone(g.objs) {
			t.breakOff(o)
		}
		g.change()
	}
	t.wake()
}

// Live reports whether a track has a publisher.
func (t *Track) Live() bool { return t.any(func(*Source) bool { return true }) }

// Local reports whether somebody publishes a track here, upstreams apart.
func (t *Track) Local() bool { return t.any(func(src *Source) bool { return !src.Upstream }) }

// Linked reports whether the track is subscribed to at an upstream.
func (t *Track) Linked() bool { return t.any(func(src *Source) bool { return src.Upstream }) }

// Others reports whether anybody but src publishes the track.
func (t *Track) Others(src *Source) bool {
	return t.any(func(other *Source) bool { return other != src })
}

func (t *Track) any(is func(*Source) bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for src := range t.sources {
		if is(src) {
			return true
		}
	}
	return false
}

// Ended reports that nobody will publish more of the track, as far as its last publisher knew.
func (t *Track) Ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over
}

// Stream is a stream of a source that may bring more of a group.
type Stream struct {
	t *Track
	g *group
}

// Stream tells that a stream of a source brings objects.
func (t *Track) Stream() *Stream { return &Stream{t: t} }

// Brought tells of which group it brings objects. While it is not closed, the group may go on.
func (s *Stream) Brought(group uint64) {
	if s.g != nil {
		return
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if s.g = s.t.groups[group]; s.g != nil {
		s.g.open++
	}
}

// Close tells that it brings no more of a subgroup; clean means a FIN after last.
func (s *Stream) Close(group, sub, last uint64, clean bool) {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.g != nil {
		s.g.open--
	}
	g := t.groups[group]
	if g == nil {
		return
	}
	if s := g.subs[sub]; clean && (!s.finished || s.last < last) {
		g.subs[sub] = subgroup{finished: true, last: last, at: time.Now()}
	}
	g.change()
}

// wake has all followers look for groups. The track's mutex is held.
func (t *Track) wake() {
	for f := range t.followers {
		f.Kick()
	}
}

// later returns the later one of two locations that may be unknown.
func later(a, b *moqt.Location) *moqt.Location {
	if a == nil || b != nil && a.Less(*b) {
		return b
	}
	return a
}
