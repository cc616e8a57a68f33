package moqt

import (
	"reflect"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// PublishRequest is a peer's PUBLISH.
type PublishRequest struct {
	Track   object.TrackName
	Info    TrackInfo
	Forward bool
	Tokens  []Token

	in  *request
	sub *Subscription
}

func (in *request) beginPublish(m *wire.Publish) error {
	s := in.s
	tokens, ok, err := in.admit(m.Track, m.Parameters)
	if err != nil {
		return err
	}
	refusal := s.unsupported(m.Properties)
	if refusal == nil && s.ways.subscribed(s.requests, m.Track.String()) {
		refusal = &RequestError{Code: wire.RequestDuplicateSubscription, Reason: "already subscribed"}
	}
	if !ok || refusal != nil {
		s.aliases.refuse(m.TrackAlias)
		if ok {
			s.spawn(func() { in.reject(refusal.Code, refusal.Reason) })
		}
		return nil
	}
	sub := s.newSubscription(m.Track, in)
	if f := m.Parameters.SubscriptionFilter; f != nil {
		sub.filter = *f
	}
	in.setOwner(sub)
	if err := sub.establish(m.TrackAlias, m.Parameters, m.Properties, m.Parameters.GroupOrder); err != nil {
		return err
	}
	r := &PublishRequest{
		Track: m.Track, Info: sub.info, Tokens: tokens, in: in, sub: sub,
		Forward: m.Parameters.Forward == nil || *m.Parameters.Forward,
	}
	s.spawn(func() {
		s.cfg.Handler.Publish(sub.ctx, r)
		r.Reject(wire.RequestInternalError, "not answered")
	})
	return nil
}

// Accept answers PUBLISH_OK; o shapes the subscription.
func (r *PublishRequest) Accept(o SubscribeOptions) (*Subscription, error) {
	p := o.parameters()
	if !o.NoForward && !r.Forward {
		yes := true
		p.Forward = &yes
	}
	r.sub.mu.Lock() // the publisher may be ending it
	r.sub.forward, r.sub.filter = !o.NoForward, o.Filter
	r.sub.mu.Unlock()
	return r.in.s.ways.accept(r, o, p)
}

// acceptAs says how this side wants the track in the answer.
func (r *PublishRequest) acceptAs(o SubscribeOptions, p wire.Parameters) (*Subscription, error) {
	r.sub.order = or(o.GroupOrder, r.sub.order)
	if err := r.in.answer(&wire.PublishOK{RequestID: r.in.id, Parameters: p}); err != nil {
		return nil, err
	}
	return r.sub, nil
}

// acceptAndUpdate says that in a REQUEST_UPDATE after the answer, which has no parameters (draft-20 §10.11).
func (r *PublishRequest) acceptAndUpdate(o SubscribeOptions, p wire.Parameters) (*Subscription, error) {
	p.GroupOrder = wire.GroupOrderDefault // an update has none
	if o.NoForward == !r.Forward {
		p.Forward = nil // it is so already
	}
	if err := r.in.answer(&wire.PublishOK{RequestID: r.in.id}); err != nil {
		return nil, err
	}
	if !reflect.ValueOf(p).IsZero() {
		// The publisher ends the subscription if it refuses; there is nobody to tell here.
		if _, err := r.in.beginUpdate(r.sub.ctx, p, nil); err != nil {
			return nil, err
		}
	}
	return r.sub, nil
}

// Reject answers REQUEST_ERROR and refuses the track's streams.
func (r *PublishRequest) Reject(code RequestCode, reason string) error {
	err := r.in.reject(code, reason)
	if err != ErrAnswered {
		r.sub.end(ErrClosed)
	}
	return err
}
