package relay

import (
	"cmp"
	"slices"
	"time"
)

// Groups of a track come in ascending order of their ids, give or take. But a broadcast's clock may be set back, and then all its
// publishers go on with lower ids (docs/format/chunk.md, "Name"). A subscriber without a filter gets those groups in order of
// arrival. A late group of one publisher, or an upload of the past while others are live, does not set the track back.

const (
	// maxBirths is how many groups are remembered in the order in which they came.
	maxBirths = 1024
	// quietSource is after how long without an object a publisher does not count any more: the others can go back without it.
	quietSource = 10 * time.Second
)

// birth is the first arrival of a group: it came live, and nothing of it was stored.
type birth struct {
	id   uint64
	seq  uint64 // from 1, in the order in which they came
	at   time.Time
	back bool // the track went back to it
}

// progress is how far a source is; the track's mutex guards it.
type progress struct {
	some    bool
	last    uint64 // group of its last object
	high    uint64 // highest group ever
	touched time.Time
}

// reached notes that a source brought something of a group. The track's mutex is held.
func (src *source) reached(id uint64) {
	p := &src.progress
	down := p.some && id < p.last
	p.some, p.last, p.high, p.touched = true, id, max(p.high, id), time.Now()
	if down {
		src.t.reconsider(src)
	}
}

// born notes the first arrival of a group, before src.reached notes where the source is. The track's mutex is held.
func (t *track) born(src *source, g *group) {
	if src.sub == nil { // fetched
		return
	}
	g.at = time.Now()
	t.note(&g.birth, t.below(g.id) && !t.above(src, max(g.id, src.progress.high)))
}

// note makes a birth the newest one. back: the track went back to its group.
func (t *track) note(b *birth, back bool) {
	t.seq++
	b.seq, b.back = t.seq, back
	if len(t.births) == maxBirths {
		t.births = slices.Delete(t.births, 0, 1)
	}
	t.births = append(t.births, *b)
	if !back {
		return
	}
	t.backAt = time.Now()
	for _, o := range t.groups {
		if o.newer.IsZero() {
			o.change() // an unfinished group has a newer one now, and is waited for no longer than stall
		}
	}
	for s := range t.subs {
		s.kick()
	}
}

// reconsider looks again at groups that did not set the track back because another source was above them: src, perhaps the last
// of those, has followed.
func (t *track) reconsider(src *source) {
	var followed []birth
	t.births = slices.DeleteFunc(t.births, func(b birth) bool {
		ok := !b.back && t.below(b.id) && b.id >= src.progress.last && time.Since(b.at) < quietSource && !t.above(src, src.progress.high)
		if ok {
			followed = append(followed, b)
		}
		return ok
	})
	for _, b := range followed {
		t.note(&b, true)
		if g := t.groups[b.id]; g != nil {
			g.birth = b
		}
	}
}

// below reports whether an id is below the track's largest.
func (t *track) below(id uint64) bool { return t.largest != nil && id < t.largest.Group }

// above reports whether another source than src is at a group above id.
func (t *track) above(src *source, id uint64) bool {
	for o := range t.sources {
		if p := o.progress; o != src && p.some && p.last > id && time.Since(p.touched) < quietSource {
			return true
		}
	}
	return false
}

// overtaken is since when a group has a newer one; zero: it is the newest. The track's mutex is held.
func (t *track) overtaken(g *group) time.Time {
	if t.ends && g.newer.IsZero() && g.open == 0 && t.backAt.After(g.touched) {
		return t.backAt
	}
	return g.newer
}

// bornAt is the seq of a group; 0 is before all that is remembered. The track's mutex is held.
func (t *track) bornAt(id uint64) uint64 {
	for _, b := range slices.Backward(t.births) {
		if b.id == id {
			return b.seq
		}
	}
	return 0
}

// bornUpTo is the seq of the newest group.
func (t *track) bornUpTo() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seq
}

// bornAfter returns the births after a seq. The track's mutex is held.
func (t *track) bornAfter(seq uint64) []birth {
	i, found := slices.BinarySearchFunc(t.births, seq, func(b birth, seq uint64) int { return cmp.Compare(b.seq, seq) })
	if found {
		i++
	}
	return t.births[i:]
}

// back returns the first group that the track went back to and that is to be sent to s. The track's mutex is held.
func (s *subscriber) back() (b birth, ok bool) {
	settled := true
	for _, b := range s.t.bornAfter(s.backed) {
		_, begun := s.begun[b.id]
		switch {
		case !b.back || begun || !s.wants(b.id):
			if settled {
				s.backed = b.seq
			}
		case b.id < s.cursor && !(s.t.groups[b.id] != nil && s.late(b.id)): // else nextGroup comes to it in order of ids
			return b, true
		default:
			settled = false
		}
	}
	return b, false
}

// wants reports whether a group passes the filter: all live groups without a filter, those from its start on with one.
func (s *subscriber) wants(id uint64) bool { return s.unfiltered || id >= s.floor.Group }
