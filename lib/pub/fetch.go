package pub

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// justSent is how long ago a group must have been sent to be listed: before that it is on its way, and a relay that fetched it would get it
// twice.
const justSent = 3 * time.Second

// Fetch serves objects from memory and disk; what is not there is marked as unknown. It also lists the groups of a track, and the tracks.
func (u *uploader) Fetch(ctx context.Context, r *moqt.FetchRequest) {
	if len(r.Track.Namespace) > 0 && r.Track.Namespace[0] == mesh.InventoryField {
		u.list(r)
		return
	}
	h := u.s.holding(r.Track)
	if h == nil {
		r.Reject(wire.RequestDoesNotExist, "")
		return
	}
	if r.GroupOrder == wire.GroupOrderDescending {
		r.Reject(wire.RequestNotSupported, "descending order")
		return
	}
	a := &answer{u: u, h: h, at: r.Start, end: r.End}
	if a.end.Object == 0 { // the whole group
		a.end = moqt.Location{Group: r.End.Group + 1}
	}
	groups := h.groups(r.Start.Group, r.End.Group)
	if len(groups) == 0 {
		r.Reject(wire.RequestInvalidRange, "no longer in the spool")
		return
	}
	if last := groups[len(groups)-1]; !last.Whole { // nothing is known of what follows
		a.end = lesser(a.end, moqt.Location{Group: last.ID, Object: object.MaxVarint})
	} else {
		a.end = lesser(a.end, moqt.Location{Group: last.ID + 1})
	}
	told := a.end
	if told.Object == 0 {
		told.Group--
	}
	w, err := r.Accept(moqt.FetchInfo{End: told, Properties: h.properties})
	if err != nil {
		return
	}
	a.w = w
	if a.serve(ctx, groups) != nil {
		w.Reset(wire.ResetInternalError)
		return
	}
	w.Close()
}

func lesser(a, b moqt.Location) moqt.Location {
	if b.Less(a) {
		return b
	}
	return a
}

// answer is one answer to a FETCH, on its way.
type answer struct {
	u   *uploader
	h   *holding
	w   *moqt.FetchWriter
	at  moqt.Location // everything before this was sent, or marked
	end moqt.Location // exclusive
}

// serve sends the objects of some groups, ascending, and marks what is between them.
func (a *answer) serve(ctx context.Context, groups []mesh.Group) error {
	for _, g := range groups {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := a.mark(moqt.FetchedUnknown, moqt.Location{Group: g.ID}); err != nil {
			return err
		}
		if err := a.group(g.ID); err != nil {
			return err
		}
	}
	return a.mark(moqt.FetchedUnknown, a.end)
}

// group sends the objects of a group.
func (a *answer) group(id uint64) error {
	objects, whole, err := a.h.objects(id, a.at.Object)
	if err != nil {
		a.u.log.Error("group cannot be read from the spool", "track", a.h.name.String(), "group", id, "err", err)
	}
	backlog := a.h.isBacklog(id, a.u.index)
	for i := range objects {
		o := &objects[i]
		l := moqt.Location{Group: id, Object: o.ID}
		if !l.Less(a.end) {
			return nil
		}
		between := moqt.FetchedUnknown
		if whole {
			between = moqt.FetchedNonExistent
		}
		if err := a.mark(between, l); err != nil {
			return err
		}
		a.at = moqt.Location{Group: id, Object: o.ID + 1}
		if o.Status != object.Normal {
			continue
		}
		f := moqt.FetchObject{Group: id, Subgroup: o.Subgroup, ID: o.ID, Priority: o.Priority, Properties: o.Properties}
		if err := a.w.WriteObject(f, o.Payload); err != nil {
			return err
		}
		if backlog {
			a.u.comes()
		}
	}
	a.h.served(id, a.u.index)
	if !whole {
		return nil
	}
	return a.mark(moqt.FetchedNonExistent, moqt.Location{Group: id + 1})
}

// mark marks everything from a.at to before a location.
func (a *answer) mark(kind moqt.FetchKind, to moqt.Location) error {
	to = lesser(to, a.end)
	if !a.at.Less(to) {
		return nil
	}
	last := moqt.Location{Group: to.Group, Object: to.Object - 1}
	if to.Object == 0 {
		last = moqt.Location{Group: to.Group - 1, Object: object.MaxVarint}
	}
	a.at = to
	return a.w.WriteObject(moqt.FetchObject{Kind: kind, Group: last.Group, ID: last.Object}, nil)
}

// list answers with the groups of a track, or with the names of all tracks.
func (u *uploader) list(r *moqt.FetchRequest) {
	var b []byte
	if name := (object.TrackName{Namespace: r.Track.Namespace[1:], Name: r.Track.Name}); len(name.Namespace) == 0 {
		b = mesh.AppendTracks(nil, slices.DeleteFunc(u.s.everyTrack(), u.hidden))
	} else if !u.hidden(name) {
		to := uint64(object.MaxVarint)
		if r.End.Group > r.Start.Group {
			to = r.End.Group
		}
		b = u.groupsOf(name, r.Start.Group, to)
	}
	if len(b) == 0 {
		r.Reject(wire.RequestDoesNotExist, "nothing of it is here")
		return
	}
	w, err := r.Accept(moqt.FetchInfo{End: moqt.Location{Group: r.Start.Group, Object: 1}})
	if err != nil {
		return
	}
	if w.WriteObject(moqt.FetchObject{Group: r.Start.Group, Priority: moqt.DefaultPriority}, b) != nil {
		w.Reset(wire.ResetInternalError)
		return
	}
	w.Close()
}

// holding is what there is of one track, in memory and on disk.
type holding struct {
	s          *spool
	name       object.TrackName
	properties []byte
	t          *track // nil: nothing of it is in memory
}

