package live

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// MinGroups and MaxGroups bound the groups of a track in memory.
const (
	MinGroups = 2
	MaxGroups = 32
)

// group is a group in memory. It has everything that is stored of it, except while it is being loaded.
type group struct {
	Birth               // Seq is 0 if the group did not come live
	objs      []*Object // ascending by id
	bytes     int64
	subs      map[uint64]subgroup
	several   bool // it has more than one subgroup
	hasEnd    bool
	end       uint64          // id that the end of group carries
	home      voter           // which brought something of it first; none, if that has no vote
	early     []early         // words about objects that are not here yet
	open      int             // streams of publishers that may bring more
	by, first map[*Source]int // how many objects each source brought, and how many of them first
	touched   time.Time       // when the last object came or a stream ended
	newer     time.Time       // when the first newer group appeared
	loading   chan struct{}   // closed when everything that is stored has been read; nil: it has been
	changed   chan struct{}   // closed and replaced with every change
}

// subgroup is what is known of a subgroup's end.
type subgroup struct {
	finished bool // a publisher said that last is the last object
	last     uint64
	at       time.Time // when the publisher said so
}

// change wakes everybody who waits for more of the group. The track's mutex is held.
func (g *group) change() {
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *group) search(id uint64) (int, bool) {
	return slices.BinarySearchFunc(g.objs, id, func(o *Object, id uint64) int { return cmp.Compare(o.ID, id) })
}

func (g *group) find(id uint64) *Object {
	if g == nil {
		return nil
	}
	if i, ok := g.search(id); ok {
		return g.objs[i]
	}
	return nil
}

// lock takes the track's mutex and returns a group, nil if it is not in memory. If the group is being loaded, lock waits for that.
func (t *Track) lock(id uint64) *group {
	t.mu.Lock()
	for {
		g := t.groups[id]
		if g == nil || g.loading == nil {
			return g
		}
		loaded := g.loading
		t.mu.Unlock()
		<-loaded
		t.mu.Lock()
	}
}

// bring takes the track's mutex and returns a group. If the group was not in memory, bring has added it, with what the store has of it,
// and added is set.
func (t *Track) bring(id uint64) (g *group, added bool) {
	if g = t.lock(id); g != nil {
		return g, false
	}
	g = t.add(id)
	g.loading = make(chan struct{})
	t.mu.Unlock()
	objs := t.read(id)
	t.mu.Lock()
	for _, o := range objs {
		if g.find(o.ID) == nil {
			t.insert(g, o)
		}
	}
	close(g.loading)
	g.loading = nil
	return g, true
}

// read returns what the store has of a group.
func (t *Track) read(id uint64) (objs []*Object) {
	r, err := t.files.Open(id, 0)
	if err == nil {
		defer r.Close()
	}
	now := time.Now()
	for err == nil {
		var o *object.Object
		if o, err = r.Next(); err == nil {
			c := &Object{Object: *o, Place: Place{First: o.ID == 0}, Size: len(o.Payload), Source: "store", At: now}
			c.Payload, c.Properties = slices.Clone(o.Payload), slices.Clone(o.Properties)
			objs = append(objs, c)
		}
	}
	if err != io.EOF && !errors.Is(err, store.ErrNotFound) {
		t.m.c.Logger.Error("stored part of a group", "track", t.name.String(), "err", err)
	}
	return objs
}

// add adds an empty group.
func (t *Track) add(id uint64) *group {
	now := time.Now()
	g := &group{Birth: Birth{ID: id}, subs: make(map[uint64]subgroup), touched: now, changed: make(chan struct{})}
	for _, o := range t.groups {
		if o.ID < id && o.newer.IsZero() {
			o.newer = now
			o.change() // from now on there is a limit to how long the group is waited for
		}
		if o.ID > id && g.newer.IsZero() {
			g.newer = now
		}
	}
	t.groups[id] = g
	t.wake()
	return g
}

// insert puts an object into its group, which holds the object from then on.
func (t *Track) insert(g *group, o *Object) {
	o.refs.Store(1)
	i, _ := g.search(o.ID)
	g.objs = slices.Insert(g.objs, i, o)
	g.several = g.several || o.Datagram != nil || g.objs[0].Subgroup != o.Subgroup || g.objs[len(g.objs)-1].Subgroup != o.Subgroup
	g.bytes += int64(o.Size)
	t.bytes += int64(o.Size)
	if o.Status != object.Normal {
		g.hasEnd, g.end, t.ends = true, o.ID, true
	}
}

// remove takes an object out of its group, if there is one with that id.
func (t *Track) remove(g *group, id uint64) {
	if i, ok := g.search(id); ok {
		o := g.objs[i]
		g.bytes -= int64(o.Size)
		t.bytes -= int64(o.Size)
		g.objs = slices.Delete(g.objs, i, i+1)
		o.release()
	}
}

// evict keeps memory bounded. It drops the groups that were not touched for the longest time, but never the newest ones, nor one that
// is being loaded.
func (t *Track) evict() { t.evictTo(t.m.perTrack()) }

func (t *Track) evictTo(limit int64) {
	for len(t.groups) > MinGroups && (t.bytes > limit || len(t.groups) > MaxGroups) {
		list := slices.Collect(maps.Values(t.groups))
		back := slices.ContainsFunc(list, func(g *group) bool { return g.Back })
		slices.SortFunc(list, func(a, b *group) int {
			if back && a.Seq != b.Seq { // the newest groups do not have the highest ids
				return cmp.Compare(a.Seq, b.Seq)
			}
			return cmp.Compare(a.ID, b.ID)
		})
		var victim *group
		for _, g := range list[:len(list)-MinGroups] {
			if g.loading == nil && (victim == nil || g.touched.Before(victim.touched)) {
				victim = g
			}
		}
		if victim == nil {
			return
		}
		t.drop(victim)
	}
}

// drop takes a group out of memory. The store keeps it.
func (t *Track) drop(g *group) {
	delete(t.groups, g.ID)
	t.bytes -= g.bytes
	for _, o := range g.objs {
		o.release()
	}
	g.objs = nil
	g.change()
}
