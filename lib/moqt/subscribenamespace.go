package moqt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// NamespaceEvent is a namespace that appeared or, with Done, went away.
type NamespaceEvent struct {
	Namespace object.Namespace // whole, prefix included
	Done      bool
	// Blocked is a track in Namespace that the publisher could not PUBLISH for want of a stream: subscribe to it. Only in
	// draft 18, and only of a subscription with NoListing; otherwise such tracks are logged.
	Blocked *string
}

// SubscribeNamespaceOptions say what a namespace subscription should bring. The zero value brings NAMESPACE events.
type SubscribeNamespaceOptions struct {
	Publish   bool // PUBLISH of tracks below the prefix, to Handler.Publish
	NoListing bool // no NAMESPACE events (needs Publish)
	NoForward bool // those PUBLISHes start paused
	Tokens    []Token
}

// NamespaceSubscription delivers namespaces. Next is for one goroutine.
type NamespaceSubscription struct {
	s      *Session
	st     *controlStream
	tracks *controlStream // of SUBSCRIBE_TRACKS besides, in drafts where it is another request
	prefix prefixOf       // of st
	pushed prefixOf       // of tracks
	known  map[string]object.Namespace
	left   []object.Namespace // that an update of the prefix left behind; Next's, like what follows
	goaway *wire.GoAway       // that came
	closed sync.Once
}

// Session is the session the subscription was made on.
func (sub *NamespaceSubscription) Session() *Session { return sub.s }

// Relocation is what Next told with *GoAwayError.
func (sub *NamespaceSubscription) Relocation() Relocation {
	if sub.goaway == nil {
		return Relocation{}
	}
	return relocation(sub.goaway)
}

// SubscribeNamespace asks for the namespaces below prefix, present and future (*RequestError if refused). It travels on a
// stream of its own (§9.25).
func (s *Session) SubscribeNamespace(ctx context.Context, prefix object.Namespace, o SubscribeNamespaceOptions) (*NamespaceSubscription, error) {
	if err := wire.CheckNamespace(prefix, 0); err != nil {
		return nil, err
	}
	if o.NoListing && !o.Publish {
		return nil, wire.ErrValue
	}
	ctx, cancel := s.responseContext(ctx)
	defer cancel()
	sub := &NamespaceSubscription{
		s: s, prefix: prefixOf{now: slices.Clone(prefix)}, pushed: prefixOf{now: slices.Clone(prefix)}, known: map[string]object.Namespace{},
	}
	var forward *bool
	if o.NoForward {
		forward = new(bool)
	}
	var err error
	if !s.v.RequestStreams() {
		m := &wire.SubscribeNamespace{Prefix: prefix, Parameters: wire.Parameters{Tokens: o.Tokens, Forward: forward}}
		switch {
		case o.Publish && !o.NoListing:
			m.Options = wire.SubscribeBoth
		case !o.Publish:
			m.Options = wire.SubscribeNamespaces
		}
		sub.st, err = s.namespaceRequest(ctx, func(id uint64) wire.Message { m.RequestID = id; return m })
		if err != nil {
			return nil, err
		}
		return sub, nil
	}
	// Listing and PUBLISH are two requests (draft-18 §10.16, §10.17).
	if o.Publish {
		m := &wire.SubscribeTracks{Prefix: prefix, Parameters: wire.Parameters{Tokens: o.Tokens, Forward: forward}}
		if sub.tracks, err = s.namespaceRequest(ctx, func(id uint64) wire.Message { m.RequestID = id; return m }); err != nil {
			return nil, err
		}
	}
	if o.NoListing {
		sub.st, sub.tracks = sub.tracks, nil
		return sub, nil
	}
	m := &wire.SubscribeNamespace{Prefix: prefix, Parameters: wire.Parameters{Tokens: o.Tokens}}
	if sub.st, err = s.namespaceRequest(ctx, func(id uint64) wire.Message { m.RequestID = id; return m }); err != nil {
		if sub.tracks != nil {
			closeNamespaceStream(sub.tracks)
		}
		return nil, err
	}
	if sub.tracks != nil {
		s.spawn(sub.drainTracks)
	}
	return sub, nil
}

