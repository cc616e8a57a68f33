package relay

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// minGroups and maxGroups bound the groups of a track in memory.
const (
	minGroups = 2
	maxGroups = 32
)

// track is a track as the relay sees it: its file in the store and its newest groups in memory.
type track struct {
	r    *Relay
	name object.TrackName
	st   *store.Track

	answers answers       // of upstreams
	doubts  answers       // what none of them knew a moment ago
	filling chan struct{} // holds a token while somebody fills the live edge

	mu      sync.Mutex // guards what follows, and every group
	groups  map[uint64]*group
	bytes   int64 // of the payloads in groups
	largest *moqt.Location
	remote  *moqt.Location // largest that an upstream told of
	ends    bool           // groups of this track carry their end
	props   []byte         // track properties
	sources map[*source]struct{}
	subs    map[*subscriber]struct{}
	over    bool // its last publisher said TRACK_ENDED, and no other has come since

	births []birth   // of groups that came live, the newest last
	seq    uint64    // of the newest
	backAt time.Time // when the track last went back

	idle time.Time // since when there was nothing of it, at the last looks
}

// group is a group in memory. Its objects never change, and all subscribers are sent the same memory.
type group struct {
	objs    []*obj // ascending by id
	bytes   int64
	subs    map[uint64]subgroup
	several bool // subgroups
	hasEnd  bool
	end     uint64        // id that the end of group carries
	open    int           // streams of sources that may bring more
	birth                 // its seq is 0 if it did not come live
	touched time.Time     // last object or end of stream
	newer   time.Time     // when the first newer group appeared
	evicted bool          // no longer in memory: see the store
	changed chan struct{} // closed and replaced with every change
}

// subgroup is what is known of a subgroup's end.
type subgroup struct {
	finished bool // a source said that last is the last one
	last     uint64
	at       time.Time // when it said so
}

// obj is an object that is stored, or on its way.
type obj struct {
	object.Object
	place
	size   int       // of the payload, also while it is not there
	source string    // who brought it first
	at     time.Time // when it began to come

	datagram *moqt.Datagram // as it came, if it did as one: it leaves as one (draft-16 §10.2.1), unless it comes from the store

	opens bool // its publisher said that it is the first of its subgroup (FIRST_OBJECT, draft 18)

	conflict bool // refused: there is another one with its id, or the group ends before it

	arrival *arrival // nil if it was not seen before it was whole
	done    bool     // it arrived

	mem  *memory      // of the payload; nil if it is not to be used again
	refs atomic.Int32 // by its group, and by those who send it
}

// place is where an object is in its subgroup, as far as a source told: the object before it, or that there is none.
type place struct {
	prev    uint64
	hasPrev bool
	first   bool
}

func newTrack(r *Relay, name object.TrackName) *track {
	t := &track{
		r: r, name: name, st: r.store.Track(name), filling: make(chan struct{}, 1), groups: make(map[uint64]*group),
		sources: make(map[*source]struct{}), subs: make(map[*subscriber]struct{}),
	}
	if g, id, ok := t.st.Largest(); ok {
		t.largest = &moqt.Location{Group: g, Object: id}
	}
	for _, i := range t.st.Groups(0, object.MaxVarint) {
		t.ends = t.ends || i.Complete
	}
	return t
}

// exists reports whether there is anything to subscribe to.
func (t *track) exists() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.largest != nil || t.remote != nil || len(t.sources) > 0
}

// info is what subscribers are told.
func (t *track) info() moqt.TrackInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := moqt.TrackInfo{Properties: t.props}
	if l := later(t.largest, t.told()); l != nil {
		l := *l
		i.Largest = &l
	}
	return i
}

