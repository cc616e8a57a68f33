package relay

import (
	"context"
	"sync"
	"sync/atomic"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

const (
	// maxPumps bounds the groups sent at the same time to one subscriber. More than one are sent only
	// while the older ones wait for a publisher.
	maxPumps = 8
	// lateGroups is how many groups back, of those that there are, one may still come late and be sent.
	lateGroups = 64
)

// subscriber sends one track to one peer: group after group, from memory where it can, from disk where it
// must. It never blocks anybody else.
type subscriber struct {
	t    *track
	name string
	pub  *moqt.Publication
	wake chan struct{} // a group appeared, a pump is over, or began to wait and refused is set
	// refused: no other group could be begun because those that were are being sent.
	refused atomic.Bool
	through []string // the relays it came through
	here    func()   // says that it is no longer on its way
	pace    pace

	// Owned by run.
	cursor     uint64           // groups from here on have not been begun, but for those that the track went back to
	backed     uint64           // seq up to which such groups were begun or are not for this subscriber
	unfiltered bool             // groups before the floor are sent, too, if they come live
	begun      map[uint64]*pump // groups begun, as far back as lateGroups; nil when over
	floor      moqt.Location    // nothing before it is sent
	start      moqt.Location    // of the filter in force
	lag        int              // groups it may be behind
	order      []uint64         // groups begun, in that order
	running    sync.WaitGroup
	pumps      context.Context // ends with run, and while the subscriber asks for nothing
	pause      context.CancelFunc
}

// newSubscriber makes a subscriber that wants nothing up to largest; born is the seq of the newest group at that time.
func newSubscriber(t *track, name string, pub *moqt.Publication, largest *moqt.Location, born uint64) *subscriber {
	s := &subscriber{t: t, name: name, pub: pub, backed: born, wake: make(chan struct{}, 1), begun: make(map[uint64]*pump)}
	st := pub.State()
	s.start, s.floor = st.Start, st.Start
	s.unfiltered = st.Filter.Type == wire.FilterNone
	if st.Filter.Type == wire.FilterNone && largest != nil {
		s.floor = next(*largest) // all that is received from now on, not all that is stored
	}
	s.cursor = s.floor.Group
	return s
}

// next is the location behind l.
func next(l moqt.Location) moqt.Location { return moqt.Location{Group: l.Group, Object: l.Object + 1} }

func (s *subscriber) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run serves the subscription until ctx ends or all it asked for is sent.
func (s *subscriber) run(ctx context.Context) {
	t := s.t
	t.mu.Lock()
	t.subs[s] = struct{}{}
	t.mu.Unlock()
	s.here()
	t.r.stats.subscribers.Add(1)
	t.r.log.Info("subscriber", "track", t.name.String(), "peer", s.name, "from", s.floor.String(), "filter", s.pub.State().Filter.String())
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		s.running.Wait()
		t.mu.Lock()
		delete(t.subs, s)
		t.mu.Unlock()
		t.r.stats.subscribers.Add(-1)
		t.r.log.Info("subscriber left", "track", t.name.String(), "peer", s.name)
	}()
	s.lag = t.behind(s.cursor) + t.r.c.MaxLag
	forward := true
	s.pumps, s.pause = context.WithCancel(ctx)
	defer func() { s.pause() }()
	for ctx.Err() == nil {
		st := s.pub.State()
		switch {
		case !st.Forward && forward:
			forward = false
			s.pause()
		case st.Forward && !forward: // resumed: what was published meanwhile was not asked for
			forward = true
			s.pumps, s.pause = context.WithCancel(ctx)
			if l := st.Resumed; l != nil && s.floor.Less(*l) {
				s.floor = next(*l)
				s.cursor = s.floor.Group
				delete(s.begun, s.cursor)
			}
			s.backed = t.bornUpTo()
		}
		if st.Start != s.start && s.floor.Less(st.Start) { // it was updated
			s.unfiltered = false
			s.start, s.floor = st.Start, st.Start
			s.cursor = max(s.cursor, s.floor.Group)
		}
		if forward {
			for s.begin(s.pumps, st) {
			}
		}
		if code, ok := s.complete(st); ok {
			s.running.Wait()
			s.pub.Done(code, "all groups sent")
			return
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-s.pub.Updates():
		}
	}
}