// namespaceRequest opens the stream of a namespace subscription and waits for the answer (*RequestError if refused).
func (s *Session) namespaceRequest(ctx context.Context, build func(id uint64) wire.Message) (*controlStream, error) {
	if err := s.waitReady(ctx); err != nil {
		return nil, err
	}
	st, err := s.conn.OpenStream(ctx)
	if err != nil {
		return nil, s.orCause(err)
	}
	cs := s.controlStream(st)
	fail := func(err error) (*controlStream, error) {
		closeNamespaceStream(cs)
		return nil, s.orCause(err)
	}
	c, err := s.issueCallOn(ctx, cs.send, build, nil)
	if err != nil {
		return fail(err)
	}
	s.dropCall(c.id) // the answer comes on the stream
	stop := context.AfterFunc(ctx, func() { st.SetReadDeadline(time.Unix(1, 0)) })
	m, err := cs.receive()
	if !stop() && err != nil {
		s.gaveUp(ctx, c.request)
		return fail(context.Cause(ctx))
	}
	if err != nil {
		var we *wire.Error
		if errors.As(err, &we) {
			s.fail(err)
		}
		return fail(err)
	}
	st.SetReadDeadline(time.Time{})
	implied := s.v.RequestStreams() // the id of the request, by its stream
	switch m := m.(type) {
	case *wire.RequestOK:
		if implied && len(m.Properties) > 0 {
			err = violation("track properties in answer to a namespace subscription")
			break
		}
		if implied || m.RequestID == c.id {
			s.count.request(sent, c.request, accepted)
			return cs, nil
		}
		err = violation("REQUEST_OK for request %d in answer to %d", m.RequestID, c.id)
	case *wire.RequestError:
		if err = s.checkRedirect(m.Redirect, true); err != nil {
			break
		}
		if implied || m.RequestID == c.id {
			s.count.request(sent, c.request, refused)
			return fail(requestError(m))
		}
		err = violation("REQUEST_ERROR for request %d in answer to %d", m.RequestID, c.id)
	default:
		err = violation("%T in answer to SUBSCRIBE_NAMESPACE", m)
	}
	s.fail(err)
	return fail(err)
}

func closeNamespaceStream(cs *controlStream) {
	cs.st.Close()
	cs.st.CancelRead(wire.ResetCancelled)
}

// drainTracks reads what a publisher says of tracks it cannot PUBLISH, next to a listing that is read by Next.
func (sub *NamespaceSubscription) drainTracks() {
	for {
		m, err := sub.tracks.receive()
		if err != nil {
			sub.broke(err)
			return
		}
		if m, ok := m.(*wire.GoAway); ok && sub.s.checkRequestGoAway(m, false) == nil {
			continue // the listing's is acted on
		}
		if ok, err := sub.pushed.answer(sub.s, m); ok {
			if err != nil {
				sub.s.log.Warn("publisher refused another prefix for its tracks", "err", err)
				return
			}
			continue
		}
		blocked, ok := m.(*wire.PublishBlocked)
		if !ok {
			sub.broke(violation("%T on the stream of SUBSCRIBE_TRACKS", m))
			return
		}
		sub.s.log.Debug("publisher has no stream for a track", "namespace", append(slices.Clone(sub.pushed.now), blocked.Suffix...), "track", blocked.Name)
	}
}

// broke closes the session for what the peer got wrong.
func (sub *NamespaceSubscription) broke(err error) error {
	var we *wire.Error
	if errors.As(err, &we) {
		sub.s.fail(err)
	}
	return sub.s.orCause(err)
}

// Next returns the next event. io.EOF: the publisher ended the subscription. *GoAwayError: it wants the subscription made
// elsewhere; this one goes on. *RequestError: it refused an update, and the subscription is over.
func (sub *NamespaceSubscription) Next(ctx context.Context) (NamespaceEvent, error) {
	for {
		if n := len(sub.left); n > 0 {
			ns := sub.left[n-1]
			sub.left = sub.left[:n-1]
			return NamespaceEvent{Namespace: ns, Done: true}, nil
		}
		ev, err := sub.next(ctx)
		if err != errUpdated {
			return ev, err
		}
	}
}

