package relay

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/relay/live"
)

// maxPumps bounds the groups sent at the same time to one subscriber. More than one are sent only
// while the older ones wait for a publisher.
const maxPumps = 8

// subscriber sends one track to one peer, group after group. It never blocks anybody else.
type subscriber struct {
	t    *track
	by   *session // its own
	name string
	pub  *moqt.Publication
	// refused is set while no other group may be begun because of those that are being sent. A pump that begins to wait wakes run then.
	refused atomic.Bool
	through []string // the relays it came through
	here    func()   // ends that the subscriber is expected
	pace    pace
	missed  time.Time // of the last warning about a group that it did not get; of misses

	born       uint64        // Seq of the newest group when it subscribed
	unfiltered bool          // it has no filter: groups before the floor are sent, too, if they come live
	floor      moqt.Location // nothing before it is sent

	groups *live.Follower // made by run

	// Owned by run.
	pumps   []*pump         // those that are not over, in the order in which they were begun
	start   moqt.Location   // of the filter in force
	lag     int             // how many groups it may be behind
	running sync.WaitGroup  // pumps
	sending context.Context // ends with run, and when the subscriber asks for nothing
	pause   context.CancelFunc
	ended   bool // the subscriber was told that the track has ended
}

// newSubscriber makes a subscriber that wants nothing up to largest. born is the Seq of the newest group at that time.
func newSubscriber(t *track, by *session, pub *moqt.Publication, largest *moqt.Location, born uint64) *subscriber {
	s := &subscriber{t: t, by: by, name: by.name, pub: pub, born: born}
	st := pub.State()
	s.start, s.floor = st.Start, st.Start
	s.unfiltered = st.Filter.Type == wire.FilterNone
	if st.Filter.Type == wire.FilterNone && largest != nil {
		s.floor = next(*largest) // all that is received from now on, not all that is stored
	}
	return s
}

// next is the location behind l.
func next(l moqt.Location) moqt.Location { return moqt.Location{Group: l.Group, Object: l.Object + 1} }

// run serves the subscription until ctx ends or everything that was asked for is sent.
func (s *subscriber) run(ctx context.Context) {
	t := s.t
	s.groups = t.Follow(s.floor, s.unfiltered, s.born)
	t.subs.add(s)
	s.here()
	t.r.stats.subscribers.Add(1)
	t.r.log.Info("subscriber", "track", t.name.String(), "peer", s.name, "from", s.floor.String(), "filter", s.pub.State().Filter.String())
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		s.running.Wait()
		t.subs.remove(s)
		t.Unfollow(s.groups)
		t.r.stats.subscribers.Add(-1)
		t.r.log.Info("subscriber left", "track", t.name.String(), "peer", s.name)
	}()
	s.lag = s.groups.Ahead() + t.r.tuned.Load().maxLag
	forward := true
	s.sending, s.pause = context.WithCancel(ctx)
	defer func() { s.pause() }()
	for ctx.Err() == nil {
		if b := t.banned.Load(); b != nil {
			for _, p := range s.pumps { // also of one whose peer does not read
				p.abandon()
			}
			s.pub.Done(wire.DoneUnauthorized, b.why)
			return
		}
		for _, p := range s.pumps {
			if t.st.Withheld(p.ID) {
				p.abandon()
			}
		}
		st := s.pub.State()
		switch {
		case !st.Forward && forward:
			forward = false
			s.pause()
		case st.Forward && !forward: // what was published meanwhile was not asked for
			forward = true
			s.sending, s.pause = context.WithCancel(ctx)
			if group, anew := s.groups.Resume(st.Resumed); anew {
				s.pumps = slices.DeleteFunc(s.pumps, func(p *pump) bool { return p.ID == group })
			}
		}
		if st.Start != s.start && s.groups.Floor().Less(st.Start) { // the filter was updated
			s.start = st.Start
			s.groups.Raise(st.Start)
		}
		if s.groups.Over() {
			s.ended = true
			s.pub.Done(wire.DoneTrackEnded, "the track has begun anew") // it also frees pumps whose peer does not read
			return
		}
		if forward {
			for s.begin(s.sending, st) {
			}
		}
		if code, ok := s.complete(st); ok {
			s.running.Wait()
			s.ended = code == wire.DoneTrackEnded
			s.pub.Done(code, "all groups sent")
			return
		}
		select {
		case <-ctx.Done():
		case <-s.groups.Woken():
		case <-s.pub.Updates():
		}
	}
}

// begin starts to send one more group, if one may be sent now.
func (s *subscriber) begin(ctx context.Context, st moqt.PublicationState) bool {
	s.refused.Store(true) // before the pumps are asked whether they wait
	active, oldest, waiting := s.active()
	if oldest != nil {
		behind := s.groups.Behind(oldest.Birth)
		if behind > s.lag {
			oldest.abandon() // its end wakes run
			return false
		}
		s.lag = min(s.lag, behind+s.t.r.tuned.Load().maxLag)
	}
	if active >= maxPumps || !waiting {
		return false
	}
	s.refused.Store(false)
	b, ok := s.groups.Next()
	if !ok || b.ID > st.EndGroup {
		return false
	}
	if oldest == nil && s.groups.InTurn(b) && s.groups.Behind(b) > s.lag {
		s.t.r.stats.resetLag.Add(1)
		s.groups.Skip(b)
		return true
	}
	p := newPump(s, b, s.groups.Begin(b))
	s.pumps = append(s.pumps, p)
	s.running.Go(func() {
		p.run(ctx)
		p.over.Store(true)
		s.groups.Kick()
	})
	return true
}

// active counts the groups that are being sent, and returns the oldest one, and whether all of them wait for a publisher.
func (s *subscriber) active() (n int, oldest *pump, waiting bool) {
	s.pumps = slices.DeleteFunc(s.pumps, func(p *pump) bool { return p.over.Load() })
	waiting = true
	for _, p := range s.pumps {
		if p.lingering.Load() {
			continue
		}
		if oldest == nil || p.ID < oldest.ID && !p.Back && !oldest.Back {
			oldest = p
		}
		n++
		waiting = waiting && p.waiting.Load()
	}
	return n, oldest, waiting
}

// complete reports whether everything that was asked for was sent and no more of it can come, and returns the code of that end.
func (s *subscriber) complete(st moqt.PublicationState) (moqt.DoneCode, bool) {
	over := s.t.Ended() // before anything else is looked at, so that everything that came before the end is seen
	for _, p := range s.pumps {
		if !p.over.Load() {
			return 0, false
		}
	}
	switch {
	case st.Forward && s.groups.Reached(st.EndGroup):
		return wire.DoneSubscriptionEnded, true
	case !over:
		return 0, false
	case !st.Forward: // the subscriber wants nothing of what there is
		return wire.DoneTrackEnded, true
	}
	_, more := s.groups.Next()
	return wire.DoneTrackEnded, !more
}
