package store

import (
	"errors"
	"fmt"
	"slices"

	"every.channel/ec/lib/object"
)

// ErrWithheld: the group is neither stored nor handed out.
var ErrWithheld = errors.New("withheld")

// Range is groups from First to Last, inclusive.
type Range struct{ First, Last uint64 }

// Has reports whether a group is one of them.
func (r Range) Has(group uint64) bool { return r.First <= group && group <= r.Last }

// Withheld is what a store neither takes nor hands out. What there is of it stays in the folder and in the tier, and counts, but is found by nobody;
// retention removes it like everything else.
type Withheld struct {
	// Of returns the groups of a track that are withheld. Default: none.
	Of func(object.TrackName) []Range
	// Taken reports whether a payload with a hash is withheld, and with it the group that has one. One that comes is not taken. Default: none is.
	Taken func(object.Hash) bool
	// Found gets the groups in which such a payload was found; it must not wait for the store. They are withheld from then on as long as the
	// store is open, and for good if Of says so. Default: nobody gets them.
	Found func(name object.TrackName, group uint64, hash object.Hash)
}

// Withhold replaces what is withheld.
func (s *Store) Withhold(w Withheld) {
	s.mu.Lock()
	s.withheld.Store(&w)
	tracks := make([]*Track, 0, len(s.tracks))
	for _, t := range s.tracks {
		tracks = append(tracks, t)
	}
	for _, t := range s.idle {
		if t := t.Value(); t != nil {
			tracks = append(tracks, t)
		}
	}
	s.mu.Unlock()
	for _, t := range tracks {
		t.withhold(w)
	}
}

// withhold takes over what is withheld of a track: groups that are go apart, and those that are not come back.
func (t *Track) withhold(w Withheld) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apart = nil
	if w.Of != nil {
		t.apart = w.Of(t.name)
	}
	t.some.Store(len(t.apart) > 0)
	for _, id := range slices.Clone(t.ids) {
		if t.isWithheld(id) {
			t.hold(t.groups[id])
		}
	}
	for id, g := range t.held {
		if t.isWithheld(id) || t.groups[id] != nil {
			continue
		}
		delete(t.held, id)
		g.held.Store(false)
		t.add(g)
		if g.state == finishing {
			t.s.enqueue(g)
		}
	}
}

// isWithheld reports whether a group is; t.mu is held.
func (t *Track) isWithheld(group uint64) bool {
	return slices.ContainsFunc(t.apart, func(r Range) bool { return r.Has(group) })
}

// hold puts a group apart; t.mu is held.
func (t *Track) hold(g *group) {
	delete(t.groups, g.id)
	if i, ok := slices.BinarySearch(t.ids, g.id); ok {
		t.ids = slices.Delete(t.ids, i, i+1)
	}
	if i := slices.Index(t.resident, g); i >= 0 {
		t.resident = slices.Delete(t.resident, i, i+1)
	}
	g.closeFile()
	if g.state != finishing {
		g.idx = nil
	}
	g.held.Store(true)
	if t.held == nil {
		t.held = make(map[uint64]*group)
	}
	t.held[g.id] = g
}

// at returns a group, withheld or not; t.mu is held.
func (t *Track) at(id uint64) *group {
	if g := t.groups[id]; g != nil {
		return g
	}
	return t.held[id]
}

// Withheld reports whether a group of the track is withheld.
func (t *Track) Withheld(group uint64) bool {
	if !t.some.Load() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.isWithheld(group)
}

// Ranges returns the groups of the track that are withheld.
func (t *Track) Ranges() []Range {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.apart)
}

// Takes reports whether an object with a hash may be stored in a group.
func (t *Track) Takes(group uint64, hash object.Hash) bool {
	return !t.Withheld(group) && !t.s.taken(hash)
}

// Withheld reports whether a group is withheld.
func (s *Store) Withheld(name object.TrackName, group uint64) bool {
	s.mu.RLock()
	t := s.tracks[name.String()]
	s.mu.RUnlock()
	if t != nil {
		return t.Withheld(group)
	}
	w := s.withheld.Load()
	return w != nil && w.Of != nil && slices.ContainsFunc(w.Of(name), func(r Range) bool { return r.Has(group) })
}

// taken reports whether payloads with a hash are withheld.
func (s *Store) taken(hash object.Hash) bool {
	w := s.withheld.Load()
	return w != nil && w.Taken != nil && w.Taken(hash)
}

// found puts a group apart in which there is a payload that is withheld; t.mu is held.
func (t *Track) found(group uint64, hash object.Hash) {
	if !t.isWithheld(group) {
		t.apart = append(t.apart, Range{group, group})
		t.some.Store(true)
	}
	if g := t.groups[group]; g != nil {
		t.hold(g)
	}
	if w := t.s.withheld.Load(); w != nil && w.Found != nil {
		w.Found(t.name, group, hash)
	}
}

// mayHandOut returns an error for an object of which the group is withheld, or its payload.
func (r *Reader) mayHandOut(o *object.Object) error {
	t := r.g.t
	if !r.g.held.Load() {
		w := t.s.withheld.Load()
		if w == nil || w.Taken == nil || o.Status != object.Normal {
			return nil
		}
		hash := hashOf(o)
		if !w.Taken(hash) {
			return nil
		}
		t.mu.Lock()
		t.found(r.info.Group, hash)
		t.mu.Unlock()
	}
	return fmt.Errorf("group %d of %v: %w", r.info.Group, r.name, ErrWithheld)
}

// hashOf is the hash that an object carries, or that of its payload.
func hashOf(o *object.Object) object.Hash {
	if p, err := object.ParseProperties(o.Properties); err == nil && p.HasHash {
		return p.Hash
	}
	return object.Sum(o.Payload)
}

// Held describes what there is in the store of what is withheld, in order of the tracks' names, for those groups that match.
func (s *Store) Held(match func(name object.TrackName, group uint64) bool) (groups int, bytes int64) {
	for _, t := range s.all() {
		t.mu.Lock()
		for id, g := range t.held {
			if match(t.name, id) {
				groups, bytes = groups+1, bytes+g.size
			}
		}
		t.mu.Unlock()
	}
	return groups, bytes
}

// Purge removes what there is in the store of what is withheld, for those groups that match; what lies in the tier is deleted there.
func (s *Store) Purge(match func(name object.TrackName, group uint64) bool) (groups int, bytes int64, err error) {
	if s.c.ReadOnly {
		return 0, 0, ErrReadOnly
	}
	s.finishMu.Lock()
	defer s.finishMu.Unlock()
	for _, t := range s.all() {
		t.mu.Lock()
		for id, g := range t.held {
			if !match(t.name, id) {
				continue
			}
			size, gone := g.size, t.gone
			if uerr := s.unlink(g); uerr != nil {
				err = errors.Join(err, uerr)
				continue
			}
			t.gone = gone // once it is not withheld any more, others may bring it again
			groups, bytes = groups+1, bytes+size
		}
		t.mu.Unlock()
	}
	return groups, bytes, err
}