func (sub *NamespaceSubscription) next(ctx context.Context) (NamespaceEvent, error) {
	stop := context.AfterFunc(ctx, func() { sub.st.st.SetReadDeadline(time.Unix(1, 0)) })
	m, err := sub.st.receive()
	if !stop() {
		sub.st.st.SetReadDeadline(time.Time{})
		if err != nil {
			return NamespaceEvent{}, context.Cause(ctx)
		}
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			return NamespaceEvent{}, io.EOF
		}
		return NamespaceEvent{}, sub.broke(err)
	}
	whole := func(suffix object.Namespace) object.Namespace {
		return append(slices.Clone(sub.prefix.now), suffix...)
	}
	if ok, err := sub.prefix.answer(sub.s, m); ok {
		if err != nil {
			return NamespaceEvent{}, err
		}
		sub.narrow()
		return NamespaceEvent{}, errUpdated
	}
	switch m := m.(type) {
	case *wire.Namespace:
		ns := whole(m.Suffix)
		if err := wire.CheckNamespace(ns, 0); err != nil {
			return NamespaceEvent{}, sub.broke(violation("%v", err))
		}
		if len(sub.known) >= sub.s.cfg.MaxNamespaces {
			sub.s.count.limit(limitNamespaces)
			sub.Close()
			return NamespaceEvent{}, fmt.Errorf("%w: more than %d namespaces", ErrTooLarge, len(sub.known))
		}
		sub.known[ns.String()] = ns
		return NamespaceEvent{Namespace: ns}, nil
	case *wire.NamespaceDone:
		ns := whole(m.Suffix)
		if _, ok := sub.known[ns.String()]; !ok {
			return NamespaceEvent{}, sub.broke(violation("NAMESPACE_DONE before NAMESPACE for %v", ns)) // §9.25
		}
		delete(sub.known, ns.String())
		return NamespaceEvent{Namespace: ns, Done: true}, nil
	case *wire.PublishBlocked:
		return NamespaceEvent{Namespace: whole(m.Suffix), Blocked: &m.Name}, nil
	case *wire.GoAway:
		if !sub.s.v.RequestStreams() {
			break
		}
		if err := sub.s.checkRequestGoAway(m, sub.goaway != nil); err != nil {
			return NamespaceEvent{}, sub.broke(err)
		}
		sub.goaway = m
		return NamespaceEvent{}, &GoAwayError{relocation(m)}
	}
	return NamespaceEvent{}, sub.broke(violation("%T on the stream of SUBSCRIBE_NAMESPACE", m))
}

// Close ends the subscription.
func (sub *NamespaceSubscription) Close() error {
	sub.closed.Do(func() {
		closeNamespaceStream(sub.st)
		if sub.tracks != nil {
			closeNamespaceStream(sub.tracks)
		}
	})
	return nil
}

// SubscribeNamespaceRequest is a peer's SUBSCRIBE_NAMESPACE. Its context ends when the peer closes its stream.
type SubscribeNamespaceRequest struct {
	Prefix  object.Namespace // may be empty: everything
	Options SubscribeNamespaceOptions

	in        *inbound
	st        *controlStream
	announcer atomic.Pointer[NamespaceAnnouncer] // once it was accepted
}

