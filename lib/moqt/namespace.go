package moqt

import (
	"context"
	"errors"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// NamespacePublication is an announced namespace.
type NamespacePublication struct {
	*movable
	r      *request
	ns     object.Namespace
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// PublishNamespace announces that tracks below ns can be had here and waits for the answer (*RequestError if refused).
func (s *Session) PublishNamespace(ctx context.Context, ns object.Namespace, tokens ...Token) (*NamespacePublication, error) {
	if err := wire.CheckNamespace(ns, 1); err != nil {
		return nil, err
	}
	p := &NamespacePublication{ns: ns}
	p.ctx, p.cancel = context.WithCancelCause(s.ctx)
	m := &wire.PublishNamespace{Namespace: ns, Parameters: wire.Parameters{Tokens: tokens}}
	p.r = s.newRequest(m, true, p)
	p.movable = &p.r.movable
	answer, err := p.r.ask(ctx, m)
	if err == nil {
		if _, is := answer.(*wire.RequestOK); !is {
			err = p.r.broke(violation("%T in answer to PUBLISH_NAMESPACE", answer))
		}
	}
	if err != nil {
		p.cancel(err)
		return nil, err
	}
	p.r.follow()
	return p, nil
}

// Namespace is what was announced.
func (p *NamespacePublication) Namespace() object.Namespace { return p.ns }

// Context ends when the peer cancelled (cause: *RequestError), Done was called, or the session ended.
func (p *NamespacePublication) Context() context.Context { return p.ctx }

// Done withdraws the namespace.
func (p *NamespacePublication) Done() error {
	if p.ctx.Err() != nil {
		return nil // cancelled by the peer: nothing to withdraw (§6.2)
	}
	p.cancel(ErrClosed)
	return p.r.s.orCause(p.r.cancel(nil))
}

func (p *NamespacePublication) take(m wire.Message) error { return nobody{}.take(m) }

func (p *NamespacePublication) ended(why error) { p.cancel(revoked(why)) }

// revoked is how a request of this side was ended that had been accepted.
func revoked(why error) error {
	var reset *StreamResetError
	if errors.As(why, &reset) {
		return &RequestError{Code: requestCodeOf(reset.Code), Reason: "cancelled: " + reset.Code.String()}
	}
	return why
}

// PublishNamespaceRequest is a peer's PUBLISH_NAMESPACE. Its context ends with PUBLISH_NAMESPACE_DONE, which may be long
// after the handler returned.
type PublishNamespaceRequest struct {
	Namespace object.Namespace
	Tokens    []Token

	in *request
}

func (in *request) beginPublishNamespace(m *wire.PublishNamespace) error {
	tokens, ok, err := in.admit(object.TrackName{Namespace: m.Namespace}, m.Parameters)
	if !ok {
		return err
	}
	r := &PublishNamespaceRequest{Namespace: m.Namespace, Tokens: tokens, in: in}
	in.handle(func(ctx context.Context) { in.s.cfg.Handler.PublishNamespace(ctx, r) })
	return nil
}

// Context ends when the peer withdrew the namespace, Cancel was called or the session ended.
func (r *PublishNamespaceRequest) Context() context.Context { return r.in.ctx }

// Accept answers REQUEST_OK.
func (r *PublishNamespaceRequest) Accept() error {
	return r.in.answer(&wire.RequestOK{RequestID: r.in.id})
}

// Reject answers REQUEST_ERROR.
func (r *PublishNamespaceRequest) Reject(code RequestCode, reason string) error {
	return r.in.reject(code, reason)
}

// Cancel revokes an acceptance (PUBLISH_NAMESPACE_CANCEL).
func (r *PublishNamespaceRequest) Cancel(code RequestCode, reason string) error {
	if r.in.ctx.Err() != nil {
		return nil
	}
	return r.in.s.orCause(r.in.cancel(&RequestError{Code: code, Reason: reason}))
}
