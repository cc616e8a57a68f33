package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// mender shows the relay to package mesh, which decides when what is missing is fetched: what publishers have, and, of tracks that are
// published here, what upstreams and peers have of the holes.
type mender struct{ library }

// Tracks returns the tracks of publishers that can be asked.
func (m mender) Tracks() map[string]mesh.Track {
	r := m.r
	all := make(map[string]mesh.Track)
	r.mu.Lock()
	defer r.mu.Unlock()
	add := func(name object.TrackName, peer string) {
		key := name.String()
		n := all[key]
		n.Name, n.Peers = name, append(n.Peers, peer)
		all[key] = n
	}
	for _, k := range r.keepersHere {
		if k.mute {
			continue
		}
		for _, t := range k.tracks {
			add(t.name, fmt.Sprintf("%p", k))
		}
	}
	if len(all) == 0 {
		return nil
	}
	for _, u := range r.usable() {
		for _, t := range all {
			if _, ok := u.distance(t.Name.Namespace, false); ok && !r.mirrors(t.Name.Namespace) {
				add(t.Name, fmt.Sprintf("%p", u.s))
			}
		}
	}
	for key, t := range all {
		t.Peers = slices.Compact(slices.Sorted(slices.Values(t.Peers)))
		t.At = fmt.Sprint(t.Peers)
		all[key] = t
	}
	return all
}

// Inventory returns the groups that publishers have of a track, and what upstreams have of the holes.
func (m mender) Inventory(ctx context.Context, name object.TrackName, from uint64) (all []mesh.Group, err error) {
	for _, k := range m.r.publishersOf(name, nil) {
		list, e := k.groups(ctx, name, from, object.MaxVarint, 0)
		all, err = mesh.MergeInventories(all, list), errors.Join(err, e)
	}
	if low, high, ok := m.holes(name); ok && high > from {
		list, e := m.r.upstreamInventory(ctx, name, max(low, from), high, m.r.goesNoFurther())
		list = slices.DeleteFunc(list, func(g mesh.Group) bool { return !g.Whole || g.ID >= high })
		all, err = mesh.MergeInventories(all, list), errors.Join(err, e)
	}
	if len(all) > 0 {
		err = nil
	}
	return all, err
}

// holes returns the groups between which a track that is published here has holes: from the oldest one stored to the newest but one, which
// has not just come. false: nothing is asked of upstreams.
func (m mender) holes(name object.TrackName) (low, high uint64, ok bool) {
	t := m.r.lookup(name)
	if t == nil || !t.Local() || !t.Hashed() || m.r.mirrors(name.Namespace) || !m.r.chained() {
		return 0, 0, false
	}
	first, some := t.st.Next(0)
	newest := t.st.Newest(2)
	if !some || len(newest) < 2 {
		return 0, 0, false
	}
	return first.Group, newest[0], true
}

// goesNoFurther are the hops of a request that those who get it do not pass on. Every relay asks its neighbours so often that in a mesh the
// requests would multiply.
func (r *Relay) goesNoFurther() []string { return slices.Repeat([]string{r.id}, maxHops-2) }

// Lacks reports whether more of a group is to be fetched. What is older than everything here is fetched only if there is room.
func (m mender) Lacks(name object.TrackName, g mesh.Group) bool {
	if !m.library.Lacks(name, g) {
		return false
	}
	if st := m.r.store.Lookup(name); st != nil {
		if first, ok := st.Next(0); ok && g.ID < first.Group {
			return m.r.store.Room(name.Namespace) == nil
		}
	}
	return true
}

// Bring fetches groups into the store, behind everything that is live.
func (m mender) Bring(ctx context.Context, name object.TrackName, groups []mesh.Group, pace func(context.Context, int) error) {
	t, s := m.r.track(name), span{startOf(groups[0].ID), startOf(groups[len(groups)-1].ID + 1)}
	here := func() bool {
		return !slices.ContainsFunc(groups, func(g mesh.Group) bool { return m.library.Lacks(name, g) })
	}
	f := filling{serve: func(moqt.Location) error { return nil }, pace: pace, enough: here, mends: true}
	err := m.r.fromPublishers(ctx, t, s, f)
	if err == nil && !here() && m.r.chained() {
		t.answers.drop(s)
		t.doubts.drop(s)
		err = m.r.fillWith(ctx, t, s, f)
	}
	if lost, ok := err.(*notStored); ok {
		m.r.log.Warn("what publishers have is not fetched", "track", name.String(), "err", lost.err)
	}
}

// Room returns nil if the disk has some room besides what live objects may need.
func (m mender) Room(object.TrackName) error { return m.r.store.Free() }
