package moqt

import (
	"context"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// join resolves a joining fetch (§9.16.2.1). It waits for the answer to the SUBSCRIBE it refers to, and, where each request has a
// stream of its own, for what it overtook.
func (r *FetchRequest) join(ctx context.Context, m *wire.Fetch) *RequestError {
	late := time.NewTimer(overtakeWait)
	defer late.Stop()
	p := r.joinee(ctx, m.JoiningRequestID, late.C)
	if p == nil {
		return &RequestError{Code: wire.RequestInvalidJoiningRequestID, Reason: "no such subscription"}
	}
	if !r.forwards(ctx, p, late.C) {
		return &RequestError{Code: wire.RequestInvalidRange, Reason: "the subscription is paused"}
	}
	saved := p.joining()
	if saved == nil {
		return &RequestError{Code: wire.RequestInvalidRange, Reason: "nothing was published yet"}
	}
	r.Joining, r.Track = p, p.track
	r.End = Location{Group: saved.Group, Object: saved.Object + 1}
	r.Start = Location{Group: m.JoiningStart}
	if m.FetchType == wire.FetchRelativeJoining {
		r.Start.Group = saved.Group - min(m.JoiningStart, saved.Group)
	}
	if r.End.Less(r.Start) {
		return &RequestError{Code: wire.RequestInvalidRange, Reason: "starts after the largest object"}
	}
	return nil
}

// joinee is the publication that a joining fetch refers to, nil if there is none.
func (r *FetchRequest) joinee(ctx context.Context, id uint64, late <-chan time.Time) *Publication {
	for {
		sub, p, coming := r.in.s.findJoinee(id)
		switch {
		case sub != nil:
			select {
			case <-sub.settled:
				return sub.pub
			case <-sub.ctx.Done():
			case <-ctx.Done():
			}
			return nil
		case p != nil:
			return p
		case coming == nil:
			return nil
		}
		select {
		case <-coming:
		case <-late:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// findJoinee looks for the SUBSCRIBE of the peer or the PUBLISH of this side with an id. If there is none but it may be on its way,
// because the FETCH overtook it, coming is closed when there is more to see.
func (s *Session) findJoinee(id uint64) (sub *inbound, p *Publication, coming <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id = s.joined(id)
	if sub = s.inbounds[id]; sub != nil {
		if sub.kind != kindSubscribe {
			return nil, nil, nil
		}
		return sub, nil, nil
	}
	if !s.v.Has(wire.JoinWaits) {
		return nil, nil, nil
	}
	p, unanswered := s.pubs[id], s.requests.calls[id] != nil
	if p != nil && p.in == nil && s.v.Has(wire.JoinPublished) && !unanswered {
		return nil, p, nil
	}
	if _, missing := s.requests.skipped[id]; missing || unanswered || s.cfg.Lenient {
		coming = s.requests.heard()
	}
	return nil, nil, coming
}

// forwards reports whether a subscription may be joined by its Forward State, waiting for updates that were sent before the fetch.
func (r *FetchRequest) forwards(ctx context.Context, p *Publication, late <-chan time.Time) bool {
	s := r.in.s
	if !s.v.Has(wire.JoinForwarding) {
		return true
	}
	for {
		coming := s.updateComing(p.id, r.in.id)
		if p.State().Forward {
			return true
		}
		if coming == nil {
			return false
		}
		select {
		case <-coming:
		case <-late:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// updateComing is nil if no REQUEST_UPDATE of a subscription can still come or is being applied that was sent before a fetch; else
// it is closed when there is more to see.
func (s *Session) updateComing(sub, fetch uint64) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	coming := s.cfg.Lenient && s.v.Has(wire.JoinWaits)
	if s.v.Has(wire.JoinWaits) {
		for id := range s.requests.skipped {
			coming = coming || id < fetch
		}
	}
	for _, in := range s.inbounds {
		coming = coming || in.kind == kindUpdate && in.updates == sub
	}
	if !coming {
		return nil
	}
	return s.requests.heard()
}
