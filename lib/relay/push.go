package relay

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/limits"
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
	again     chan struct{} // capacity 1: a track that the peer was sent has ended, and may have begun again

	mu sync.Mutex
	// Tracks that the peer was offered, or that were blocked, until they have no publisher any more. A track is true while it is being
	// sent, or while the peer's answer is waited for.
	pushed map[*track]bool
}

// push offers tracks whenever wake has a value, until ctx ends. What the peer has accepted by then goes on.
func (p *pusher) push(ctx context.Context, wake <-chan struct{}) {
	p.pushed, p.again = make(map[*track]bool), make(chan struct{}, 1)
	for {
		began := time.Now()
		p.offer(ctx)
		rest(ctx, began)
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-p.again:
		case <-p.a.Updates():
		}
	}
}

// offer offers the tracks that were not offered before.
func (p *pusher) offer(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, busy := range p.pushed {
		if !busy && !t.Live() {
			delete(p.pushed, t)
		}
	}
	s := p.s
	var may []*auth.Grant
	all := s.access.free(auth.Subscribe, nil)
	if !all {
		may = s.access.good()
	}
	for _, t := range s.r.liveBelow(p.a.Prefix()) {
		if _, known := p.pushed[t]; known || s.publishes(t) || t.subs.has(s) || t.banned.Load() != nil {
			continue
		}
		if !all && !s.access.free(auth.Subscribe, t.name.Namespace) && !slices.ContainsFunc(may, onTrack(auth.Subscribe, t.name)) {
			continue
		}
		over, err := s.peer.Take(limits.Subscriptions, 1)
		many := s.pushing.Add(1) > maxPushed
		if err != nil || many {
			s.pushing.Add(-1)
			if err == nil {
				over()
			}
			p.pushed[t] = false
			p.a.Blocked(t.name) // an error is one of the session, which ends ctx
			continue
		}
		p.pushed[t] = s.background(func() {
			defer over()
			p.one(ctx, t)
		})
		if !p.pushed[t] { // the session has ended
			over()
			s.pushing.Add(-1)
			return
		}
	}
}

// one offers a track and sends it.
func (p *pusher) one(ctx context.Context, t *track) {
	ended := p.send(ctx, t)
	p.s.pushing.Add(-1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pushed[t] = false
	if ended { // a publisher may have come meanwhile
		delete(p.pushed, t)
		select {
		case p.again <- struct{}{}:
		default:
		}
	}
}

// send does it, and reports whether the peer was told that the track has ended.
func (p *pusher) send(ctx context.Context, t *track) (ended bool) {
	s := p.s
	release, refusal := s.access.begin(auth.Subscribe, t.name.Namespace, t.name.String(), nil, onTrack(auth.Subscribe, t.name))
	if refusal != nil {
		return false
	}
	defer release()
	born, info := t.Born(), t.Info() // in this order: groups that come in between are for the subscriber
	pub, err := s.s.Publish(ctx, t.name, moqt.PublishOptions{Largest: info.Largest, Properties: info.Properties, NoForward: p.noForward})
	if err != nil {
		s.r.log.Debug("track not pushed", "track", t.name.String(), "peer", s.name, "err", err)
		return false
	}
	s.r.keep(t)
	sub := newSubscriber(t, s, pub, info.Largest, born)
	sub.here = func() {}
	sub.run(pub.Context())
	return sub.ended
}

// liveBelow returns the tracks below a prefix that have a publisher, by name.
func (r *Relay) liveBelow(prefix object.Namespace) (list []*track) {
	r.mu.Lock()
	for _, t := range r.tracks {
		if t.name.Namespace.HasPrefix(prefix) && t.Live() {
			list = append(list, t)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(list, func(a, b *track) int { return cmp.Compare(a.name.String(), b.name.String()) })
	return list
}

// publishes reports whether the peer publishes a track.
func (s *session) publishes(t *track) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claimed[t] != nil
}
