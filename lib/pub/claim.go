package pub

import (
	"context"
	"slices"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// maxClaims bounds the claims that wait.
const maxClaims = 64

// claims are chunks that are clean but were not promoted, because it is not certain where they start (docs/format/catalog.md,
// "Claims"). Such a chunk is the broadcast's if the relay holds its first part under the broadcast's name. The spool's mutex
// guards them.
type claims struct {
	waiting []claim
	seen    int // how many have waited so far
}

type claim struct {
	*catalog.ManifestEntry
	since time.Time
}

// claimPatience is how long a claim waits for another publisher to send the same chunk.
const claimPatience = 15 * time.Second

// manifest reads an entry of a source's manifest, which may make a claim or say where a chunk was promoted.
func (s *spool) manifest(ctx context.Context, name object.TrackName, payload []byte) error {
	e, err := catalog.ParseManifestEntry(payload)
	switch {
	case err != nil: // the entry cannot be read; it is published all the same
		return nil
	case e.Scope == catalog.ScopeBroadcast:
		return s.promoted(ctx, name, e)
	case len(e.Candidates) == 0:
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claims.waiting = append(s.claims.waiting, claim{e, time.Now()}); len(s.claims.waiting) > maxClaims {
		s.claims.waiting = slices.Delete(s.claims.waiting, 0, 1)
	}
	s.claims.seen++
	s.cond.Broadcast()
	return nil
}

// rename adds the group of an entry to the spool again under another name, all of it at once: once the input has ended, nobody
// else would send it.
func (s *spool) rename(ctx context.Context, e *catalog.ManifestEntry, name object.TrackName) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tracks[e.Track.String()]
	if t == nil || s.ended {
		return nil
	}
	g := t.group(e.Group)
	if g == nil || g.state != whole {
		return nil
	}
	now := time.Now()
	for _, o := range append(slices.Clone(g.objects), *g.end) {
		s.put(&object.Track{Name: name}, &o, now)
	}
	return s.trim(ctx, now)
}

// settleClaims asks the relay for the claimed chunks, once a second, until the input ends.
func (u *uploader) settleClaims(ctx context.Context, sess *client.Session) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for seen := 0; ; {
		u.s.mu.Lock()
		ok := u.s.await(ctx, func() bool { return u.s.claims.seen > seen || len(u.s.claims.waiting) > 0 || u.s.ended })
		waiting := slices.Clone(u.s.claims.waiting)
		done := u.s.ended
		seen = u.s.claims.seen
		u.s.mu.Unlock()
		switch {
		case !ok:
			return context.Cause(ctx)
		case done:
			return nil
		}
		for _, c := range waiting {
			if err := u.settle(ctx, sess, c); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settle asks the relay for one claimed chunk.
func (u *uploader) settle(ctx context.Context, sess *client.Session, c claim) error {
	first, ok := u.s.firstHash(c.ManifestEntry)
	for _, name := range c.Candidates {
		if !ok {
			break // the chunk has left the spool
		}
		if held, there := heldHash(ctx, sess, name, c.Group); !there || held != first {
			continue
		}
		u.log.Info("chunk is the broadcast's: the relay holds its first part", "track", name.String(), "group", c.Group, "reason", c.Reason)
		u.s.drop(c)
		return u.s.rename(ctx, c.ManifestEntry, name)
	}
	if !ok || time.Since(c.since) > claimPatience {
		u.s.drop(c)
	}
	return nil
}

// drop takes a claim off the list.
func (s *spool) drop(c claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims.waiting = slices.DeleteFunc(s.claims.waiting, func(o claim) bool { return o == c })
}

// firstHash returns the hash of the first part of an entry's chunk.
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

// heldHash returns the hash of the first part of a group as the relay holds it.
func heldHash(ctx context.Context, sess *client.Session, name object.TrackName, group uint64) (object.Hash, bool) {
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
