package moqt

import (
	"context"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// joinWait is how long a joining fetch waits for what it overtook.
const joinWait = time.Second

// join resolves a joining fetch (§9.16.2.1). It waits for the answer to the SUBSCRIBE it refers to, and, where each request has a
// stream of its own, for what it overtook.
func (r *FetchRequest) join(ctx context.Context, in *request, m *wire.Fetch) *RequestError {
	late := time.NewTimer(joinWait)
	defer late.Stop()
	p := joinee(ctx, in.s, m.JoiningRequestID, late.C)
	if p == nil {
		return &RequestError{Code: wire.RequestInvalidJoiningRequestID, Reason: "no such subscription"}
	}
	if !in.s.ways.forwards(ctx, in, p, late.C) {
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
func joinee(ctx context.Context, s *Session, id uint64, late <-chan time.Time) *Publication {
	for {
		of, coming := s.findJoinee(id)
		switch {
		case of != nil && of.own:
			p, _ := of.ownedBy().(*Publication)
			return p
		case of != nil:
			select {
			case <-of.replied:
				p, _ := of.ownedBy().(*Publication)
				return p
			case <-of.ctx.Done():
			case <-ctx.Done():
			}
			return nil
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
func (s *Session) findJoinee(id uint64) (of *request, coming <-chan struct{}) {
	t := s.requests
	t.mu.Lock()
	defer t.mu.Unlock()
	id = s.joined(id)
	of = t.open[id]
	overtaken, any := s.ways.overtaken(s)
	_, missing := overtaken[id]
	switch {
	case of == nil:
		if missing || any {
			return nil, t.heard()
		}
	case !of.own && of.typ == typeSubscribe:
		return of, nil
	case of.own && s.ways.joinsOwn(of):
		if of.isAnswered() {
			return of, nil
		}
		return nil, t.heard()
	}
	return nil, nil
}

// forwards reports whether a subscription may be joined by its Forward State, waiting for updates that were sent before the fetch.
func forwards(ctx context.Context, in *request, p *Publication, late <-chan time.Time) bool {
	for {
		coming := in.s.updateComing(p.r, in.id)
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
func (s *Session) updateComing(sub *request, fetch uint64) <-chan struct{} {
	t := s.requests
	t.mu.Lock()
	defer t.mu.Unlock()
	overtaken, coming := s.ways.overtaken(s)
	for id := range overtaken {
		coming = coming || id < fetch
	}
	if !coming && sub.updating == 0 {
		return nil
	}
	return t.heard()
}