// begin starts sending one more group, if there is one whose turn it is.
func (s *subscriber) begin(ctx context.Context, st moqt.PublicationState) bool {
	s.refused.Store(true) // before it is seen who waits
	active, oldest := 0, (*pump)(nil)
	waiting := true
	for _, id := range s.order {
		if p := s.begun[id]; p != nil && !p.over.Load() && !p.lingering.Load() {
			if oldest == nil || p.id < oldest.id && !p.back && !oldest.back {
				oldest = p
			}
			active++
			waiting = waiting && p.waiting.Load()
		}
	}
	if oldest != nil {
		behind := s.behind(oldest.birth)
		if behind > s.lag {
			oldest.abandon() // its end wakes run
			return false
		}
		s.lag = min(s.lag, behind+s.t.r.c.MaxLag)
	}
	if active >= maxPumps || !waiting {
		return false
	}
	s.refused.Store(false)
	b, ok := s.nextGroup()
	id := b.id
	if !ok || id > st.EndGroup {
		return false
	}
	if oldest == nil && (b.back || id >= s.cursor) {
		if behind := s.behind(b); behind > s.lag {
			s.t.r.stats.resetLag.Add(1)
			if b.back {
				s.backed = b.seq
			} else {
				s.cursor = id + 1
			}
			return true
		}
	}
	start := uint64(0)
	if id == s.floor.Group {
		start = s.floor.Object
	}
	p := newPump(s, b, start)
	s.begun[id] = p
	s.order = append(s.order, id)
	if !b.back {
		s.cursor = max(s.cursor, id+1)
	}
	for len(s.order) > 2*lateGroups {
		delete(s.begun, s.order[0])
		s.order = s.order[1:]
	}
	s.running.Go(func() {
		p.run(ctx)
		p.over.Store(true)
		s.kick()
	})
	return true
}

// late reports whether a group before the cursor may still be begun.
func (s *subscriber) late(id uint64) bool {
	if _, begun := s.begun[id]; begun || id < s.floor.Group {
		return false
	}
	since := 0 // groups begun that could perhaps not be stored
	for _, o := range s.order {
		if o >= id {
			since++
		}
	}
	return max(since, s.t.st.Count(id, s.cursor-1)) < lateGroups
}

// complete reports that all that was asked for was sent and nothing more can come of it, and which end that is.
func (s *subscriber) complete(st moqt.PublicationState) (moqt.DoneCode, bool) {
	over := s.t.ended() // asked first: what came before is known by now
	for _, p := range s.begun {
		if !p.over.Load() {
			return 0, false
		}
	}
	switch {
	case st.Forward && s.reached(st):
		return wire.DoneSubscriptionEnded, true
	case !over:
		return 0, false
	case !st.Forward: // it wants nothing of what there is
		return wire.DoneTrackEnded, true
	}
	_, more := s.nextGroup()
	return wire.DoneTrackEnded, !more
}

// reached reports that the last group asked for was begun, or will not be.
func (s *subscriber) reached(st moqt.PublicationState) bool {
	l := s.t.info().Largest
	if l == nil || l.Group < st.EndGroup {
		return false
	}
	if l.Group > st.EndGroup {
		return s.cursor > st.EndGroup || !s.t.has(s.cursor, st.EndGroup)
	}
	return s.begun[st.EndGroup] != nil
}

// behind counts the groups after id.
func (t *track) behind(id uint64) int { return t.st.Count(id+1, object.MaxVarint) }

// behind counts the groups that come after one, those included that the track went back to.
func (s *subscriber) behind(b birth) (n int) {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if b.back {
		return len(t.bornAfter(b.seq))
	}
	for _, o := range t.bornAfter(s.backed) {
		if _, begun := s.begun[o.id]; o.back && o.id <= b.id && !begun && s.wants(o.id) {
			n++
		}
	}
	return n + t.behind(b.id)
}

// has reports whether there is a group from…to.
func (t *track) has(from, to uint64) bool {
	i, ok := t.st.Next(from)
	return ok && i.Group <= to
}

// nextGroup returns the group to begin next: a late one in memory, else the first from the cursor on; but a group that the track
// went back to, if that came before.
func (s *subscriber) nextGroup() (next birth, ok bool) {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	back, went := s.back()
	if i, stored := t.st.Next(s.cursor); stored {
		next.id, ok = i.Group, true
	}
	for g := range t.groups { // also those that could not be stored
		if g >= s.cursor && (!ok || g < next.id) || g < s.cursor && s.late(g) {
			next.id, ok = g, true
		}
	}
	if went && (!ok || back.seq < t.bornAt(next.id)) {
		return back, true
	}
	return next, ok
}
