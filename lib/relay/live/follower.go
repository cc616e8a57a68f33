package live

import (
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// LateGroups is how many groups back, of those that there are, one may still come late and be sent.
const LateGroups = 64

// Follower says which groups of a track one subscriber is to be sent, one after the other. One goroutine uses it; Kick may be called by
// any.
type Follower struct {
	t          *Track
	woken      chan struct{}
	next       uint64          // no group from this id on has been begun, except those that the track went back to
	backed     uint64          // up to this Seq, the groups that the track went back to were begun or are not for this subscriber
	unfiltered bool            // groups before the floor are sent, too, if they come live
	begun      map[uint64]bool // groups begun, as far back as LateGroups
	order      []uint64        // the same in the order in which they were begun
	floor      moqt.Location   // nothing before it is sent
	of         uint64          // a Seq of the track's incarnation

	// What look saw last:
	memory map[uint64]bool // groups in memory
	births []Birth         // those after backed
}

// Follow returns a follower of everything from floor on. If it is unfiltered, it also follows the track back to groups before the floor,
// if their Seq is greater than born. If the track has begun anew since it was at born, the follower is over at once. Unfollow ends it.
func (t *Track) Follow(floor moqt.Location, unfiltered bool, born uint64) *Follower {
	f := &Follower{
		t: t, woken: make(chan struct{}, 1), next: floor.Group, backed: born, unfiltered: unfiltered, floor: floor, of: born,
		begun: make(map[uint64]bool), memory: make(map[uint64]bool),
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.followers[f] = struct{}{}
	return f
}

// Unfollow ends a follower.
func (t *Track) Unfollow(f *Follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.followers, f)
}

// Woken has a value when Next may give another answer than before.
func (f *Follower) Woken() <-chan struct{} { return f.woken }

// Kick wakes the goroutine that waits for Woken.
func (f *Follower) Kick() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// Floor returns the location before which nothing is sent.
func (f *Follower) Floor() moqt.Location { return f.floor }

// Raise moves the floor up. From then on the follower is one with a filter.
func (f *Follower) Raise(floor moqt.Location) {
	f.unfiltered, f.floor = false, floor
	f.next = max(f.next, floor.Group)
}

// Resume goes on after a time in which the subscriber asked for nothing. What was published in that time is left out: the follower goes on
// behind largest, the largest location at the end of that time, and the group of that location is begun anew.
func (f *Follower) Resume(largest *moqt.Location) (group uint64, anew bool) {
	if largest != nil && f.floor.Less(*largest) {
		f.floor = moqt.Location{Group: largest.Group, Object: largest.Object + 1}
		f.next = largest.Group
		delete(f.begun, f.next)
		group, anew = f.next, true
	}
	f.backed = f.t.Born()
	return group, anew
}

// Over reports whether the track has begun anew. Then nothing more comes of what was followed.
func (f *Follower) Over() bool {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	return f.t.incarnation > f.of
}

// Cursor returns a cursor for a group that is being begun.
func (f *Follower) Cursor(group, start uint64) *Cursor {
	c := f.t.Cursor(group, start)
	c.of = f.of
	return c
}

// Next returns the group to begin next. That is a late group in memory, or else the first group that was not begun; but a group that the
// track went back to comes first if it came before that group.
func (f *Follower) Next() (next Birth, ok bool) {
	t := f.t
	if i, stored := t.files.Next(f.next); stored {
		next.ID, ok = i.Group, true
	}
	f.look()
	late, some := uint64(0), false
	for g := range f.memory { // groups that could not be stored are only here
		switch {
		case g >= f.next && (!ok || g < next.ID):
			next.ID, ok = g, true
		case g < f.next && (!some || g < late) && f.late(g):
			late, some = g, true
		}
	}
	if some {
		next.ID, ok = late, true
	}
	back, went := f.back()
	if !went || !ok {
		if went {
			return back, true
		}
		return next, ok
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if back.Seq < t.bornAt(next.ID) {
		return back, true
	}
	return next, true
}

// look notes which groups the track has in memory, and which were born.
func (f *Follower) look() {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	clear(f.memory)
	for id := range f.t.groups {
		f.memory[id] = true
	}
	f.births = append(f.births[:0], f.t.bornAfter(f.backed)...)
}

// late reports whether a group that was passed over may still be begun.
func (f *Follower) late(id uint64) bool {
	if f.begun[id] || id < f.floor.Group {
		return false
	}
	since := 0 // the store does not count groups that could not be stored, so those that were begun are counted here
	for _, o := range f.order {
		if o >= id {
			since++
		}
	}
	return max(since, f.t.files.Count(id, f.next-1)) < LateGroups
}

// back returns the first group that the track went back to and that is to be sent.
func (f *Follower) back() (b Birth, ok bool) {
	settled := true
	for _, b := range f.births {
		switch {
		case !b.Back || f.begun[b.ID] || !f.wants(b.ID):
			if settled {
				f.backed = b.Seq
			}
		case b.ID < f.next && !(f.memory[b.ID] && f.late(b.ID)): // Next would not come to it in order of ids
			return b, true
		default:
			settled = false
		}
	}
	return b, false
}

// wants reports whether a group that came live passes the filter.
func (f *Follower) wants(id uint64) bool { return f.unfiltered || id >= f.floor.Group }

// Begin notes that a group is being sent, and returns the object to begin with.
func (f *Follower) Begin(b Birth) (start uint64) {
	f.begun[b.ID] = true
	f.order = append(f.order, b.ID)
	if !b.Back {
		f.next = max(f.next, b.ID+1)
	}
	for len(f.order) > 2*LateGroups {
		delete(f.begun, f.order[0])
		f.order = f.order[1:]
	}
	if b.ID == f.floor.Group {
		return f.floor.Object
	}
	return 0
}

// InTurn reports whether a group is not a late one.
func (f *Follower) InTurn(b Birth) bool { return b.Back || b.ID >= f.next }

// Skip leaves out a group that is in turn.
func (f *Follower) Skip(b Birth) {
	if b.Back {
		f.backed = b.Seq
	} else {
		f.next = b.ID + 1
	}
}

// Reached reports whether end, the last group that the subscriber asked for, was begun or will never be.
func (f *Follower) Reached(end uint64) bool {
	l := f.t.Info().Largest
	if l == nil || l.Group < end {
		return false
	}
	if l.Group > end {
		i, ok := f.t.files.Next(f.next)
		return f.next > end || !ok || i.Group > end
	}
	return f.begun[end]
}

// Ahead counts the stored groups behind the next one.
func (f *Follower) Ahead() int { return f.t.files.Count(f.next+1, object.MaxVarint) }

// Behind counts the groups that the subscriber is to be sent after b. Groups that the track went back to count, too.
func (f *Follower) Behind(b Birth) int {
	n, back := f.backBehind(b)
	if back {
		return n
	}
	return n + f.t.files.Count(b.ID+1, object.MaxVarint)
}

// backBehind counts those of them that the track went back to. If all is set there are no others, because the track went back to b.
func (f *Follower) backBehind(b Birth) (n int, all bool) {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	if b.Back {
		return len(f.t.bornAfter(b.Seq)), true
	}
	for _, o := range f.t.bornAfter(f.backed) {
		if o.Back && o.ID <= b.ID && !f.begun[o.ID] && f.wants(o.ID) {
			n++
		}
	}
	return n, false
}
