package relay

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// maxPushed bounds the tracks that one peer is sent because it asked for all below a prefix.
const maxPushed = 64

// pusher answers one request for the tracks below a prefix with PUBLISH: of every track that is live, now or later.
type pusher struct {
	s         *session
	a         *moqt.NamespaceAnnouncer
	noForward bool

	mu     sync.Mutex
	now    int             // how many are being sent
	pushed map[*track]bool // tracks that the peer was offered, or that were blocked; until they have no publisher any more
}

// push offers tracks whenever wake has a value, until ctx ends. What the peer has accepted by then goes on.
func (p *pusher) push(ctx context.Context, wake <-chan struct{}) {
	p.pushed = make(map[*track]bool)
	for {
		p.offer(ctx)
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-p.a.Updates():
		}
	}
}

// offer offers the tracks that were not offered before.
func (p *pusher) offer(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range p.pushed {
		if !t.Live() {
			delete(p.pushed, t)
		}
	}
	for _, t := range p.s.r.liveBelow(p.a.Prefix()) {
		switch {
		case p.pushed[t] || p.s.publishes(t) || t.subs.has(p.s):
		case p.now >= maxPushed:
			p.pushed[t] = true
			p.a.Blocked(t.name) // an error is one of the session, which ends ctx
		case p.s.background(func() { p.one(ctx, t) }):
			p.now++
			p.pushed[t] = true
		}
	}
}

// one offers a track and sends it.
func (p *pusher) one(ctx context.Context, t *track) {
	defer func() {
		p.mu.Lock()
		p.now--
		p.mu.Unlock()
	}()
	s := p.s
	born, info := t.Born(), t.Info() // in this order: groups that come in between are for the subscriber
	pub, err := s.s.Publish(ctx, t.name, moqt.PublishOptions{Largest: info.Largest, Properties: info.Properties, NoForward: p.noForward})
	if err != nil {
		s.r.log.Debug("track not pushed", "track", t.name.String(), "peer", s.name, "err", err)
		return
	}
	s.r.keep(t)
	sub := newSubscriber(t, s, pub, info.Largest, born)
	sub.here = func() {}
	sub.run(pub.Context())
}

// liveBelow returns the tracks below a prefix that have a publisher, by name.
func (r *Relay) liveBelow(prefix object.Namespace) (list []*track) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tracks {
		if t.name.Namespace.HasPrefix(prefix) && t.Live() {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *track) int { return cmp.Compare(a.name.String(), b.name.String()) })
	return list
}

// publishes reports whether the peer publishes a track.
func (s *session) publishes(t *track) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claimed[t] != nil
}
