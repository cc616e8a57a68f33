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

// Track is one track: its newest groups, in memory, and its files.
type Track struct {
	m     *Memory
	name  object.TrackName
	files Files

	beginning sync.RWMutex // Put holds it for reading, and what begins the track anew for writing; it is taken before mu

	mu        sync.Mutex // guards what follows, every group, and every Source's progress
	groups    map[uint64]*group
	bytes     int64 // of the payloads in groups
	largest   *moqt.Location
	remote    *moqt.Location // the largest one that an upstream told of which does not send the track
	ends      bool           // groups of this track carry their end
	props     []byte         // track properties
	sources   map[*Source]struct{}
	followers map[*Follower]struct{}
	over      bool // the last publisher said TRACK_ENDED, and none has come since

	incarnation uint64 // the Seq at which the track began anew last
	came        uint64 // how many new objects publishers have brought
	hashes      bool   // an object that is kept has a hash; false if it was stored before the relay started, and nobody looked

	births []Birth   // of groups that came live, the newest last
	seq    uint64    // of the newest
	backAt time.Time // when the track last went back

	jury  jury
	leads leads

	beat     beat
	began    time.Time     // when the first source came of those that are here
	left     time.Time     // when the last one left, or it was first noticed that there is none
	closed   []*closing    // groups that became whole last, the newest last
	standbys int           // how many came so far
	asks     []time.Time   // when standbys were asked lately
	probe    time.Duration // after which a standby that sends may rest for an upstream; zero: firstProbe
	leftTo   time.Time     // when standbys were last sent to rest for an upstream
	stirred  chan struct{}
}

// Source is a publisher of a track.
type Source struct {
	Name     string
	Who      string       // tells homes apart; "": Name does
	Host     string       // homes of one host have one vote together where homes contradict each other; "": Who does
	Origin   store.Origin // where its objects come from, for the store
	Fetched  bool         // it brings what a FETCH asked for, so its groups are not live
	Upstream bool         // it is another relay
	Standby  bool         // it sends only while it is asked to, as Relieve says; Attach finds it resting
	// Told returns the largest location that an upstream says there is; nil for a source that says nothing.
	Told func() *moqt.Location
	// Eager says that a standby is asked at once when nobody sends the track and nothing of it came yet.
	Eager bool
	// Tell gives a standby an order of Relieve's; it does not wait.
	Tell func(Order)
	// Since is what Born returned before a Fetched source was asked. What it brings is of that time.
	Since uint64

	Objects, Duplicates, Conflicts, Refused, Apart atomic.Int64
	Heard                                          atomic.Int64 // Unix ns of the last object

	progress progress // the track's mutex guards it and what follows
	apart    error    // why the last group was that did not fit
	reserve  reserve
	props    []byte // the track's properties, as it tells them
	came     uint64 // the track's, when the source was attached
	judged   bool   // it was decided whether the source begins the track anew
}

// Track returns a new track; files is what is stored of it.
func (m *Memory) Track(name object.TrackName, files Files) *Track {
	t := &Track{
		m: m, name: name, files: files, groups: make(map[uint64]*group),
		sources: make(map[*Source]struct{}), followers: make(map[*Follower]struct{}), stirred: make(chan struct{}, 1),
	}
	t.jury.stir, t.jury.quarantined = t.Stir, t.quarantined
	t.leads.most = m.c.MaxAhead
	if m.c.Naming != nil {
		t.leads.naming = m.c.Naming(name)
	}
	if g, id, ok := files.Largest(); ok {
		t.largest = &moqt.Location{Group: g, Object: id}
	}
	for _, i := range files.Groups(0, object.MaxVarint) {
		t.ends = t.ends || i.Complete
	}
	return t
}

const (
	// restStored is how long groups that are stored stay in memory when the last publisher has left, and restAll how long others do.
	restStored, restAll = 10 * time.Second, 2 * time.Minute
)

