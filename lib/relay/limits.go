package relay

import (
	"context"
	"maps"
	"net"
	"slices"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// objectOverhead is what an object counts besides its payload, in bytes that come in, because empty ones cost something, too.
const objectOverhead = 1 << 10

// newLimits are the limits of a relay that was given none.
func newLimits(c Config) *limits.Book {
	var t limits.Table
	t[limits.Sessions].All = int64(c.MaxSessions)
	return limits.New(limits.Config{Table: t, Logger: c.Logger})
}

// counts is the peer as which a session counts: what its token says, or the key that it has proved to ec-iroh, or its address. The session may
// turn out to be one of the relay's own user.
func (s *session) counts() limits.Who {
	if s.inside {
		return limits.Who{Free: true} // the HTTP server counts its readers
	}
	w := limits.ByAddress(s.s.RemoteAddr())
	if g := s.access.first(); g != nil {
		w = whoHolds(g)
	}
	if s.access.r != nil {
		w.Trusted = func() bool { return s.access.trust() != nil }
	}
	return w
}

// whoHolds is the peer that shows a token, be it a ticket, or proves a key that is listed like one.
func whoHolds(g *auth.Grant) limits.Who { return limits.Who{Name: g.By + " " + g.ID, Own: g.Limits} }

// enter lets a session that is set up count as one of its peer; left is called at its end. An error says that the peer has too many.
func (s *session) enter() (left func(), err error) {
	p := s.r.limits.Enter(s.counts())
	release, err := p.Take(limits.Sessions, 1)
	if err != nil {
		p.Leave()
		return nil, err
	}
	s.mu.Lock() // weigh may look already
	s.peer = p
	s.mu.Unlock()
	return func() {
		s.mu.Lock() // the session is over, so nobody weighs it any more
		s.peer.Refund(limits.Memory, s.weight)
		s.mu.Unlock()
		release()
		s.peer.Leave()
	}, nil
}

// arrive counts a session that is not set up yet. An error says that there are too many of them.
func (s *session) arrive() (over func(), err error) {
	if s.inside {
		return func() {}, nil
	}
	at := s.r.limits.Enter(limits.ByAddress(s.s.RemoteAddr()))
	release, err := at.Take(limits.Handshakes, 1)
	if err != nil {
		at.Leave()
		return nil, err
	}
	return func() { release(); at.Leave() }, nil
}

// weighInterval is how often it is looked at what publishers have in memory.
const weighInterval = time.Second

// watchMemory bounds what publishers have in memory, and takes out what those had that left, until ctx ends.
func (r *Relay) watchMemory(ctx context.Context) {
	each(ctx, weighInterval, func(now time.Time) {
		r.weigh()
		r.rest(now)
	})
}

// weigh ends the sessions of peers whose tracks take too much memory, as groups without an end do.
func (r *Relay) weigh() {
	r.mu.Lock()
	all := make([]*session, 0, len(r.sessions))
	for s := range r.sessions {
		all = append(all, s)
	}
	r.mu.Unlock()
	for _, s := range all {
		if err := s.weigh(); err != nil {
			s.s.Close(wire.InternalError, err.Error())
		}
	}
}

// weigh counts the memory of the tracks that the peer publishes. An error says that it is too much.
func (s *session) weigh() error {
	s.mu.Lock()
	if s.over || s.peer == nil {
		s.mu.Unlock()
		return nil
	}
	tracks := slices.Collect(maps.Keys(s.claimed))
	s.mu.Unlock()
	var sum int64
	for _, t := range tracks {
		sum += t.Bytes()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	if sum <= s.weight {
		s.peer.Refund(limits.Memory, s.weight-sum)
	} else if err := s.peer.Spend(limits.Memory, sum-s.weight); err != nil {
		return err
	}
	s.weight = sum
	return nil
}

// rest takes what nobody publishes any more out of memory.
func (r *Relay) rest(now time.Time) {
	r.mu.Lock()
	tracks := slices.Collect(maps.Values(r.tracks))
	r.mu.Unlock()
	for _, t := range tracks {
		t.Rest(now)
	}
}

// takes counts something that a request holds until release is called. A request that is too much is refused.
func (h guard) takes(k limits.Kind, reject func(moqt.RequestCode, string) error) (release func(), ok bool) {
	release, err := h.peer.Take(k, 1)
	if err != nil {
		reject(wire.RequestExcessiveLoad, err.Error())
		return nil, false
	}
	return release, true
}

// inquires counts a name of which nothing is here, because others are asked for it. found is called with what they said: names that lead to something
// cost nothing. A name that is too much is refused.
func (s *session) inquires(name object.TrackName, reject func(moqt.RequestCode, string) error) (found func(*track), ok bool) {
	if s.r.lookup(name) != nil {
		return func(*track) {}, true
	}
	if err := s.peer.Spend(limits.Names, 1); err != nil {
		reject(wire.RequestExcessiveLoad, err.Error())
		return nil, false
	}
	return func(t *track) {
		if t != nil {
			s.peer.Refund(limits.Names, 1)
		}
	}, true
}

// readerKey is the key under which the context of a reader by HTTP has its peer.
type readerKey struct{}

// reads counts a reader by HTTP, who may have shown a token.
func (r *Relay) reads(ctx context.Context, from net.Addr, g *auth.Grant) (_ context.Context, left func(), err error) {
	who := limits.ByAddress(from)
	if g != nil {
		who = whoHolds(g)
	}
	p := r.limits.Enter(who)
	release, err := p.Take(limits.Subscriptions, 1)
	if err != nil {
		p.Leave()
		return ctx, nil, err
	}
	return context.WithValue(ctx, readerKey{}, p), func() { release(); p.Leave() }, nil
}

// paces waits until n bytes may be sent to a reader by HTTP.
func paces(ctx context.Context, n int) error {
	p, _ := ctx.Value(readerKey{}).(*limits.Peer)
	return p.Wait(ctx, limits.Out, int64(n), nil)
}
