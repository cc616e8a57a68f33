package moqt

import (
	"context"
	"sync"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// NamespacePublication is an announced namespace.
type NamespacePublication struct {
	movable
	s      *Session
	id     uint64
	ns     object.Namespace
	ctx    context.Context
	cancel context.CancelCauseFunc
	once   sync.Once
}

// PublishNamespace announces that tracks below ns can be had here and waits for the answer (*RequestError if refused).
func (s *Session) PublishNamespace(ctx context.Context, ns object.Namespace, tokens ...Token) (*NamespacePublication, error) {
	if err := wire.CheckNamespace(ns, 1); err != nil {
		return nil, err
	}
	p := &NamespacePublication{movable: newMovable(s), s: s, ns: ns}
	p.ctx, p.cancel = context.WithCancelCause(s.ctx)
	err := s.oldRequest(ctx, func(id uint64) wire.Message {
		p.id = id
		return &wire.PublishNamespace{RequestID: id, Namespace: ns, Parameters: wire.Parameters{Tokens: tokens}}
	}, func(m wire.Message, late bool) error {
		if _, is := m.(*wire.RequestOK); !is {
			return violation("%T in answer to PUBLISH_NAMESPACE", m)
		}
		if late {
			s.spawn(func() { s.send(&wire.PublishNamespaceDone{RequestID: p.id}) })
			return nil
		}
		s.mu.Lock()
		s.announced[p.id] = p
		s.mu.Unlock()
		return nil
	})
	if err != nil {
		p.cancel(err)
		return nil, err
	}
	return p, nil
}

// Namespace is what was announced.
func (p *NamespacePublication) Namespace() object.Namespace { return p.ns }

// Context ends when the peer cancelled (cause: *RequestError), Done was called, or the session ended.
func (p *NamespacePublication) Context() context.Context { return p.ctx }

// Done withdraws the namespace.
func (p *NamespacePublication) Done() error {
	var err error
	p.once.Do(func() {
		if p.ctx.Err() != nil {
			return // cancelled by the peer: nothing to withdraw (§6.2)
		}
		p.s.mu.Lock()
		delete(p.s.announced, p.id)
		p.s.mu.Unlock()
		p.cancel(ErrClosed)
		err = p.s.orCause(p.s.send(&wire.PublishNamespaceDone{RequestID: p.id}))
	})
	return err
}

func (s *Session) onPublishNamespaceCancel(m *wire.PublishNamespaceCancel) error {
	s.mu.Lock()
	p := s.announced[m.RequestID]
	delete(s.announced, m.RequestID)
	s.mu.Unlock()
	if p != nil {
		p.cancel(&RequestError{Code: m.Code, Reason: m.Reason})
	}
	return nil
}

// PublishNamespaceRequest is a peer's PUBLISH_NAMESPACE. Its context ends with PUBLISH_NAMESPACE_DONE, which may be long
// after the handler returned.
type PublishNamespaceRequest struct {
	Namespace object.Namespace
	Tokens    []Token

	in *inbound
}

func (s *Session) onPublishNamespace(m *wire.PublishNamespace) error {
	in, tokens, err := s.admitSimple(m.RequestID, m, object.TrackName{Namespace: m.Namespace}, m.Parameters)
	if in == nil {
		return err
	}
	r := &PublishNamespaceRequest{Namespace: m.Namespace, Tokens: tokens, in: in}
	in.handle(func(ctx context.Context) { s.cfg.Handler.PublishNamespace(ctx, r) })
	return nil
}

func (s *Session) onPublishNamespaceDone(m *wire.PublishNamespaceDone) error {
	s.mu.Lock()
	in := s.inbounds[m.RequestID]
	s.mu.Unlock()
	if in == nil {
		return nil // crossed our PUBLISH_NAMESPACE_CANCEL
	}
	if in.kind != kindPublishNamespace {
		return violation("PUBLISH_NAMESPACE_DONE for request %d, which is another", m.RequestID)
	}
	if !in.isAnswered() {
		in.cancel(ErrClosed)
		return nil
	}
	in.finish()
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
	err := r.in.send(&wire.PublishNamespaceCancel{RequestID: r.in.id, Code: code, Reason: reason})
	r.in.finish()
	return r.in.s.orCause(err)
}
