package relay

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// mender shows the relay to package mesh, which decides when what is missing is fetched: what publishers have, and, of tracks that are
// published here, what upstreams and peers have of the holes.
type mender struct{ library }

// Tracks returns the tracks of publishers that can be asked, once for each publisher, and once for all upstreams. So what one publisher
// says to have, and does not bring, delays nothing that another one has.
func (m mender) Tracks() map[string]mesh.Track {
	r, now := m.r, time.Now()
	all, names, looks := make(map[string]mesh.Track), make(map[string]object.TrackName), make(map[string]int)
	r.mu.Lock()
	for _, k := range r.keepersHere {
		if k.mute {
			continue
		}
		for key, t := range k.tracks {
			if r.barred(key, k.s) {
				continue
			}
			names[key], looks[key] = t.name, looks[key]+k.looks(now)
			all[key+" "+k.id] = mesh.Track{Name: t.name, At: k.id, Peers: []string{k.id}}
		}
	}
	r.mu.Unlock()
	for key, name := range names {
		if _, _, ok := m.holes(name); !ok {
			continue
		}
		if peers := r.neighbours(name.Namespace); len(peers) > 0 {
			all[key+" upstreams"] = mesh.Track{Name: name, At: fmt.Sprint(looks[key], peers), Peers: peers}
		}
	}
	return all
}

// looks counts how often upstreams are to be asked for all holes of what a publisher has: when it comes, and some times after that, when
// the hole before its first groups can be seen.
func (k *keeper) looks(now time.Time) int {
	n := 1
	for _, after := range []time.Duration{10 * time.Second, 30 * time.Second, 2 * time.Minute} {
		if now.Sub(k.since) >= after {
			n++
		}
	}
	return n
}

// neighbours returns the sessions with upstreams that may have the past of a namespace, as texts.
func (r *Relay) neighbours(ns object.Namespace) (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.usable() {
		if _, ok := u.distance(ns, false); ok {
			list = append(list, fmt.Sprintf("%p", u.s))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// keeper returns the publisher that is asked for a track; nil: it is upstreams.
func (m mender) keeper(t mesh.Track) *keeper {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	for _, k := range m.r.keepersHere {
		if k.id == t.At {
			return k
		}
	}
	return nil
}

// Inventory returns the groups that a publisher has of a track, or what upstreams have of the holes.
func (m mender) Inventory(ctx context.Context, t mesh.Track, from uint64) ([]mesh.Group, error) {
	if k := m.keeper(t); k != nil {
		return k.lacking(ctx, t.Name, from, func(g mesh.Group) bool { return m.Lacks(t.Name, g) })
	}
	low, high, ok := m.holes(t.Name)
	if !ok || high <= from {
		return nil, nil
	}
	list, err := m.r.upstreamInventory(ctx, t.Name, max(low, from), high, m.r.goesNoFurther())
	return slices.DeleteFunc(list, func(g mesh.Group) bool { return !g.Whole || g.ID >= high }), err
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
	return m.library.Lacks(name, g) && m.r.roomFor(name, g.ID) == nil
}

// roomFor returns nil if a publisher may be asked for a group: what is missing of a track may take the room of what is older, but what is
// older than everything here would be the first to be removed.
func (r *Relay) roomFor(name object.TrackName, group uint64) error {
	if st := r.store.Lookup(name); st != nil {
		if first, ok := st.Next(0); ok && group >= first.Group {
			return r.store.Free()
		}
	}
	return r.store.Room(name.Namespace)
}

// Bring fetches groups into the store, behind everything that is live. What is asked for elsewhere already is left out.
func (m mender) Bring(ctx context.Context, of mesh.Track, groups []mesh.Group, pace func(context.Context, int) error) {
	groups, over := m.r.mending.claim(of.Name.String(), groups)
	defer over()
	if len(groups) == 0 {
		return
	}
	t, s := m.r.track(of.Name), span{startOf(groups[0].ID), startOf(groups[len(groups)-1].ID + 1)}
	here := func() bool {
		return !slices.ContainsFunc(groups, func(g mesh.Group) bool { return m.Lacks(of.Name, g) })
	}
	f := filling{serve: func(moqt.Location) error { return nil }, pace: pace, enough: here, mends: true}
	var err error
	if k := m.keeper(of); k != nil {
		err = k.bring(ctx, t, s, groups, f)
	} else {
		t.answers.drop(s)
		t.doubts.drop(s)
		err = m.r.fillWith(ctx, t, s, f)
	}
	if lost, ok := err.(*notStored); ok {
		m.r.log.Warn("what publishers have is not fetched", "track", of.Name.String(), "err", lost.err)
	}
}

// mending are the groups that are being fetched, so that two sources are not asked for the same one. A slow source has it to itself for
// answerPatience only.
type mending struct {
	mu sync.Mutex
	at map[mendingGroup]time.Time
}

type mendingGroup struct {
	track string
	id    uint64
}

// claim returns those groups that nobody fetches; over must be called afterwards.
func (m *mending) claim(track string, groups []mesh.Group) (free []mesh.Group, over func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, g := range groups {
		if at, ok := m.at[mendingGroup{track, g.ID}]; !ok || now.Sub(at) > answerPatience {
			m.at[mendingGroup{track, g.ID}] = now
			free = append(free, g)
		}
	}
	return free, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, g := range free {
			if m.at[mendingGroup{track, g.ID}].Equal(now) {
				delete(m.at, mendingGroup{track, g.ID})
			}
		}
	}
}

// Room returns nil if the disk has some room besides what live objects may need.
func (m mender) Room(object.TrackName) error { return m.r.store.Free() }