// groupsOf lists the groups of a track from one id to another, and notes that the relay has asked for them.
func (u *uploader) groupsOf(name object.TrackName, from, to uint64) []byte {
	h := u.s.holding(name)
	if h == nil {
		return nil
	}
	u.mu.Lock()
	u.asked[name.String()] = true
	u.mu.Unlock()
	u.s.mu.Lock()
	u.s.cond.Broadcast()
	u.s.mu.Unlock()
	return mesh.AppendInventory(nil, h.listed(from, to, u.index))
}

// holding returns what there is of a track; nil: nothing.
func (s *spool) holding(name object.TrackName) *holding {
	s.mu.Lock()
	h := &holding{s: s, name: name, t: s.tracks[name.String()]}
	if h.t != nil {
		h.properties = h.t.properties
	}
	s.mu.Unlock()
	if h.t == nil && !s.disk.has(name) {
		return nil
	}
	return h
}

// everyTrack returns the names of all tracks of which there is something.
func (s *spool) everyTrack() []object.TrackName {
	list := s.disk.tracks()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.names {
		if !slices.ContainsFunc(list, t.name.Equal) {
			list = append(list, t.name)
		}
	}
	return list
}

// groups returns the groups from…to, inclusive, ascending.
func (h *holding) groups(from, to uint64) []mesh.Group {
	return h.list(from, to, func(*group) bool { return true })
}

// listed returns those that a relay may want: not those that are still on their way to it. An open group of which nothing comes is not
// on its way, and an earlier run may have left more of it on disk.
func (h *holding) listed(from, to uint64, relay int) []mesh.Group {
	now := time.Now()
	return h.list(from, to, func(g *group) bool {
		switch {
		case g.track.rests: // nor those that are on their way from another home
			return g.state != open && now.Sub(g.touched) > justSent
		case g.sent[relay]:
			return now.Sub(g.sentAt[relay]) > justSent
		case g.state == open:
			return now.Sub(g.touched) > justSent
		}
		return g.old[relay]
	})
}

// list returns the groups in memory that pass, and those on disk that are not in memory. Of a group that is another one on disk it tells what is
// in memory.
func (h *holding) list(from, to uint64, pass func(*group) bool) []mesh.Group {
	out := map[uint64]bool{}
	var list []mesh.Group
	h.s.mu.Lock()
	if h.t != nil {
		for _, g := range h.t.groups {
			switch {
			case g.id < from || g.id > to || len(g.objects) == 0:
			case pass(g):
				out[g.id] = h.s.disk.of(&g.kept).other
				list = append(list, mesh.Group{ID: g.id, Objects: uint64(len(g.objects)), Whole: g.complete()})
			default:
				out[g.id] = true
			}
		}
	}
	h.s.mu.Unlock()
	slices.SortFunc(list, func(a, b mesh.Group) int { return cmp.Compare(a.ID, b.ID) })
	disk := slices.DeleteFunc(h.s.disk.groups(h.name, from, to), func(g mesh.Group) bool { return out[g.ID] })
	return mesh.MergeInventories(list, disk)
}

// objects returns the objects of a group from an id on, ascending, and whether the group is whole. If the disk has another group under the
// name, from an earlier run, memory alone counts: objects of both would make a group that nobody published.
func (h *holding) objects(id, from uint64) (list []object.Object, isWhole bool, err error) {
	if mem, alone := h.inMemory(id, from); mem.whole || alone {
		return mem.objects, mem.whole, nil // and nobody waits for the disk
	}
	disk, err := h.s.disk.objects(h.name, id, from)
	mem, alone := h.inMemory(id, from)
	if alone || !agree(mem.objects, disk.objects) {
		return mem.objects, mem.whole, nil
	}
	if disk.whole && err == nil {
		return disk.objects, true, nil
	}
	list = disk.objects
	for _, o := range mem.objects {
		if !slices.ContainsFunc(list, func(have object.Object) bool { return have.ID == o.ID }) {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, byID)
	return list, mem.whole, err
}

func byID(a, b object.Object) int { return cmp.Compare(a.ID, b.ID) }

// inMemory returns the objects of a group in memory from an id on, ascending. alone: the disk has another group under its name.
func (h *holding) inMemory(id, from uint64) (mem stored, alone bool) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.t == nil {
		return mem, false
	}
	g := h.t.group(id)
	if g == nil {
		return mem, false
	}
	for _, o := range g.objects { // their slices are never written again
		if o.ID >= from {
			mem.objects = append(mem.objects, o)
		}
	}
	slices.SortFunc(mem.objects, byID)
	mem.whole = g.complete()
	return mem, h.s.disk.of(&g.kept).other
}

// agree reports whether two lists have the same objects under the same ids.
func agree(a, b []object.Object) bool {
	of := make(map[uint64]*object.Object, len(a))
	for i := range a {
		of[a[i].ID] = &a[i]
	}
	return !slices.ContainsFunc(b, func(o object.Object) bool {
		have := of[o.ID]
		return have != nil && (have.Status != o.Status || !bytes.Equal(have.Payload, o.Payload))
	})
}

// isBacklog reports whether a relay is to fetch a group, and has not yet.
func (h *holding) isBacklog(id uint64, relay int) bool {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.t == nil {
		return false
	}
	g := h.t.group(id)
	return g != nil && g.old[relay] && !g.sent[relay]
}

// served notes that a relay was sent all that there is of a group without an end; of a whole group it is asked whether it arrived.
func (h *holding) served(id uint64, relay int) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.t == nil {
		return
	}
	if g := h.t.group(id); g != nil && g.state == partial {
		h.s.wasSent(g, relay)
	}
}