// takeRequestStream serves a bidirectional stream opened by the peer.
func (s *Session) takeRequestStream(st Stream) error {
	cs := s.controlStream(st)
	st.SetReadDeadline(time.Now().Add(s.cfg.HeaderTimeout))
	m, err := cs.receive()
	if err != nil {
		st.CancelRead(wire.ResetCancelled)
		st.CancelWrite(wire.ResetCancelled)
		var we *wire.Error
		if errors.As(err, &we) {
			return err
		}
		return nil
	}
	st.SetReadDeadline(time.Time{})
	var id uint64
	var prefix object.Namespace
	var p wire.Parameters
	var o SubscribeNamespaceOptions
	claimed := s.prefixes
	switch m := m.(type) {
	case *wire.SubscribeNamespace:
		id, prefix, p = m.RequestID, m.Prefix, m.Parameters
		o = SubscribeNamespaceOptions{Publish: m.Options != wire.SubscribeNamespaces, NoListing: m.Options == wire.SubscribePublish}
	case *wire.SubscribeTracks:
		id, prefix, p = m.RequestID, m.Prefix, m.Parameters
		o = SubscribeNamespaceOptions{Publish: true, NoListing: true}
		claimed = s.tracks
	default:
		if s.v.RequestStreams() {
			return s.takeRequest(st, cs, m)
		}
		return violation("%T at the start of a bidirectional stream", m)
	}
	if err := unknownParameters(p); err != nil {
		return err
	}
	s.renumber(&id)
	in, err := s.admit(id, m)
	if err != nil {
		return err
	}
	in.send = cs.send
	tokens, refusal, err := s.inTokens.resolve(p.Tokens)
	if err != nil {
		return err
	}
	if refusal == nil {
		refusal = s.refuseNewRequest(object.TrackName{Namespace: prefix})
	}
	if refusal == nil {
		refusal = s.claimPrefix(claimed, in, prefix)
	}
	o.NoForward, o.Tokens = p.Forward != nil && !*p.Forward, tokens
	r := &SubscribeNamespaceRequest{Prefix: prefix, in: in, st: cs, Options: o}
	if refusal != nil {
		r.Reject(refusal.Code, refusal.Reason)
		return nil
	}
	s.spawn(func() {
		s.cfg.Handler.SubscribeNamespace(in.ctx, r)
		if !in.isAnswered() {
			r.Reject(wire.RequestInternalError, "not answered")
		}
	})
	// Besides updates, where they travel here, the peer says nothing more; FIN or RESET ends the subscription (§6.1).
	left := false
	for err == nil {
		if m, err = cs.receive(); err != nil {
			break
		}
		if m, ok := m.(*wire.GoAway); ok && s.v.RequestStreams() { // nobody here can ask elsewhere for the peer
			err, left = s.checkRequestGoAway(m, left), true
			continue
		}
		update, ok := m.(*wire.RequestUpdate)
		if !ok || !s.v.RequestStreams() {
			return violation("%T after SUBSCRIBE_NAMESPACE", m)
		}
		err = s.updateNamespaces(r, update)
	}
	s.releasePrefix(in.id) // first: whoever learns of the end may ask for the prefix again
	in.cancel(ErrClosed)
	st.Close()
	in.finish()
	var we *wire.Error
	if errors.As(err, &we) {
		return err
	}
	st.CancelRead(wire.ResetCancelled)
	return nil
}

func (s *Session) releasePrefix(id uint64) {
	s.mu.Lock()
	delete(s.prefixes, id)
	delete(s.tracks, id)
	s.mu.Unlock()
}

// updateNamespaces answers a REQUEST_UPDATE of a namespace subscription; a refused one ends the stream (draft-18 §10.9.1).
func (s *Session) updateNamespaces(r *SubscribeNamespaceRequest, m *wire.RequestUpdate) error {
	s.renumber(&m.RequestID)
	in, err := s.admit(m.RequestID, m)
	if err != nil {
		return err
	}
	in.send = r.st.send
	defer in.finish()
	select {
	case <-r.in.replied:
	case <-r.in.ctx.Done():
	case <-r.st.st.Context().Done():
	}
	_, refusal, err := s.inTokens.resolve(m.Parameters.Tokens)
	if err != nil {
		return err
	}
	if refusal == nil && m.Parameters.NamespacePrefix != nil {
		if refusal, err = r.move(in, *m.Parameters.NamespacePrefix); refusal == nil {
			return err
		}
	}
	if refusal == nil {
		return in.answer(&wire.RequestOK{RequestID: in.id})
	}
	in.answer(&wire.RequestError{RequestID: in.id, Code: refusal.Code, Reason: refusal.Reason})
	return refusal
}

