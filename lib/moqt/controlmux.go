package moqt

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// controlMux makes of the control stream of draft 16 a stream for each request. It alone knows what that draft has instead of streams:
// UNSUBSCRIBE, FETCH_CANCEL, PUBLISH_NAMESPACE_DONE and PUBLISH_NAMESPACE_CANCEL end a request, answers find theirs by its id, and a
// request that ended gives its maker credit for another one.
//
// Messages of the control stream are acted on in their order, whatever requests they are about: the reader of the control stream
// goes on when the reader of the request asks for more, or answers.
type controlMux struct {
	s        *Session
	listings ownStreams // carries SUBSCRIBE_NAMESPACE
	credit   *credit
	issue    sync.Mutex // orders own request ids on the control stream (§9.1); taken before all others
	grant    sync.Mutex // orders MAX_REQUEST_ID; likewise

	mu      sync.Mutex            // guards what follows; taken before muxStream.mu, and no message is sent under it
	streams map[uint64]*muxStream // by request id; by those of updates of this side without an answer, too
}

func newControlMux(s *Session) *controlMux {
	first := uint64(0)
	if s.client {
		first = 1
	}
	return &controlMux{s: s, listings: ownStreams{s, true}, credit: newCredit(first, s.cfg.MaxRequests), streams: map[uint64]*muxStream{}}
}

func (x *controlMux) open(ctx context.Context, r *request) (requestStream, error) {
	if r.typ == typeSubscribeNamespace {
		return x.listings.open(ctx, r) // §9.25
	}
	return x.stream(r), nil
}

