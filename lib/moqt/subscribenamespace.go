package moqt

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

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
	r      *request
	tracks *request // SUBSCRIBE_TRACKS besides, in drafts where it is another request
	prefix prefixOf // of r
	pushed prefixOf // of tracks
	known  map[string]object.Namespace
	left   []object.Namespace // that an update of the prefix left behind; Next's, like what follows
	over   error              // how the stream ended
}

// Session is the session the subscription was made on.
func (sub *NamespaceSubscription) Session() *Session { return sub.s }

// Relocation is what Next told with *GoAwayError.
func (sub *NamespaceSubscription) Relocation() Relocation { return sub.r.Relocation() }

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
	if err := s.ways.list(sub, ctx, prefix, o, forward); err != nil {
		return nil, err
	}
	return sub, nil
}

// listAsOne asks for the listing and for PUBLISH with one request, of which both are options (draft-16 §9.25).
func (sub *NamespaceSubscription) listAsOne(ctx context.Context, prefix object.Namespace, o SubscribeNamespaceOptions, forward *bool) (err error) {
	m := &wire.SubscribeNamespace{Prefix: prefix, Parameters: wire.Parameters{Tokens: o.Tokens, Forward: forward}}
	switch {
	case o.Publish && !o.NoListing:
		m.Options = wire.SubscribeBoth
	case !o.Publish:
		m.Options = wire.SubscribeNamespaces
	}
	sub.r, err = sub.s.namespaceRequest(ctx, m)
	return err
}

// listApart asks for the listing and for PUBLISH with a request each (draft-18 §10.16, §10.17).
func (sub *NamespaceSubscription) listApart(ctx context.Context, prefix object.Namespace, o SubscribeNamespaceOptions, forward *bool) (err error) {
	s := sub.s
	if o.Publish {
		m := &wire.SubscribeTracks{Prefix: prefix, Parameters: wire.Parameters{Tokens: o.Tokens, Forward: forward}}
		if sub.tracks, err = s.namespaceRequest(ctx, m); err != nil {
			return err
		}
	}
	if o.NoListing {
		sub.r, sub.tracks = sub.tracks, nil
		return nil
	}
	m := &wire.SubscribeNamespace{Prefix: prefix, Parameters: wire.Parameters{Tokens: o.Tokens}}
	if sub.r, err = s.namespaceRequest(ctx, m); err != nil {
		if sub.tracks != nil {
			sub.tracks.cancel(nil)
		}
		return err
	}
	if sub.tracks != nil {
		s.spawn(sub.drainTracks)
	}
	return nil
}

// namespaceRequest asks for namespaces or tracks and waits for the answer (*RequestError if refused). The rest is for Next.
func (s *Session) namespaceRequest(ctx context.Context, m wire.Message) (*request, error) {
	r := s.newRequest(m, true, nobody{})
	answer, err := r.ask(ctx, m)
	if err != nil {
		return nil, err
	}
	if _, is := answer.(*wire.RequestOK); !is {
		return nil, r.broke(violation("%T in answer to SUBSCRIBE_NAMESPACE", answer))
	}
	return r, nil
}

