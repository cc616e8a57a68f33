package moqt

import (
	"context"
	"math"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// SubscribeRequest is a peer's SUBSCRIBE.
type SubscribeRequest struct {
	Track  object.TrackName
	State  PublicationState // Start and EndGroup are resolved by Accept
	Tokens []Token
	// Rendezvous is how long the peer would wait for somebody to publish the track; 0: it wants its answer now.
	Rendezvous time.Duration

	in     *request
	params wire.Parameters
}

func (in *request) beginSubscribe(m *wire.Subscribe) error {
	f := m.Parameters.SubscriptionFilter
	in.joinable = f != nil && f.Type == wire.FilterLargestObject
	tokens, ok, err := in.admit(m.Track, m.Parameters)
	if !ok {
		return err
	}
	s := in.s
	s.requests.subscribes(in, m.Track.String())
	other, theirs := s.ways.otherSubscription(s.requests, in)
	duplicate := &RequestError{Code: wire.RequestDuplicateSubscription, Reason: "already subscribed"}
	if refusal := s.checkFilters(m.Parameters); refusal != nil {
		s.spawn(func() { in.reject(refusal.Code, refusal.Reason) })
		return nil
	}
	if other != nil && (!theirs || s.carrier.overtake() == 0) {
		s.spawn(func() { in.reject(duplicate.Code, duplicate.Reason) })
		return nil
	}
	r := &SubscribeRequest{Track: m.Track, Tokens: tokens, in: in, params: m.Parameters}
	r.State = PublicationState{Forward: true, Priority: DefaultPriority, EndGroup: math.MaxUint64, EndObject: math.MaxUint64}
	r.State.apply(m.Parameters)
	if ms := m.Parameters.RendezvousTimeout; ms != nil {
		r.Rendezvous = duration(*ms)
	}
	in.handle(func(ctx context.Context) {
		if other != nil && !s.onlySubscription(in) {
			in.reject(duplicate.Code, duplicate.Reason)
			return
		}
		s.cfg.Handler.Subscribe(ctx, r)
	})
	return nil
}

// onlySubscription reports whether the peer has no other subscription to in's track, waiting a while for the end of what there is: where
// each has a stream of its own, a peer that cancels and subscribes anew in one breath does nothing wrong, but which stream comes first
// is chance.
func (s *Session) onlySubscription(in *request) bool {
	late := time.NewTimer(s.carrier.overtake())
	defer late.Stop()
	for {
		other, theirs := s.ways.otherSubscription(s.requests, in)
		switch {
		case other == nil:
			return true
		case !theirs:
			return false
		}
		select {
		case <-other.Done():
		case <-in.ctx.Done():
			return false
		case <-late.C:
			return false
		}
	}
}

// Accept answers SUBSCRIBE_OK. info.Largest decides where relative filters start.
func (r *SubscribeRequest) Accept(info TrackInfo) (*Publication, error) {
	s := r.in.s
	p, err := s.newPublication(r.in, r.Track, info)
	if err != nil {
		return nil, err
	}
	p.state.apply(r.params)
	p.state.resolve(info.Largest)
	p.sift(r.params)
	p.state.limit(p.trackTimeouts())
	p.tokens = r.Tokens
	ok := &wire.SubscribeOK{
		RequestID: r.in.id, TrackAlias: r.in.id, Properties: told(info.Properties, r.params), Parameters: wire.Parameters{LargestObject: s.largestFor(info.Largest)},
	}
	if ms := milliseconds(info.Expires); ms > 0 {
		ok.Parameters.Expires = &ms
	}
	if err := r.in.accept(ok, p); err != nil {
		if err != ErrAnswered {
			p.end(err)
		}
		return nil, err
	}
	s.spawn(func() { p.fill(r.in.id, r.params, info.Largest) })
	return p, nil
}

// told are the track properties that an answer has: none if they were not asked for (draft-20 §10.2.21).
func told(properties []byte, p wire.Parameters) []byte {
	if p.IncludeProperties != nil && !*p.IncludeProperties {
		return nil
	}
	return properties
}

// Reject answers REQUEST_ERROR.
func (r *SubscribeRequest) Reject(code RequestCode, reason string) error {
	return r.in.reject(code, reason)
}
