package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay/live"
)

// mirrors reports whether this relay keeps a whole copy of a namespace.
func (r *Relay) mirrors(ns object.Namespace) bool {
	return slices.ContainsFunc(r.c.Mirror, ns.HasPrefix)
}

// library shows the relay to package mesh, which decides what a mirror fetches.
type library struct{ r *Relay }

// Tracks returns the tracks below the mirrored prefixes that upstreams tell of.
func (l library) Tracks() map[string]mesh.Track {
	all := make(map[string]mesh.Track)
	at := make(map[string][]string)
	l.r.mu.Lock()
	for _, u := range l.r.usable() {
		peer := fmt.Sprintf("%p", u.s)
		for _, t := range u.tracks {
			if key := t.track.String(); l.r.mirrors(t.track.Namespace) && l.r.ban(t.track) == nil {
				n := all[key]
				n.Name, n.Peers = t.track, append(n.Peers, peer)
				all[key] = n
				at[key] = append(at[key], peer+" "+strings.Join(t.path, "."))
			}
		}
	}
	l.r.mu.Unlock()
	for key, list := range at {
		slices.Sort(list)
		t := all[key]
		t.At, t.Peers = strings.Join(list, " "), slices.Compact(slices.Sorted(slices.Values(t.Peers)))
		all[key] = t
	}
	return all
}

// Inventory returns the groups that upstreams have of a track.
func (l library) Inventory(ctx context.Context, t mesh.Track, from uint64) ([]mesh.Group, error) {
	return l.r.upstreamInventory(ctx, t.Name, from, object.MaxVarint, nil)
}

// Lacks reports whether an upstream has more of a group than the store.
func (l library) Lacks(name object.TrackName, g mesh.Group) bool {
	if l.r.store.Withheld(name, g.ID) || l.r.ban(name) != nil {
		return false
	}
	st := l.r.store.Lookup(name)
	if st == nil {
		return !l.r.store.Gone(name, g.ID)
	}
	i, ok := st.Group(g.ID)
	switch {
	case !ok:
		return !l.r.store.Gone(name, g.ID)
	case i.Complete:
		return false
	case g.Whole:
		return true
	}
	ids, _, err := st.Objects(g.ID)
	return err != nil || uint64(len(ids)) < g.Objects
}

// Tail returns the group at which the newest groups of a track begin.
func (l library) Tail(name object.TrackName) uint64 {
	st := l.r.store.Lookup(name)
	if st == nil {
		return 0
	}
	ids := st.Newest(live.LateGroups)
	if len(ids) < live.LateGroups {
		return 0
	}
	return ids[0]
}

// Bring fetches groups into the store.
func (l library) Bring(ctx context.Context, of mesh.Track, groups []mesh.Group, pace func(context.Context, int) error) {
	t, s := l.r.track(of.Name), span{startOf(groups[0].ID), startOf(groups[len(groups)-1].ID + 1)}
	here := func() bool {
		return !slices.ContainsFunc(groups, func(g mesh.Group) bool { return l.Lacks(of.Name, g) })
	}
	t.answers.drop(s) // a peer says that it has the group, so the answer that it does not exist is dropped
	l.r.fillWith(ctx, t, s, filling{serve: func(moqt.Location) error { return nil }, pace: pace, enough: here})
}

// Room returns nil if the store has room for more of a track without removing anything.
func (l library) Room(t object.TrackName) error { return l.r.store.Room(t.Namespace) }

// Changes gives a channel that is woken when namespaces may have changed.
func (l library) Changes() (<-chan struct{}, func()) { return l.r.listen() }

// wantMirrored makes a track of each name that is to be mirrored, so that steer subscribes to it. It returns those that upstreams
// tell of.
func (r *Relay) wantMirrored() (told map[*track]bool) {
	if len(r.c.Mirror) == 0 {
		return nil
	}
	told = make(map[*track]bool)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.usable() {
		for _, t := range u.tracks {
			if r.mirrors(t.track.Namespace) && r.ban(t.track) == nil {
				told[r.trackLocked(t.track)] = true
			}
		}
	}
	return told
}

// inventory answers a FETCH of the list of a track's groups. The answer is one object. It lists the groups from that of r.Start
// on, up to that of r.End if that is a later one.
func (s *session) inventory(ctx context.Context, r *moqt.FetchRequest) {
	name := object.TrackName{Namespace: r.Track.Namespace[1:], Name: r.Track.Name}
	to := uint64(object.MaxVarint)
	if r.End.Group > r.Start.Group {
		to = r.End.Group
	}
	list := s.r.ownInventory(name, r.Start.Group, to)
	through := hopsOf(r.Tokens)
	more, err := s.r.upstreamInventory(ctx, name, r.Start.Group, to, through)
	list = mesh.MergeInventories(list, more)
	list = slices.DeleteFunc(list, func(g mesh.Group) bool { return s.r.store.Withheld(name, g.ID) })
	if len(list) == 0 {
		r.Reject(wire.RequestDoesNotExist, "nothing of it is stored")
		if err != nil {
			s.r.log.Debug("upstreams do not say what they have", "track", name.String(), "err", err)
		}
		return
	}
	w, err := r.Accept(moqt.FetchInfo{End: moqt.Location{Group: r.Start.Group, Object: 1}})
	if err != nil {
		return
	}
	if err := w.WriteObject(moqt.FetchObject{Group: r.Start.Group, Priority: moqt.DefaultPriority}, mesh.AppendInventory(nil, list)); err != nil {
		w.Reset(wire.ResetInternalError)
		return
	}
	w.Close()
}

// ownInventory returns the groups of a track that the store has.
func (r *Relay) ownInventory(name object.TrackName, from, to uint64) (list []mesh.Group) {
	st := r.store.Lookup(name)
	if st == nil {
		return nil
	}
	for _, i := range st.Groups(from, to) {
		g := mesh.Group{ID: i.Group, Whole: i.Complete}
		if !g.Whole {
			ids, _, err := st.Objects(i.Group)
			if err != nil {
				continue
			}
			g.Objects = uint64(len(ids))
		}
		list = append(list, g)
	}
	return list
}

// upstreamInventory asks all upstreams that may have the track for their groups, for a request that came through the relays in
// through.
func (r *Relay) upstreamInventory(ctx context.Context, name object.TrackName, from, to uint64, through []string) (all []mesh.Group, err error) {
	var asking sync.WaitGroup
	var mu sync.Mutex
	keepers, rest := r.allKeepers(name, through)
	for _, u := range keepers {
		s := u.current()
		if s == nil || !u.ours {
			continue
		}
		asking.Go(func() {
			list, e := u.inventory(ctx, s, name, from, to, through)
			mu.Lock()
			defer mu.Unlock()
			all, err = mesh.MergeInventories(all, list), errors.Join(err, e)
		})
	}
	asking.Wait()
	switch {
	case len(all) > 0:
		return all, nil
	case err == nil && rest:
		err = errStallsUpstream
	}
	return nil, err
}