// drainTracks reads what a publisher says of tracks it cannot PUBLISH, next to a listing that is read by Next.
func (sub *NamespaceSubscription) drainTracks() {
	for {
		m, err := sub.tracks.next(context.Background())
		if err != nil {
			sub.broke(err)
			return
		}
		if m.Type() == typeGoAway {
			continue // the listing's is acted on
		}
		if ok, err := sub.pushed.answer(sub.s, m); ok {
			sub.tracks.updated()
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
	if isViolation(err) {
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
	if sub.over != nil {
		return NamespaceEvent{}, sub.over
	}
	m, err := sub.r.next(ctx)
	switch {
	case err == nil:
	case err == io.EOF:
		sub.over = io.EOF
		return NamespaceEvent{}, io.EOF
	case ctx.Err() != nil && !isViolation(err):
		return NamespaceEvent{}, context.Cause(ctx)
	default:
		sub.over = sub.broke(err)
		return NamespaceEvent{}, sub.over
	}
	whole := func(suffix object.Namespace) object.Namespace {
		return append(slices.Clone(sub.prefix.now), suffix...)
	}
	if ok, err := sub.prefix.answer(sub.s, m); ok {
		sub.r.updated()
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
		return NamespaceEvent{}, &GoAwayError{relocation(m)}
	}
	return NamespaceEvent{}, sub.broke(violation("%T on the stream of SUBSCRIBE_NAMESPACE", m))
}

// Close ends the subscription.
func (sub *NamespaceSubscription) Close() error {
	if sub.tracks != nil {
		sub.tracks.cancel(nil)
	}
	return sub.r.cancel(nil)
}

// SubscribeNamespaceRequest is a peer's SUBSCRIBE_NAMESPACE. Its context ends when the peer closes its stream.
type SubscribeNamespaceRequest struct {
	Prefix  object.Namespace // may be empty: everything
	Options SubscribeNamespaceOptions

	in        *request
	announcer atomic.Pointer[NamespaceAnnouncer] // once it was accepted
}

func (in *request) beginNamespaces(prefix object.Namespace, p wire.Parameters, o SubscribeNamespaceOptions) error {
	tokens, ok, err := in.admit(object.TrackName{Namespace: prefix}, p)
	if !ok {
		return err
	}
	if refusal := in.s.checkFilters(p); refusal != nil {
		in.s.spawn(func() { in.reject(refusal.Code, refusal.Reason) })
		return nil
	}
	in.shapes = p
	o.NoForward, o.Tokens = p.Forward != nil && !*p.Forward, tokens
	r := &SubscribeNamespaceRequest{Prefix: prefix, in: in, Options: o}
	in.setOwner(r)
	if refusal := in.s.requests.claim(in, prefix); refusal != nil {
		in.s.spawn(func() { r.Reject(refusal.Code, refusal.Reason) })
		return nil
	}
	in.handle(func(ctx context.Context) { in.s.cfg.Handler.SubscribeNamespace(ctx, r) })
	return nil
}

func (r *SubscribeNamespaceRequest) take(m wire.Message) error {
	return violation("%T after SUBSCRIBE_NAMESPACE", m)
}

func (r *SubscribeNamespaceRequest) ended(error) {}

func (r *SubscribeNamespaceRequest) update(_ uint64, p wire.Parameters, accept func(wire.Parameters)) *RequestError {
	if refusal := r.in.s.requests.reshape(r.in, p); refusal != nil {
		return refusal
	}
	if p.NamespacePrefix != nil {
		return r.move(*p.NamespacePrefix, accept)
	}
	accept(wire.Parameters{})
	return nil
}

// updateFailed: a refused update ends the stream (draft-18 §10.9.1).
func (r *SubscribeNamespaceRequest) updateFailed(*RequestError) { r.in.close() }

// Reject answers REQUEST_ERROR.
func (r *SubscribeNamespaceRequest) Reject(code RequestCode, reason string) error {
	return r.in.reject(code, reason)
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
	mu      sync.Mutex // guards what follows, and orders the messages: held while they are sent; requestTable.mu is taken under it
	prefix  object.Namespace
	told    map[string]struct{}
	all     map[string]object.Namespace // with every prefix; nil: the prefix does not change
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
		return a.r.in.s.orCause(a.r.in.st.send(&wire.NamespaceDone{Suffix: suffix}))
	}
	a.told[key] = struct{}{}
	return a.r.in.s.orCause(a.r.in.st.send(&wire.Namespace{Suffix: suffix}))
}

// Blocked tells a subscriber that wants PUBLISH of a track below the prefix that there will be none, for want of room: the subscriber may
// subscribe to the track. Drafts before 17 cannot tell.
func (a *NamespaceAnnouncer) Blocked(track object.TrackName) error {
	if !a.r.Options.Publish {
		return nil
	}
	return a.r.in.s.ways.blocked(a, track)
}

func (a *NamespaceAnnouncer) sendBlocked(track object.TrackName) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !track.Namespace.HasPrefix(a.prefix) {
		return nil
	}
	m := &wire.PublishBlocked{Suffix: track.Namespace[len(a.prefix):], Name: track.Name}
	return a.r.in.s.orCause(a.r.in.st.send(m))
}

// Close ends the response.
func (a *NamespaceAnnouncer) Close() error {
	a.r.in.close()
	return nil
}
