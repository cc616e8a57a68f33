package moqt

import (
	"context"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// updatable is a requestOwner that the peer may update.
type updatable interface {
	// update applies an update of the peer, which has an id, and accepts it, with what the answer says, or returns why it is refused.
	update(id uint64, p wire.Parameters, accept func(wire.Parameters)) *RequestError
	// updateFailed is called after an update was refused.
	updateFailed(why *RequestError)
}

// takeUpdate answers a REQUEST_UPDATE of the peer. It waits for the answer to the request, which comes first.
func (r *request) takeUpdate(m *wire.RequestUpdate) error {
	if err := unknownParameters(m.Parameters); err != nil {
		return err
	}
	if !r.own {
		select {
		case <-r.replied:
		case <-r.ctx.Done():
		}
	}
	if err := r.s.admit(m.RequestID, nil, r); err != nil {
		return err
	}
	tokens, refusal, err := r.s.inTokens.resolve(m.Parameters.Tokens)
	if err != nil {
		return err
	}
	defer func() {
		r.s.requests.updated(r)
		r.s.carrier.over()
	}()
	accept := func(p wire.Parameters) {
		r.s.count.request(received, requestOf(m), accepted)
		r.st.send(&wire.RequestOK{RequestID: m.RequestID, Parameters: p})
	}
	if h, takes := r.s.cfg.Handler.(TokenHandler); takes && refusal == nil && len(tokens) > 0 {
		refusal = h.Tokens(tokens)
	}
	owner, is := r.ownedBy().(updatable)
	switch {
	case refusal != nil:
	case is:
		m.Parameters.Tokens = tokens
		refusal = owner.update(m.RequestID, m.Parameters, accept)
	default:
		accept(wire.Parameters{})
	}
	if refusal == nil {
		return nil
	}
	r.s.count.request(received, requestOf(m), refused)
	r.st.send(&wire.RequestError{RequestID: m.RequestID, Code: refusal.Code, Reason: refusal.Reason})
	if is {
		owner.updateFailed(refusal)
	}
	return nil
}

func (r *request) isAnswered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answered
}

// begin takes a request of the peer that began with m: it checks it and starts what handles it. It must not block. The caller serves
// the request then.
func (r *request) begin(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Fetch:
		return r.beginFetch(m)
	case *wire.TrackStatus:
		return r.beginTrackStatus(m)
	case *wire.Subscribe:
		return r.beginSubscribe(m)
	case *wire.Publish:
		return r.beginPublish(m)
	case *wire.PublishNamespace:
		return r.beginPublishNamespace(m)
	case *wire.SubscribeNamespace:
		o := SubscribeNamespaceOptions{Publish: m.Options != wire.SubscribeNamespaces, NoListing: m.Options == wire.SubscribePublish}
		return r.beginNamespaces(m.Prefix, m.Parameters, o)
	case *wire.SubscribeTracks:
		return r.beginNamespaces(m.Prefix, m.Parameters, SubscribeNamespaceOptions{Publish: true, NoListing: true})
	}
	return violation("%T is no request", m)
}

// admit does what the beginnings of the peer's requests have in common. ok: it is to be handled; else it was refused.
func (r *request) admit(of object.TrackName, p wire.Parameters) (tokens []Token, ok bool, err error) {
	if err := unknownParameters(p); err != nil {
		return nil, false, err
	}
	if err := r.s.admit(r.id, r, nil); err != nil {
		return nil, false, err
	}
	tokens, refusal, err := r.s.inTokens.resolve(p.Tokens)
	if err != nil {
		return nil, false, err
	}
	if refusal == nil {
		refusal = r.s.refuseNewRequest(of)
	}
	if refusal != nil {
		r.s.spawn(func() { r.reject(refusal.Code, refusal.Reason) })
		return nil, false, nil
	}
	return tokens, true, nil
}

// handle runs the handler of a request of the peer in its own goroutine.
func (r *request) handle(f func(ctx context.Context)) {
	r.s.spawn(func() {
		f(r.ctx)
		r.reject(wire.RequestInternalError, "not answered")
	})
}

// answer sends the one answer a request of the peer gets.
func (r *request) answer(m wire.Message) error { return r.accept(m, nil) }

// accept sends it and gives the request an owner, unless that is nil.
func (r *request) accept(m wire.Message, owner requestOwner) error {
	r.mu.Lock()
	again := r.answered
	r.answered = true
	if !again && owner != nil {
		r.owner = owner
	}
	r.mu.Unlock()
	if again {
		return ErrAnswered
	}
	defer close(r.replied)
	if r.s.ctx.Err() != nil { // the peer is to hear how the session ended, not of a refusal that comes of it
		r.end()
		return context.Cause(r.s.ctx)
	}
	_, no := m.(*wire.RequestError)
	r.s.count.request(received, r.asked, outcomeOf(no || r.ctx.Err() != nil))
	if r.ctx.Err() != nil && !no {
		// Withdrawn before it was answered. The peer still gets an answer, as the draft wants exactly one.
		r.st.send(&wire.RequestError{RequestID: r.id, Code: wire.RequestInternalError, Reason: "withdrawn"})
		r.close()
		return context.Cause(r.ctx)
	}
	if err := r.st.send(m); err != nil {
		r.cancel(&RequestError{Code: wire.RequestInternalError})
		return r.s.orCause(err)
	}
	return nil
}

func (r *request) number() uint64 { return r.id }

// reject answers with REQUEST_ERROR and ends the request; if it was answered already nothing happens.
func (r *request) reject(code RequestCode, reason string) error {
	return r.refuse(&wire.RequestError{RequestID: r.id, Code: code, Reason: reason})
}

func (r *request) refuse(m *wire.RequestError) error {
	err := r.answer(m)
	if err != ErrAnswered {
		r.close()
	}
	return err
}
