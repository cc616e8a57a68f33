package live

import (
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// LateGroups is how many groups back, of those that there are, one may still come late and be sent.
const LateGroups = 64

// Follower says which groups of a track one subscriber is to be sent, one after the other. One goroutine uses it, but for Kick.
type Follower struct {
	t          *Track
	woken      chan struct{}
	next       uint64          // groups from here on have not been begun, but for those that the track went back to
	backed     uint64          // Seq up to which such groups were begun or are not for this subscriber
	unfiltered bool            // groups before the floor are sent, too, if they come live
	begun      map[uint64]bool // groups begun, as far back as LateGroups
	order      []uint64        // the same in the order in which they were begun
	floor      moqt.Location   // nothing before it is sent

	// What it saw in the track last:
	memory map[uint64]bool // groups
	births []Birth         // after backed
}

// Follow makes a follower of what comes from floor on; unfiltered: also of groups before it, if they come after those that had been
// born. Unfollow ends it.
func (t *Track) Follow(floor moqt.Location, unfiltered bool, born uint64) *Follower {
	f := &Follower{
		t: t, woken: make(chan struct{}, 1), next: floor.Group, backed: born, unfiltered: unfiltered, floor: floor,
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

// Woken gets a value when Next may say something else than before.
func (f *Follower) Woken() <-chan struct{} { return f.woken }

// Kick has whoever waits for Woken look again.
func (f *Follower) Kick() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// Floor is the location before which nothing is sent.
func (f *Follower) Floor() moqt.Location { return f.floor }

// Raise leaves out what is before a location, and, from now on, what passes no filter.
func (f *Follower) Raise(floor moqt.Location) {
	f.unfiltered, f.floor = false, floor
	f.next = max(f.next, floor.Group)
}

// Resume goes on, after nothing was asked for, behind what was the largest location then, if any: what was published meanwhile is
// left out. It returns the group in which that is, which is begun anew.
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

// Next is the group to begin next: a late one in memory, else the first that was not begun; but a group that the track
// went back to, if that came before.
func (f *Follower) Next() (next Birth, ok bool) {
	t := f.t
	if i, stored := t.files.Next(f.next); stored {
		next.ID, ok = i.Group, true
	}
	f.look()
	late, some := uint64(0), false
	for g := range f.memory { // also those that could not be stored
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

// look takes down what the track has in memory.
func (f *Follower) look() {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	clear(f.memory)
	for id := range f.t.groups {
		f.memory[id] = true
	}
	f.births = append(f.births[:0], f.t.bornAfter(f.backed)...)
}

// late reports whether a group before those that come next may still be begun.
func (f *Follower) late(id uint64) bool {
	if f.begun[id] || id < f.floor.Group {
		return false
	}
	since := 0 // groups begun that could perhaps not be stored
	for _, o := range f.order {
		if o >= id {
			since++
		}
	}
	return max(since, f.t.files.Count(id, f.next-1)) < LateGroups
}

// back is the first group that the track went back to and that is to be sent.
func (f *Follower) back() (b Birth, ok bool) {
	settled := true
	for _, b := range f.births {
		switch {
		case !b.Back || f.begun[b.ID] || !f.wants(b.ID):
			if settled {
				f.backed = b.Seq
			}
		case b.ID < f.next && !(f.memory[b.ID] && f.late(b.ID)): // else Next comes to it in order of ids
			return b, true
		default:
			settled = false
		}
	}
	return b, false
}

// wants reports whether a group passes the filter: all live groups without a filter, those from the floor on with one.
func (f *Follower) wants(id uint64) bool { return f.unfiltered || id >= f.floor.Group }

// Begin takes note that a group is being sent, and returns the object to begin with.
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

// InTurn reports whether a group comes when it is due, and not late.
func (f *Follower) InTurn(b Birth) bool { return b.Back || b.ID >= f.next }

// Skip leaves out a group that comes in its turn.
func (f *Follower) Skip(b Birth) {
	if b.Back {
		f.backed = b.Seq
	} else {
		f.next = b.ID + 1
	}
}

// Reached reports whether the last group asked for was begun, or will not be.
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

// Ahead counts the groups that are to come.
func (f *Follower) Ahead() int { return f.t.files.Count(f.next+1, object.MaxVarint) }

// Behind counts the groups that come after one, those included that the track went back to.
func (f *Follower) Behind(b Birth) int {
	n, back := f.backBehind(b)
	if back {
		return n
	}
	return n + f.t.files.Count(b.ID+1, object.MaxVarint)
}

// backBehind counts those that the track went back to; all: after such a group they are all that come.
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
