package pub

import (
	"context"
	"errors"
	"io"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// A relay that holds another group under the same name refuses ours (docs/relay.md, "Taking objects"). Then the group is demoted: it
// goes out under the name of its source, and the source's manifest says so (docs/format/catalog.md, reason conflict).

// key names a group.
type key struct {
	track string
	group uint64
}

// conflicts are the groups that a relay refused. The spool's mutex guards them.
type conflicts struct {
	entries map[key]told   // what manifests said of groups that were promoted
	order   []key          // the same, oldest first
	refused map[key]*group // nil once demoted
	late    []*group       // demoted after the input had ended
}

// told is an entry and the manifest it stands in.
type told struct {
	manifest object.TrackName
	entry    *catalog.ManifestEntry
}

// tell remembers where a chunk went, and demotes it if it was refused before.
func (s *spool) tell(ctx context.Context, manifest object.TrackName, e *catalog.ManifestEntry) error {
	s.mu.Lock()
	c := &s.conflicts
	k := key{e.Track.String(), e.Group}
	if c.entries == nil {
		c.entries, c.refused = map[key]told{}, map[key]*group{}
	}
	if _, known := c.entries[k]; !known {
		if c.order = append(c.order, k); len(c.order) > maxGroups {
			delete(c.entries, c.order[0])
			delete(c.refused, c.order[0])
			c.order = c.order[1:]
		}
	}
	c.entries[k] = told{manifest, e}
	g := c.refused[k]
	s.mu.Unlock()
	if g == nil {
		return nil
	}
	return s.demote(ctx, k, g)
}

// conflict notes that a relay refused a group, once.
func (s *spool) conflict(ctx context.Context, g *group) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key{g.track.name.String(), g.id}
	c := &s.conflicts
	if c.refused == nil {
		c.entries, c.refused = map[key]told{}, map[key]*group{}
	}
	if _, known := c.refused[k]; known {
		return nil
	}
	s.log.Warn("the relay holds another group under this name", "track", k.track, "group", k.group)
	s.Refused++
	c.refused[k] = g
	if !s.await(ctx, func() bool { return g.state != open || g.dropped }) {
		return context.Cause(ctx)
	}
	if _, known := c.entries[k]; !known {
		return nil // the manifest will tell whose it is
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	return s.demote(ctx, k, g)
}

// demote sends a group under its source's name.
func (s *spool) demote(ctx context.Context, k key, g *group) error {
	s.mu.Lock()
	t := s.conflicts.entries[k]
	if s.conflicts.refused[k] == nil || t.entry.Scope != catalog.ScopeBroadcast || g.state != whole {
		s.mu.Unlock()
		return nil
	}
	s.conflicts.refused[k] = nil
	s.Demoted++
	objects := append(append([]object.Object(nil), g.objects...), *g.end)
	s.mu.Unlock()
	name := object.TrackName{Namespace: t.manifest.Namespace, Name: catalog.TrackTS}
	for i := range objects {
		if err := s.add(ctx, &object.Track{Name: name}, &objects[i], g.touched); err != nil {
			return err
		}
	}
	e := *t.entry
	e.Track, e.Scope, e.Reason = name, catalog.ScopeSource, catalog.ReasonConflict
	b, err := e.Append(nil)
	if err != nil {
		return err
	}
	return s.insert(ctx, t.manifest, b)
}

// insert appends a record to the newest group of a manifest, whose objects that follow are counted on from there. If that is over
// it gets a group of its own.
func (s *spool) insert(ctx context.Context, name object.TrackName, payload []byte) error {
	s.mu.Lock()
	tr := s.track(&object.Track{Name: name})
	o := object.Object{Priority: manifestPriority, Payload: payload, Properties: object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)}
	alone := true
	for _, g := range tr.groups {
		if g.state == open && len(g.objects) > 0 {
			last := g.objects[len(g.objects)-1]
			o.Group, o.Subgroup, o.Priority, o.ID, alone = g.id, last.Subgroup, last.Priority, last.ID+1-tr.inserted[g.id], false
		}
	}
	if alone && tr.largest != nil {
		o.Group = tr.largest.Group + 1
	}
	s.mu.Unlock()
	if err := s.add(ctx, &object.Track{Name: name}, &o, s.now()); err != nil {
		return err
	}
	if alone {
		return s.add(ctx, &object.Track{Name: name}, &object.Object{Group: o.Group, ID: 1, Status: object.EndOfGroup}, s.now())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tr.inserted[o.Group]++
	return nil
}

// manifestPriority is that of a record in a group of its own.
const manifestPriority = 100

// sendLate sends what was demoted after the input had ended, and waits for it.
func (u *uploader) sendLate(ctx context.Context, sess *client.Session) error {
	for n := 0; ; n++ {
		var g *group
		u.s.mu.Lock()
		if n < len(u.s.conflicts.late) {
			g = u.s.conflicts.late[n]
		}
		u.s.mu.Unlock()
		if g == nil {
			return nil
		}
		pub, err := sess.Publish(ctx, g.track.name, moqt.PublishOptions{Properties: g.track.properties})
		if _, ok := errors.AsType[*moqt.RequestError](err); ok {
			continue // it takes none of its own accord
		}
		if err == nil {
			err = forwarding(ctx, pub)
		}
		if err == nil {
			err = u.group(ctx, pub, g)
		}
		if err == nil {
			err = pub.Done(u.doneCode(g.track), "")
		}
		if err != nil {
			return err
		}
		if at, ok := g.last(); ok {
			if _, err := u.awaitGroup(ctx, sess, g.track.name, at, nil); err != nil {
				return err
			}
		}
	}
}

// differs compares a group with what the relay holds under its name: whether something of it is another object, or it ends before
// ours does.
func differs(ctx context.Context, sess *client.Session, name object.TrackName, g *group, at moqt.Location) (bool, error) {
	end := moqt.Location{Group: at.Group, Object: at.Object + 1}
	r, err := sess.Fetch(ctx, name, moqt.Location{Group: at.Group}, end, moqt.FetchOptions{})
	if err != nil {
		return false, err
	}
	defer r.Cancel()
	unknown := false
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			info, err := r.Info(ctx)
			over := info.End.Group > at.Group || info.End.Group == at.Group && (info.End.Object == 0 || !info.End.Less(end))
			return err == nil && over && !unknown, nil
		}
		if err != nil {
			return false, nil
		}
		switch {
		case f.Kind == moqt.FetchedUnknown:
			unknown = true
		case f.Kind != moqt.FetchedObject:
		case f.ID == at.Object && !g.holds(f.ID, f.Properties):
			return true, nil
		case f.ID == at.Object:
			return false, nil
		case !g.holds(f.ID, f.Properties):
			return true, nil
		}
	}
}

// holds reports whether an object of the group has the hash that properties tell, or they tell none.
func (g *group) holds(id uint64, properties []byte) bool {
	p, err := object.ParseProperties(properties)
	if err != nil || !p.HasHash {
		return true
	}
	for i := range g.objects {
		if g.objects[i].ID == id {
			return object.Sum(g.objects[i].Payload) == p.Hash
		}
	}
	return false
}