// claimPrefix refuses a prefix that overlaps another one of its kind in the session (§9.25). in may have one already.
func (s *Session) claimPrefix(claimed map[uint64]object.Namespace, in *inbound, prefix object.Namespace) *RequestError {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range claimed {
		n := min(len(p), len(prefix))
		if id != in.id && slices.Equal(p[:n], prefix[:n]) {
			return &RequestError{Code: wire.RequestPrefixOverlap, Reason: "overlaps " + p.String()}
		}
	}
	claimed[in.id] = prefix
	return nil
}

// Reject answers REQUEST_ERROR.
func (r *SubscribeNamespaceRequest) Reject(code RequestCode, reason string) error {
	return r.refuse(&wire.RequestError{RequestID: r.in.id, Code: code, Reason: reason})
}

func (r *SubscribeNamespaceRequest) refuse(m *wire.RequestError) error {
	err := r.in.answer(m)
	if err != ErrAnswered {
		r.st.st.Close() // §9.25: the stream is closed at once
		r.in.s.releasePrefix(r.in.id)
		r.in.finish()
	}
	return err
}

// Accept answers REQUEST_OK and returns what namespaces are told with. An update with another prefix is refused.
func (r *SubscribeNamespaceRequest) Accept() (*NamespaceAnnouncer, error) {
	return r.accept(nil)
}

func (r *SubscribeNamespaceRequest) accept(all map[string]object.Namespace) (*NamespaceAnnouncer, error) {
	a := &NamespaceAnnouncer{r: r, prefix: r.Prefix, told: map[string]struct{}{}, all: all, changed: make(chan struct{}, 1)}
	r.announcer.Store(a)
	if err := r.in.answer(&wire.RequestOK{RequestID: r.in.id}); err != nil {
		return nil, err
	}
	return a, nil
}

// NamespaceAnnouncer tells a namespace subscriber what is there; it may be used concurrently.
type NamespaceAnnouncer struct {
	r       *SubscribeNamespaceRequest
	changed chan struct{}
	mu      sync.Mutex // also orders the messages
	prefix  object.Namespace
	told    map[string]struct{}
	all     map[string]object.Namespace // with every prefix; nil: the prefix does not change
	// leaving: GOAWAY was sent.
	leaving bool
}

// Context ends when the subscriber left.
func (a *NamespaceAnnouncer) Context() context.Context { return a.r.in.ctx }

// Add tells of a namespace, which must have the prefix, unless that may change; telling twice is not an error and sends nothing.
func (a *NamespaceAnnouncer) Add(ns object.Namespace) error { return a.tell(ns, false) }

// Remove tells that it went away; a namespace not told of sends nothing.
func (a *NamespaceAnnouncer) Remove(ns object.Namespace) error { return a.tell(ns, true) }

func (a *NamespaceAnnouncer) tell(ns object.Namespace, gone bool) error {
	if a.r.in.ctx.Err() != nil {
		return context.Cause(a.r.in.ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := ns.String()
	switch {
	case a.all == nil:
	case gone:
		delete(a.all, key)
	default:
		a.all[key] = ns
	}
	if !ns.HasPrefix(a.prefix) {
		if a.all != nil {
			return nil
		}
		return wire.ErrValue
	}
	if a.r.Options.NoListing {
		return nil // the subscriber wants PUBLISH only
	}
	if _, told := a.told[key]; told != gone {
		return nil
	}
	suffix := ns[len(a.prefix):]
	if gone {
		delete(a.told, key)
		return a.r.in.s.orCause(a.r.st.send(&wire.NamespaceDone{Suffix: suffix}))
	}
	a.told[key] = struct{}{}
	return a.r.in.s.orCause(a.r.st.send(&wire.Namespace{Suffix: suffix}))
}

// Close ends the response.
func (a *NamespaceAnnouncer) Close() error { return a.r.st.st.Close() }