// put takes a whole object from a source: into the store first, then into memory. f, if not nil, fed an object that was on its
// way with it. kept: the group has o and its memory.
func (t *track) put(src *source, f *feed, o *obj, sum object.Hash) (kept bool) {
	c := &t.r.stats
	t.prepare(src, o.Group)
	res, err := t.st.PutFrom(src.from, &o.Object, sum)
	if err != nil && src.from != store.Live {
		src.lost = err // nobody is served from memory what is long over
		c.notStored.Add(1)
		return false
	}
	if err != nil {
		// Live viewers go on without the disk; what they see is not kept.
		c.notStored.Add(1)
		if src.complain() {
			t.r.log.Error("object served but not stored", "track", t.name.String(), "group", o.Group, "object", o.ID, "err", err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[o.Group]
	old := g.find(o.ID)
	if err != nil && old != nil && old.whole() {
		res = store.Duplicate
		if old.Status != o.Status || object.Sum(old.Payload) != sum {
			res = store.Conflict
		}
	}
	switch res {
	case store.Conflict:
		c.conflicts.Add(1)
		src.conflicts.Add(1)
		first := "store"
		if old != nil {
			first = old.source
		}
		o.conflict = true
		t.r.log.Warn("conflict refused", "track", t.name.String(), "group", o.Group, "object", o.ID, "source", src.name, "first", first)
		return false
	case store.Duplicate:
		c.duplicates.Add(1)
		src.duplicates.Add(1)
		if old != nil && !old.first && !old.hasPrev {
			old.place = o.place
			g.change()
		}
		if f != nil && f.into != nil && f.into != old { // the group left memory meanwhile
			return t.complete(f.into, o)
		}
		// Who stored it may not have come to say so yet, and need not have been one of those who bring what subscribers wait for.
		return old != nil && !old.whole() && t.complete(old, o)
	}
	c.objects.Add(1)
	c.bytes.Add(int64(len(o.Payload)))
	src.objects.Add(1)
	kept = true
	if f != nil && f.into != nil && f.into != old { // the group left memory meanwhile
		t.complete(f.into, o)
	}
	if g == nil {
		g = t.newGroup(o.Group)
		old = g.find(o.ID)
	}
	if old == nil || old.whole() || !t.complete(old, o) {
		if f != nil && f.shared {
			o.mem = nil
		}
		t.remove(g, o.ID) // it may have come from the store already, without its place
		t.insert(g, o)
	}
	g.touched = time.Now()
	l := moqt.Location{Group: o.Group, Object: o.ID}
	if t.largest == nil || t.largest.Less(l) {
		t.largest = &l
	}
	g.change()
	t.evict()
	return kept
}

// prepare makes room for a group of which nothing is stored, so that it need not be read back for its first object.
func (t *track) prepare(src *source, id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.groups[id] == nil && !t.st.Has(id) {
		t.born(src, t.addGroup(id))
	}
	src.reached(id)
}

// insert puts an object into its group, which holds it from now on.
func (t *track) insert(g *group, o *obj) {
	o.refs.Store(1)
	i, _ := slices.BinarySearchFunc(g.objs, o.ID, func(o *obj, id uint64) int { return cmp.Compare(o.ID, id) })
	g.objs = slices.Insert(g.objs, i, o)
	g.several = g.several || o.datagram != nil || g.objs[0].Subgroup != o.Subgroup || g.objs[len(g.objs)-1].Subgroup != o.Subgroup
	g.bytes += int64(o.size)
	t.bytes += int64(o.size)
	if o.Status != object.Normal {
		g.hasEnd, g.end, t.ends = true, o.ID, true
	}
}

// newGroup brings a group into memory, with what the store has of it.
func (t *track) newGroup(id uint64) *group {
	g := t.addGroup(id)
	if !t.st.Has(id) {
		return g
	}
	r, err := t.st.Open(id, 0)
	if err == nil {
		defer r.Close()
	}
	for err == nil {
		var o *object.Object
		if o, err = r.Next(); err == nil {
			c := &obj{Object: *o, place: place{first: o.ID == 0}, size: len(o.Payload), source: "store", at: g.touched}
			c.Payload, c.Properties = slices.Clone(o.Payload), slices.Clone(o.Properties)
			t.insert(g, c)
		}
	}
	if err != io.EOF && !errors.Is(err, store.ErrNotFound) {
		t.r.log.Error("stored part of a group", "track", t.name.String(), "err", err)
	}
	return g
}

// addGroup adds an empty group.
func (t *track) addGroup(id uint64) *group {
	now := time.Now()
	g := &group{birth: birth{id: id}, subs: make(map[uint64]subgroup), touched: now, changed: make(chan struct{})}
	for _, o := range t.groups {
		if o.id < id && o.newer.IsZero() {
			o.newer = now
			o.change() // whoever waits for it now waits with a limit
		}
		if o.id > id && g.newer.IsZero() {
			g.newer = now
		}
	}
	t.groups[id] = g
	for s := range t.subs {
		s.kick()
	}
	return g
}

// evict keeps memory bounded: the groups that were not touched for longest go, but never the newest.
func (t *track) evict() {
	limit := t.r.cachePerTrack()
	for len(t.groups) > minGroups && (t.bytes > limit || len(t.groups) > maxGroups) {
		list := slices.Collect(maps.Values(t.groups))
		back := slices.ContainsFunc(list, func(g *group) bool { return g.back })
		slices.SortFunc(list, func(a, b *group) int {
			if back && a.seq != b.seq { // the newest groups do not have the highest ids
				return cmp.Compare(a.seq, b.seq)
			}
			return cmp.Compare(a.id, b.id)
		})
		var victim *group
		for _, g := range list[:len(list)-minGroups] {
			if victim == nil || g.touched.Before(victim.touched) {
				victim = g
			}
		}
		t.drop(victim)
	}
}

func (t *track) drop(g *group) {
	delete(t.groups, g.id)
	t.bytes -= g.bytes
	for _, o := range g.objs {
		o.release()
	}
	g.evicted, g.objs = true, nil
	g.change()
}

// streamOpened tells that a stream of a source may bring more of a group. It returns nil if the group is
// not in memory.
func (t *track) streamOpened(id uint64) *group {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[id]
	if g != nil {
		g.open++
	}
	return g
}

// streamClosed tells that a stream that was opened with g brings no more; clean means a FIN after last.
func (t *track) streamClosed(opened *group, id, sub, last uint64, clean bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if opened != nil {
		opened.open--
	}
	g := t.groups[id]
	if g == nil {
		return
	}
	if s := g.subs[sub]; clean && (!s.finished || s.last < last) {
		g.subs[sub] = subgroup{finished: true, last: last, at: time.Now()}
	}
	g.change()
}

func (t *track) attach(src *source, props []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.sources) == 0 {
		t.r.stats.liveTracks.Add(1)
	}
	t.sources[src] = struct{}{}
	t.over = false
	if len(t.props) == 0 {
		t.props = slices.Clone(props)
	}
}

// detach forgets a source. Without any, nothing in memory is awaited any more: the store has it all. ended: it said that the
// track is; the last one's word counts, and then nobody waits for what is missing.
func (t *track) detach(src *source, ended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sources, src)
	if len(t.sources) > 0 {
		return
	}
	t.r.stats.liveTracks.Add(-1)
	if !ended {
		return
	}
	t.over = true
	for _, g := range t.groups {
		for _, o := range slices.Clone(g.objs) {
			t.fail(o)
		}
		g.change()
	}
	for s := range t.subs {
		s.kick()
	}
}

// ended reports that nobody will publish more of the track, as far as its last publisher knew.
func (t *track) ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over
}

// others reports whether anybody but src publishes the track.
func (t *track) others(src *source) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for other := range t.sources {
		if other != src {
			return true
		}
	}
	return false
}

// change wakes all who wait for more of the group; the track's mutex is held.
func (g *group) change() {
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *group) search(id uint64) (int, bool) {
	return slices.BinarySearchFunc(g.objs, id, func(o *obj, id uint64) int { return cmp.Compare(o.ID, id) })
}

func (g *group) find(id uint64) *obj {
	if g == nil {
		return nil
	}
	if i, ok := g.search(id); ok {
		return g.objs[i]
	}
	return nil
}

func (t *track) remove(g *group, id uint64) {
	if i, ok := g.search(id); ok {
		o := g.objs[i]
		g.bytes -= int64(o.size)
		t.bytes -= int64(o.size)
		g.objs = slices.Delete(g.objs, i, i+1)
		o.release()
	}
}
