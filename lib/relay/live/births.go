package live

import (
	"cmp"
	"slices"
	"time"
)

// The groups of a track come in ascending order of their ids, except that one may be late. But a broadcast's clock may be set back, and
// then all publishers of the broadcast go on with lower ids (docs/format/chunk.md, "Name"). A subscriber without a filter gets those
// groups in the order in which they came. A late group of one publisher does not set the track back, nor does the past that one
// publisher uploads while others are live.

const (
	// maxBirths is how many births of a track are remembered.
	maxBirths = 1024
	// quietSource is the time without an object after which a publisher does not count: the track goes back without it.
	quietSource = 10 * time.Second
)

// Birth is the moment at which the first object of a group came live, when nothing of the group was stored.
type Birth struct {
	ID   uint64
	Seq  uint64 // from 1, in the order in which they came
	Back bool   // the track went back to it
	at   time.Time
	low  bool // the track was above it when it came
}

// progress says how far a source is. The track's mutex guards it.
type progress struct {
	some    bool
	last    uint64 // group of its last object
	high    uint64 // highest group ever
	touched time.Time
}

// reached notes that a source brought something of a group. The track's mutex is held.
func (t *Track) reached(src *Source, id uint64) {
	p := &src.progress
	down := p.some && id < p.last
	p.some, p.last, p.high, p.touched = true, id, max(p.high, id), time.Now()
	if down {
		t.reconsider(src)
	}
}

// born notes the birth of a group. It is called before reached notes that the source has got there. The track's mutex is held.
func (t *Track) born(src *Source, g *group) {
	if src.Fetched {
		return
	}
	g.at, g.low = time.Now(), t.below(g.ID)
	if home, ok := src.voter(); ok {
		g.home = home
	}
	t.note(&g.Birth, g.low && !t.above(src, max(g.ID, src.progress.high)))
}

// note makes a birth the newest one. back: the track went back to its group.
func (t *Track) note(b *Birth, back bool) {
	t.seq++
	b.Seq, b.Back = t.seq, back
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
			o.change() // there is a newer group now, so from now on there is a limit to how long this one is waited for
		}
	}
	t.wake()
}

// reconsider looks again at groups that did not set the track back, because another source was above them when they came. The source src
// has followed, and was perhaps the last one above them.
func (t *Track) reconsider(src *Source) {
	var followed []Birth
	t.births = slices.DeleteFunc(t.births, func(b Birth) bool {
		ok := b.low && !b.Back && b.ID >= src.progress.last && time.Since(b.at) < quietSource && !t.above(src, src.progress.high)
		if ok {
			followed = append(followed, b)
		}
		return ok
	})
	for _, b := range followed {
		t.note(&b, true)
		if g := t.groups[b.ID]; g != nil {
			g.Birth = b
		}
	}
}

// below reports whether an id is below the track's largest.
func (t *Track) below(id uint64) bool { return t.largest != nil && id < t.largest.Group }

// above reports whether another source than src is at a group above id.
func (t *Track) above(src *Source, id uint64) bool {
	for o := range t.sources {
		if p := o.progress; o != src && p.some && p.last > id && time.Since(p.touched) < quietSource {
			return true
		}
	}
	return false
}

// overtaken returns since when there is a newer group than g; the zero time if there is none. The track's mutex is held.
func (t *Track) overtaken(g *group) time.Time {
	if t.ends && g.newer.IsZero() && g.open == 0 && t.backAt.After(g.touched) {
		return t.backAt
	}
	return g.newer
}

// bornAt returns the Seq of a group, or 0 if its birth is not remembered. The track's mutex is held.
func (t *Track) bornAt(id uint64) uint64 {
	for _, b := range slices.Backward(t.births) {
		if b.ID == id {
			return b.Seq
		}
	}
	return 0
}

// Born returns the Seq of the group that came last.
func (t *Track) Born() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seq
}

// bornAfter returns the births after a Seq. The track's mutex is held.
func (t *Track) bornAfter(seq uint64) []Birth {
	i, found := slices.BinarySearchFunc(t.births, seq, func(b Birth, seq uint64) int { return cmp.Compare(b.Seq, seq) })
	if found {
		i++
	}
	return t.births[i:]
}
