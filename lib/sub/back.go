package sub

import (
	"maps"
	"slices"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// A broadcast's clock may be set back; the chunks that follow then have lower group ids (docs/format/chunk.md, "Name"). These
// chunks are what the broadcast now sends. So the reader writes the rest of the chunk before the step and then goes on with the
// lower ids. A low group that was given up, or that arrived before the group which was written last, is only late and not
// written.

const (
	// maxWritten is how many groups that were written are remembered.
	maxWritten = 4096
	// maxGaps is how many ranges that were given up are remembered.
	maxGaps = 256
)

// setBack is what an assembler knows of a clock that was set back, or may have been. The assembler's lock guards it.
type setBack struct {
	allowed bool   // the track's group ids follow a clock, so the clock can be set back
	seq     uint64 // of the newest group

	behind  map[uint64]*assembly // live groups below the due one, to which the clock may have been set back
	written map[uint64]bool      // groups that were written wholly or in part
	order   []uint64             // the same, in the order in which they were written
	gaps    [][2]uint64          // ranges of ids that were given up, each from an id up to before another
	first   uint64               // the first group that was written
	last    uint64               // seq of the group that was written last
	top     uint64               // after the clock was set back: the group that was due before; 0: the clock was not set back
}

func newSetBack() setBack { return setBack{behind: map[uint64]*assembly{}, written: map[uint64]bool{}} }

// allow says that the group ids of the track follow a clock.
func (a *assembler) allow(yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clock.allowed = yes
}

// mayGoBack reports whether a group that comes live is to be kept because the clock may have been set back to it.
func (a *assembler) mayGoBack(id uint64) bool {
	t := &a.clock
	return t.allowed && len(t.order) > 0 && id < a.next.Group && !t.written[id] &&
		!slices.ContainsFunc(t.gaps, func(g [2]uint64) bool { return g[0] <= id && id < g[1] })
}

// wasWritten reports whether a group was written before the clock was set back.
func (a *assembler) wasWritten(id uint64) bool {
	return a.clock.written[id] && !(id == a.next.Group && a.next.Object > 0)
}

// wrote notes that a group is being written. Groups that came before it and were not written are late.
func (a *assembler) wrote(id uint64, g *assembly) {
	t := &a.clock
	if !t.allowed {
		return
	}
	if len(t.order) == 0 {
		t.first = id
	}
	t.last = g.seq
	if !t.written[id] {
		t.written[id] = true
		if t.order = append(t.order, id); len(t.order) > maxWritten {
			delete(t.written, t.order[0])
			t.order = t.order[1:]
		}
	}
	for id, b := range t.behind {
		if b.seq < g.seq {
			a.drop(t.behind, id)
		}
	}
}

// drop forgets a group that was passed.
func (a *assembler) drop(groups map[uint64]*assembly, id uint64) {
	for _, o := range groups[id].objects {
		a.bytes -= int64(len(o.Payload) + len(o.Properties))
		a.late++
	}
	delete(groups, id)
	a.changed()
}

// backTo returns the first object of the group at which the broadcast now is, if its clock was set back. known: the id is above
// that of the first group written, so the group is not from before reading began.
func (a *assembler) backTo() (o *object.Object, known bool) {
	for _, id := range slices.Sorted(maps.Keys(a.clock.behind)) {
		if first, ok := a.clock.behind[id].objects[0]; ok && a.clock.behind[id].seq > a.clock.last {
			return &first, id > a.clock.first
		}
	}
	return nil, false
}

// goBack makes a group due that is below the due one.
func (a *assembler) goBack(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := &a.clock
	if g := a.groups[a.next.Group]; g != nil && a.next.Object > 0 {
		a.drop(a.groups, a.next.Group)
	}
	t.top = max(t.top, a.next.Group)
	for b, g := range t.behind {
		if b >= id {
			a.groups[b] = g
			delete(t.behind, b)
		}
	}
	a.next, a.fetched = moqt.Location{Group: id}, moqt.Location{}
	a.changed()
}

// passed notes that a group, or a later one, is due.
func (t *setBack) passed(group uint64) {
	if group >= t.top {
		t.top = 0
	}
}

// giveUp notes that groups are not waited for any more: those from one id up to before another.
func (a *assembler) giveUp(from, to uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := &a.clock; t.allowed {
		if t.gaps = append(t.gaps, [2]uint64{from, to}); len(t.gaps) > maxGaps {
			t.gaps = t.gaps[1:]
		}
	}
}

// isBack reports whether the clock is behind where it was. A relay still holds the groups between where it is and where it was.
// all: every one of these was written, so none of them can be mistaken for what the broadcast now sends.
func (a *assembler) isBack() (back, all bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.clock.top > 0, a.clock.first <= a.next.Group && len(a.clock.order) < maxWritten
}
