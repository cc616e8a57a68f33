package pub

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// A relay that holds another group under the same name refuses the group (docs/relay.md, "Taking objects"). Then the group is
// demoted: it goes out under its source's name, and the source's manifest says so (docs/format/catalog.md, reason conflict).

// key names a group.
type key struct {
	track string
	group uint64
}

// conflicts are the groups that a relay refused. The spool's mutex guards them.
type conflicts struct {
	entries map[key]told   // what manifests said of promoted groups
	order   []key          // the keys of entries, oldest first
	refused map[key]*group // the refused groups; nil once demoted
	waiting []key          // groups that were refused before a manifest spoke of them, oldest first
	late    []*group       // groups that were demoted after the input had ended
}

// told is an entry, with the manifest in which it stands.
type told struct {
	manifest object.TrackName
	entry    *catalog.ManifestEntry
}

// promoted remembers where a chunk went, and demotes the chunk if its group was refused before.
func (s *spool) promoted(ctx context.Context, manifest object.TrackName, e *catalog.ManifestEntry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.conflicts
	k := key{e.Track.String(), e.Group}
	if _, known := c.entries[k]; !known {
		if c.order = append(c.order, k); len(c.order) > maxGroups {
			delete(c.entries, c.order[0])
			delete(c.refused, c.order[0])
			c.order = c.order[1:]
		}
	}
	c.entries[k] = told{manifest, e}
	return s.demote(ctx, k)
}

// conflict notes that a relay refused a group, once.
func (s *spool) conflict(ctx context.Context, g *group) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key{g.track.name.String(), g.id}
	c := &s.conflicts
	if _, known := c.refused[k]; known {
		return nil
	}
	s.log.Warn("the relay holds another group under this name", "track", k.track, "group", k.group)
	s.Refused++
	c.refused[k] = g
	if !s.await(ctx, func() bool { return g.state != open || g.dropped }) {
		return context.Cause(ctx)
	}
	if _, known := c.entries[k]; !known { // the manifest will tell which source's group it is, if there is a manifest
		if c.waiting = append(c.waiting, k); len(c.waiting) > maxClaims {
			if _, known := c.entries[c.waiting[0]]; !known {
				delete(c.refused, c.waiting[0])
			}
			c.waiting = c.waiting[1:]
		}
		return nil
	}
	return s.demote(ctx, k)
}

// demote puts a refused group into the spool under its source's name, all of it before anything else happens; mu is held.
func (s *spool) demote(ctx context.Context, k key) error {
	t, g := s.conflicts.entries[k], s.conflicts.refused[k]
	if g == nil || t.entry.Scope != catalog.ScopeBroadcast || g.state != whole {
		return nil
	}
	s.conflicts.refused[k] = nil
	s.Demoted++
	e := *t.entry
	e.Track, e.Scope, e.Reason = object.TrackName{Namespace: t.manifest.Namespace, Name: catalog.TrackTS}, catalog.ScopeSource, catalog.ReasonConflict
	b, err := e.Append(nil)
	if err != nil {
		return err
	}
	for _, o := range append(slices.Clone(g.objects), *g.end) {
		s.put(&object.Track{Name: e.Track}, &o, g.touched)
	}
	s.insert(t.manifest, b)
	return s.trim(ctx, g.touched)
}

// insert adds a record to a manifest. It goes to the manifest's newest group, and the objects that follow there are counted on
// from it. If that group is over, the record waits for the next one, because the input chooses group ids. After the input has
// ended, the record makes a group of its own. mu is held.
func (s *spool) insert(manifest object.TrackName, payload []byte) {
	tr := s.track(&object.Track{Name: manifest})
	tr.untold = append(tr.untold, payload)
	for _, g := range slices.Backward(tr.groups) {
		if g.state == open && len(g.objects) > 0 {
			s.tell(g)
			break
		}
	}
	if s.ended {
		s.tellAlone(tr)
	}
	s.cond.Broadcast()
}

// tell appends the records that wait for a group to an open one.
func (s *spool) tell(g *group) {
	tr := g.track
	for _, payload := range tr.untold {
		last := g.objects[len(g.objects)-1]
		s.append(g, record(object.Object{Group: g.id, Subgroup: last.Subgroup, ID: last.ID + 1, Priority: last.Priority}, payload))
		tr.inserted[g.id]++
	}
	tr.untold = nil
}

// tellAlone makes a group of the records that wait for one.
func (s *spool) tellAlone(tr *track) {
	if len(tr.untold) == 0 {
		return
	}
	var id uint64
	if tr.largest != nil {
		id = tr.largest.Group + 1
	}
	g := s.begin(tr, id, time.Now())
	for i, payload := range tr.untold {
		s.append(g, record(object.Object{Group: id, ID: uint64(i), Priority: manifestPriority}, payload))
	}
	s.finish(g, &object.Object{Group: id, ID: uint64(len(tr.untold)), Status: object.EndOfGroup})
	tr.untold = nil
}

// record makes an object for a record.
func record(o object.Object, payload []byte) *object.Object {
	o.Payload, o.Properties = payload, object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)
	return &o
}

// manifestPriority is that of a record in a group of its own.
const manifestPriority = 100

// sendLate sends the groups that were demoted after the input had ended, and waits until the relay has them.
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
			continue // the relay takes only tracks that it asked for
		}
		if err == nil {
			stop := u.followForward(pub, g.track)
			err = u.group(ctx, pub, g)
			stop()
		}
		if err == nil {
			err = pub.Done(u.doneCode(g.track), "")
		}
		if err != nil {
			return err
		}
		if at, ok := g.last(); ok {
			if _, err := u.awaitGroup(ctx, sess, g.track.name, at, nil); err != nil && !errors.Is(err, errTakenDown) {
				return err
			}
		}
	}
}

// differs compares a group with what the relay holds under its name. It reports whether any object differs, or the relay's group
// ends before ours does.
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
		case !g.holds(f.ID, f.Properties):
			return true, nil
		case f.ID == at.Object:
			return false, nil
		}
	}
}

// holds reports whether an object of the group has the hash in the given properties; true if they have no hash.
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
