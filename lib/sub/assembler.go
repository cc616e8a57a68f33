package sub

import (
	"context"
	"sync"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// assembler brings the objects of a track into order. Feeders put the objects that arrive, from several streams at once; one
// reader takes the next one. Feeders wait while more than max bytes lie here. Objects of the due group are taken all the same, so
// that the reader can always go on.
type assembler struct {
	max int64

	mu      sync.Mutex
	cond    *sync.Cond    // for feeders
	wake    chan struct{} // for the reader
	groups  map[uint64]*assembly
	bytes   int64
	next    moqt.Location  // the location that is due: the next one to be written
	started bool           // next is known
	fetched moqt.Location  // objects below this location that are not here do not exist
	ended   *moqt.Location // end of track
	over    bool           // nothing more will be put
	last    time.Time      // when something was put last; at first, when the assembler was made
	late    int64          // objects that came after their turn, or twice
	clock   setBack
}

// assembly is a group in the making.
type assembly struct {
	seq     uint64 // in order of arrival
	objects map[uint64]object.Object
	end     uint64 // id after the last object
	hasEnd  bool
	fin     bool // every stream of it ended with FIN; more streams of it may come
	unknown bool // the relay says that it may lack some of it
	streams int  // streams of it that are open
	touched time.Time
}

func newAssembler(max int64) *assembler {
	a := &assembler{max: max, groups: map[uint64]*assembly{}, wake: make(chan struct{}, 1), last: time.Now(), clock: newSetBack()}
	a.cond = sync.NewCond(&a.mu)
	return a
}

// changed wakes feeders and reader; the lock is held.
func (a *assembler) changed() {
	a.cond.Broadcast()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// start sets the location that is due, once.
func (a *assembler) start(at moqt.Location) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.started {
		a.next, a.started = at, true
		a.changed()
	}
}

// touch counts like an object that was put, and wakes the reader: a relay begins to bring something.
func (a *assembler) touch() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = time.Now()
	a.changed()
}

// has reports whether an object is here, or was passed already.
func (a *assembler) has(at moqt.Location) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at.Less(a.next) {
		return true
	}
	g := a.groups[at.Group]
	if g == nil {
		return false
	}
	_, ok := g.objects[at.Object]
	return ok
}

func (a *assembler) group(id uint64) *assembly { return a.in(a.groups, id) }

func (a *assembler) in(groups map[uint64]*assembly, id uint64) *assembly {
	g := groups[id]
	if g == nil {
		a.clock.seq++
		g = &assembly{seq: a.clock.seq, objects: map[uint64]object.Object{}}
		groups[id] = g
	}
	g.touched = time.Now()
	return g
}

// opened notes that a stream of a group began. The first stream of all decides which group is due.
func (a *assembler) opened(group uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.started {
		a.next, a.started = moqt.Location{Group: group}, true
	}
	switch {
	case a.mayGoBack(group):
		a.in(a.clock.behind, group).streams++
	case group < a.next.Group || a.wasWritten(group):
		return
	default:
		a.group(group).streams++
	}
	a.changed()
}

// closed notes that a stream of a group ended. whole: it ended with FIN. end is the id after its last object if the stream says
// that it ends the group, otherwise 0.
func (a *assembler) closed(group uint64, whole bool, end uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.groups[group]
	if g == nil {
		g = a.clock.behind[group]
	}
	if g == nil {
		return
	}
	g.streams = max(0, g.streams-1)
	g.fin = whole && g.streams == 0
	if whole && end > 0 {
		g.end, g.hasEnd = end, true
	}
	a.changed()
}

// endGroup notes the id after the last object of a group.
func (a *assembler) endGroup(group, end uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if group >= a.next.Group && !a.wasWritten(group) {
		g := a.group(group)
		g.end, g.hasEnd = end, true
		a.changed()
	}
}

// unknown notes that a group may lack objects.
func (a *assembler) unknown(group uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if group >= a.next.Group && !a.wasWritten(group) {
		a.group(group).unknown = true
	}
}

// finish says that nothing more will be put.
func (a *assembler) finish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.changed()
}

// idle returns how long nothing was put.
func (a *assembler) idle() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Since(a.last)
}

// needed returns the first location that neither is here nor was written; false if no location is due yet.
func (a *assembler) needed() (moqt.Location, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next.Less(a.fetched) {
		return a.fetched, a.started
	}
	return a.next, a.started
}

// origin says how an object came.
type origin uint8

const (
	live    origin = iota // in a subscription
	fetched               // by FETCH
	healing               // by a FETCH of the reader's own
)

// put takes an object, whose slices belong to the assembler from now on. It waits for room, except when the reader itself calls
// it.
func (a *assembler) put(ctx context.Context, o object.Object, how origin) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = time.Now()
	if !a.started {
		a.next, a.started = moqt.Location{Group: o.Group}, true
	}
	if err := a.room(ctx, o.Group, how); err != nil {
		return err
	}
	switch o.Status {
	case object.EndOfTrack:
		a.ended = &moqt.Location{Group: o.Group, Object: o.ID}
		a.putEnd(&o, how)
	case object.EndOfGroup:
		a.putEnd(&o, how)
	default:
		a.keep(o, how)
	}
	return nil
}

// back reports whether an object below the due group may be what the broadcast now sends, because its clock was set back.
func (a *assembler) back(group uint64, how origin) bool { return how == live && a.mayGoBack(group) }

// room waits until something of a group may be put; the lock is held, but not while it waits.
func (a *assembler) room(ctx context.Context, group uint64, how origin) error {
	full := func() bool { return a.bytes >= a.max && (group > a.next.Group || a.back(group, how)) }
	if how == healing || !full() {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.cond.Broadcast()
	})
	defer stop()
	for full() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		a.cond.Wait()
	}
	return nil
}

// putEnd takes the end of a group or of the track. The end of the track also ends its group, unless it lies at the start of one.
func (a *assembler) putEnd(o *object.Object, how origin) {
	switch {
	case a.back(o.Group, how):
		g := a.in(a.clock.behind, o.Group)
		g.end, g.hasEnd = o.ID, true
	case o.Group >= a.next.Group && !a.wasWritten(o.Group) && (o.ID > 0 || o.Status == object.EndOfGroup):
		g := a.group(o.Group)
		g.end, g.hasEnd = o.ID, true
	}
	a.changed()
}

// keep takes an object, unless it was passed already or is here.
func (a *assembler) keep(o object.Object, how origin) {
	groups := a.groups
	switch {
	case a.back(o.Group, how):
		groups = a.clock.behind
	case (moqt.Location{Group: o.Group, Object: o.ID}).Less(a.next), a.wasWritten(o.Group):
		a.late++
		return
	}
	g := a.in(groups, o.Group)
	if _, twice := g.objects[o.ID]; twice {
		a.late++
		return
	}
	g.objects[o.ID] = o
	a.bytes += int64(len(o.Payload) + len(o.Properties))
	a.changed()
}

// upTo notes that all existing objects below a location were put. While the clock is behind where it was, more of them may still
// come.
func (a *assembler) upTo(at moqt.Location) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fetched.Less(at) && a.clock.top == 0 {
		a.fetched = at
		a.changed()
	}
}
