package pub

import (
	"context"
	"slices"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// maxEdges bounds the chunks that wait to learn their timeline.
const maxEdges = 64

// edges are chunks that are clean but lie between two timelines (docs/format/chunk.md): they are the broadcast's as
// soon as the relay is seen to hold one of them under one of the two names. The spool's mutex guards them.
type edges struct {
	waiting []*catalog.ManifestEntry
	seen    int                         // that ever waited
	adopted map[string]object.TrackName // by the broadcast's namespace
}

// manifest looks at what a source says of a chunk, and sends an edge chunk on under the name that was found.
func (s *spool) manifest(ctx context.Context, payload []byte) error {
	e, err := catalog.ParseManifestEntry(payload)
	if err != nil || e.Reason != catalog.ReasonEdge || len(e.Candidates) == 0 {
		return nil // not ours to judge
	}
	s.mu.Lock()
	name, ok := s.edges.adopted[e.Candidates[0].Namespace.String()]
	ok = ok && slices.ContainsFunc(e.Candidates, name.Equal)
	if !ok {
		if s.edges.waiting = append(s.edges.waiting, e); len(s.edges.waiting) > maxEdges {
			s.edges.waiting = slices.Delete(s.edges.waiting, 0, 1)
		}
		s.edges.seen++
		s.cond.Broadcast()
	}
	s.mu.Unlock()
	if !ok {
		return nil
	}
	return s.rename(ctx, e, name)
}

// rename adds the group of an entry to the spool under another name.
func (s *spool) rename(ctx context.Context, e *catalog.ManifestEntry, name object.TrackName) error {
	s.mu.Lock()
	var objects []object.Object
	if t := s.tracks[e.Track.String()]; t != nil {
		if g := t.group(e.Group); g != nil && g.state == whole {
			objects = append(slices.Clone(g.objects), *g.end)
		}
	}
	s.mu.Unlock()
	for i := range objects {
		if err := s.add(ctx, &object.Track{Name: name}, &objects[i], time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// adopt takes name for the edge chunks of its broadcast, those that wait included.
func (s *spool) adopt(ctx context.Context, name object.TrackName) error {
	ns := name.Namespace.String()
	s.mu.Lock()
	if s.edges.adopted == nil {
		s.edges.adopted = map[string]object.TrackName{}
	}
	s.edges.adopted[ns] = name
	var mine []*catalog.ManifestEntry
	s.edges.waiting = slices.DeleteFunc(s.edges.waiting, func(e *catalog.ManifestEntry) bool {
		if !slices.ContainsFunc(e.Candidates, name.Equal) {
			return false
		}
		mine = append(mine, e)
		return true
	})
	s.mu.Unlock()
	for _, e := range mine {
		if err := s.rename(ctx, e, name); err != nil {
			return err
		}
	}
	return nil
}

// settleEdges asks the relay which name it knows edge chunks by, until the input ends.
func (u *uploader) settleEdges(ctx context.Context, sess *moqt.Session) error {
	for seen := 0; ; {
		var e *catalog.ManifestEntry
		u.s.mu.Lock()
		ok := u.s.await(ctx, func() bool { return u.s.edges.seen > seen && len(u.s.edges.waiting) > 0 || u.s.ended })
		if ok && len(u.s.edges.waiting) > 0 {
			e = u.s.edges.waiting[len(u.s.edges.waiting)-1]
		}
		done := u.s.ended && u.s.edges.seen == seen
		seen = u.s.edges.seen
		u.s.mu.Unlock()
		switch {
		case !ok:
			return context.Cause(ctx)
		case done || e == nil:
			return nil
		}
		first, ok := u.s.firstHash(e)
		if !ok {
			continue
		}
		for _, name := range e.Candidates {
			held, ok := heldHash(ctx, sess, name, e.Group)
			if !ok || held != first {
				continue
			}
			u.log.Info("timeline found: the relay holds this broadcast", "track", name.String(), "group", e.Group)
			if err := u.s.adopt(ctx, name); err != nil {
				return err
			}
			break
		}
	}
}

// firstHash is the hash of the first part of an entry's chunk.
func (s *spool) firstHash(e *catalog.ManifestEntry) (object.Hash, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tracks[e.Track.String()]
	if t == nil {
		return object.Hash{}, false
	}
	g := t.group(e.Group)
	if g == nil || len(g.objects) == 0 || g.objects[0].ID != 0 {
		return object.Hash{}, false
	}
	return object.Sum(g.objects[0].Payload), true
}

// heldHash is the hash of the first part of a group as the relay holds it.
func heldHash(ctx context.Context, sess *moqt.Session, name object.TrackName, group uint64) (object.Hash, bool) {
	r, err := sess.Fetch(ctx, name, moqt.Location{Group: group}, moqt.Location{Group: group, Object: 1}, moqt.FetchOptions{})
	if err != nil {
		return object.Hash{}, false
	}
	defer r.Cancel()
	for {
		o, err := r.Next()
		if err != nil {
			return object.Hash{}, false
		}
		if o.Kind == moqt.FetchedObject && o.Group == group && o.ID == 0 {
			p, err := object.ParseProperties(o.Properties)
			return p.Hash, err == nil && p.HasHash
		}
	}
}