func (x *controlMux) number(ctx context.Context, send func(id uint64) error) error {
	for {
		wait, err := x.tryNumber(send)
		if wait == nil {
			return err
		}
		if limit, first := x.credit.short(); first { // §9.6
			if err := x.s.control.send(&wire.RequestsBlocked{MaxRequestID: limit}); err != nil {
				return x.s.orCause(err)
			}
		}
		select {
		case <-wait:
		case <-x.s.leaving.came:
		case <-x.s.ctx.Done():
			return context.Cause(x.s.ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tryNumber sends if there is credit; else wait is closed when there is more.
func (x *controlMux) tryNumber(send func(id uint64) error) (wait <-chan struct{}, err error) {
	x.issue.Lock()
	defer x.issue.Unlock()
	if x.s.leaving.heard() {
		return nil, ErrGoingAway
	}
	own, _ := x.s.requests.following()
	if ok, wait := x.credit.covers(own); !ok {
		return wait, nil
	}
	if err := send(x.s.requests.nextID()); err != nil {
		return nil, x.s.orCause(err)
	}
	return nil, nil
}

func (x *controlMux) handshake(ctx context.Context) error { return x.s.handshakeOnOne(ctx) }

// anyIDs: answers find their requests by these ids.
func (x *controlMux) anyIDs() bool { return false }

func (x *controlMux) accept(st Stream) error { return x.listings.accept(st) }
func (x *controlMux) credits() *credit       { return x.credit }
func (x *controlMux) controlEnded() error    { return errControlClosed }

// overtake: on one stream nothing overtakes.
func (x *controlMux) overtake() time.Duration { return 0 }

// over gives credit, telling the peer when half the window is used up.
func (x *controlMux) over() {
	if x.credit.give() {
		x.s.spawn(x.grantRequests)
	}
}

// grantRequests sends MAX_REQUEST_ID, in increasing order.
func (x *controlMux) grantRequests() {
	x.grant.Lock()
	defer x.grant.Unlock()
	if limit, more := x.credit.grant(); more {
		x.s.control.send(&wire.MaxRequestID{MaxRequestID: limit})
	}
}

func (x *controlMux) stream(r *request) *muxStream {
	return &muxStream{x: x, r: r, wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

func (x *controlMux) add(id uint64, v *muxStream) {
	x.mu.Lock()
	x.streams[id] = v
	x.mu.Unlock()
}

func (x *controlMux) find(id uint64) *muxStream {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.streams[id]
}

// forget takes a stream out; credit: the peer gets it for one request.
func (x *controlMux) forget(id uint64, credit bool) {
	x.mu.Lock()
	_, known := x.streams[id]
	delete(x.streams, id)
	x.mu.Unlock()
	if known && credit {
		x.over()
	}
}

func (x *controlMux) control(m wire.Message) error {
	switch m := m.(type) {
	case *wire.MaxRequestID:
		if !x.credit.raise(m.MaxRequestID) {
			return violation("MAX_REQUEST_ID %d, which is not more than before", m.MaxRequestID)
		}
		return nil
	case *wire.RequestsBlocked:
		x.s.log.Debug("peer is out of requests", "max", m.MaxRequestID)
		return nil

	case *wire.RequestOK:
		return x.answer(m.RequestID, m)
	case *wire.RequestError:
		return x.answer(m.RequestID, m)
	case *wire.SubscribeOK:
		return x.answer(m.RequestID, m)
	case *wire.PublishOK:
		return x.answer(m.RequestID, m)
	case *wire.FetchOK:
		return x.answer(m.RequestID, m)

	case *wire.Subscribe, *wire.Publish, *wire.Fetch, *wire.TrackStatus, *wire.PublishNamespace:
		return x.begin(*requestID(m), m)
	case *wire.RequestUpdate:
		return x.update(m)

	case *wire.PublishDone:
		return x.done(m)
	case *wire.Unsubscribe:
		x.end(m.RequestID, false, canceled, typeSubscribe)
		x.end(m.RequestID, true, canceled, typePublish)
	case *wire.FetchCancel:
		x.end(m.RequestID, false, canceled, typeFetch)
	case *wire.PublishNamespaceDone:
		if v := x.find(m.RequestID); v != nil && !v.r.own && v.r.typ != typePublishNamespace {
			return violation("PUBLISH_NAMESPACE_DONE for request %d, which is another", m.RequestID)
		}
		x.end(m.RequestID, false, io.EOF, typePublishNamespace)
	case *wire.PublishNamespaceCancel:
		x.end(m.RequestID, true, &RequestError{Code: m.Code, Reason: m.Reason}, typePublishNamespace)
	default:
		// CLIENT_SETUP and SERVER_SETUP a second time; SUBSCRIBE_NAMESPACE, NAMESPACE and NAMESPACE_DONE outside the stream
		// they belong to (§3.3, §9.25).
		return violation("%T on the control stream", m)
	}
	return nil
}

// begin takes a request of the peer.
func (x *controlMux) begin(id uint64, m wire.Message) error {
	r := x.s.newRequest(m, false, nobody{})
	r.id = id
	v := x.stream(r)
	r.st = v
	x.mu.Lock()
	fresh := x.streams[id] == nil // else its id is refused
	if fresh {
		x.streams[id] = v
	}
	x.mu.Unlock()
	if err := r.begin(m); err != nil {
		return err
	}
	r.follow()
	return nil
}

// answer hands an answer to the request or update it is for.
func (x *controlMux) answer(id uint64, m wire.Message) error {
	x.mu.Lock()
	v := x.streams[id]
	if v == nil || !v.r.own && id == v.r.id {
		x.mu.Unlock()
		return violation("%T for request %d, which awaits none", m, id)
	}
	v.mu.Lock()
	first := id == v.r.id
	again := first && v.answered
	over := v.over
	v.answered = v.answered || first
	v.mu.Unlock()
	if over || !first {
		delete(x.streams, id)
	}
	x.mu.Unlock()
	_, no := m.(*wire.RequestError)
	switch {
	case again:
		return violation("%T for request %d, which awaits none", m, id)
	case over && first && !no && v.r.typ != typeFetch: // it was cancelled before there was anything to end
		x.s.spawn(func() { v.farewell(nil) })
	case !over:
		v.hand(m, nil)
	}
	return nil
}

// update hands an update of the peer to the request it is for.
func (x *controlMux) update(m *wire.RequestUpdate) error {
	v := x.find(m.ExistingRequestID)
	if v == nil || v.r.own && v.r.typ != typePublish {
		if own, peer := x.s.requests.following(); m.ExistingRequestID >= max(own, peer) {
			return violation("REQUEST_UPDATE of unknown request %d", m.ExistingRequestID)
		}
		return x.refuseUpdate(m, errRequestOver) // it may have ended while this was under way
	}
	v.mu.Lock()
	answered := v.answered
	v.mu.Unlock()
	if !answered {
		return x.refuseUpdate(m, &RequestError{Code: wire.RequestInternalError, Reason: "not answered yet"})
	}
	v.hand(m, nil)
	return nil
}

// refuseUpdate answers an update that is for no request.
func (x *controlMux) refuseUpdate(m *wire.RequestUpdate, why *RequestError) error {
	if err := unknownParameters(m.Parameters); err != nil {
		return err
	}
	if err := x.s.admit(m.RequestID, nil, nil); err != nil {
		return err
	}
	if _, _, err := x.s.inTokens.resolve(m.Parameters.Tokens); err != nil {
		return err
	}
	x.s.count.request(received, requestOf(m), refused)
	x.s.spawn(func() {
		x.s.control.send(&wire.RequestError{RequestID: m.RequestID, Code: why.Code, Reason: why.Reason})
		x.over()
	})
	return nil
}

// done hands PUBLISH_DONE to the subscription it is for, if that is not over on this side.
func (x *controlMux) done(m *wire.PublishDone) error {
	v := x.find(m.RequestID)
	if v == nil || v.r.own != (v.r.typ == typeSubscribe) || !v.r.own && v.r.typ != typePublish {
		return nil
	}
	v.mu.Lock()
	early, again := v.r.own && !v.answered, v.done
	v.done = again || !early
	v.mu.Unlock()
	switch {
	case again:
		return violation("PUBLISH_DONE twice for request %d", m.RequestID)
	case !early:
		v.hand(m, nil)
	}
	return nil
}

// canceled is how a request ends that is not wanted any more.
var canceled = &StreamResetError{Code: wire.ResetCancelled, Remote: true}

// end tells a request of one of some types that the peer ended it.
func (x *controlMux) end(id uint64, own bool, why error, types ...uint64) {
	v := x.find(id)
	if v == nil || v.r.own != own || !slices.Contains(types, v.r.typ) {
		return // it is over already
	}
	v.mu.Lock()
	again := v.left
	v.left = true
	v.mu.Unlock()
	if !again {
		v.hand(nil, why)
	}
}