// Bytes is how much payload of the track is in memory.
func (t *Track) Bytes() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes
}

// Rest takes groups out of memory when no publisher is there any more: what is stored is read from there. Of a track with followers the newest
// groups stay.
func (t *Track) Rest(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.sources) > 0 || len(t.groups) == 0 {
		return
	}
	if t.left.IsZero() || t.left.After(now) {
		t.left = now
	}
	since := now.Sub(t.left)
	if since < restStored || len(t.followers) > 0 && len(t.groups) <= MinGroups {
		return
	}
	if len(t.followers) > 0 {
		t.evictTo(0)
		return
	}
	var stored []*group // the store is not asked while the mutex is held
	for _, g := range t.groups {
		if g.loading == nil && (since >= restAll || g.open == 0) {
			stored = append(stored, g)
		}
	}
	if since < restAll {
		t.mu.Unlock()
		stored = slices.DeleteFunc(stored, func(g *group) bool { return !t.files.Has(g.ID) })
		t.mu.Lock()
		if len(t.sources)+len(t.followers) > 0 {
			return
		}
	}
	for _, g := range stored {
		if t.groups[g.ID] == g && g.loading == nil {
			t.drop(g)
		}
	}
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

// Info returns what subscribers are told of the track.
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

// Status returns what operators are told: how many publish the track, its newest group, if it has one, and how long ago something of
// that group came, if the group is in memory.
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

// LargestBefore returns the largest location that was known, here and upstream, before a request made upstreams send the track. Here it
// was had.
func (t *Track) LargestBefore(had *moqt.Location) *moqt.Location {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.sources) == 0 {
		return later(had, later(t.largest, t.remote))
	}
	return later(had, t.told())
}

// told returns the largest location that upstreams tell of. Of the upstreams that send the track, the one that tells the smallest location
// counts, because one alone may tell anything; what the others tell counts only if none sends the track. The track's mutex is held.
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

// Learn notes the largest location that an upstream told of which does not send the track.
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

// Attach adds a source to those that publish the track.
func (t *Track) Attach(src *Source, props []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.sources) == 0 {
		t.m.tracks.Add(1)
	}
	t.sources[src] = struct{}{}
	t.over, src.props, src.came = false, slices.Clone(props), t.came
	t.describe(props)
	now := time.Now()
	if len(t.sources) == 1 {
		t.began = now
	}
	if src.Standby {
		t.standbys++
		src.reserve = reserve{place: t.standbys, since: now}
	}
	t.Stir()
}

// Detach removes a source. ended says that the source said that the track has ended. That counts if the source was the last one; then
// nobody waits for what is missing.
func (t *Track) Detach(src *Source, ended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sources, src)
	t.Stir()
	if len(t.sources) > 0 {
		return
	}
	t.m.tracks.Add(-1)
	t.left = time.Now()
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

// Live reports whether the track has a publisher.
func (t *Track) Live() bool { return t.any(func(*Source) bool { return true }) }

// Local reports whether somebody publishes the track at this relay; upstreams do not count.
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

// Hashed reports whether an object that is kept has a hash, as far as anybody has looked.
func (t *Track) Hashed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hashes
}

// Ended reports whether the track's last publisher said that the track has ended.
func (t *Track) Ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over
}

// Stream is a stream of a source. It may bring more of a group until it is closed.
type Stream struct {
	t *Track
	g *group
}

// Stream returns a new stream.
func (t *Track) Stream() *Stream { return &Stream{t: t} }

// Brought notes that the stream has brought an object of a group.
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

// Close notes that the stream brings no more of a subgroup. clean says that last was the subgroup's last object.
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

// wake wakes all followers. The track's mutex is held.
func (t *Track) wake() {
	for f := range t.followers {
		f.Kick()
	}
}

// later returns the later one of two locations; nil stands for an unknown location.
func later(a, b *moqt.Location) *moqt.Location {
	if a == nil || b != nil && a.Less(*b) {
		return b
	}
	return a
}
