package moqt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"every.channel/ec/lib/moqt/wire"
)

// requestState counts requests in both directions (§9.1, §9.5).
type requestState struct {
	next    uint64 // own next request id
	limit   uint64 // the peer's MAX_REQUEST_ID: own ids must stay below
	blocked uint64 // limit + 1 for which REQUESTS_BLOCKED was sent
	changed chan struct{}
	calls   map[uint64]*call // own requests without an answer

	turn      uint64              // how many SUBSCRIBE the peer sent
	given     uint64              // next id for a request of the peer that is renumbered
	peerNext  uint64              // smallest id of the peer above all seen
	skipped   map[uint64]struct{} // ids below it not seen yet: they travel on other streams
	peerLimit uint64              // what the peer was granted
	told      uint64              // what it was told
	window    uint64
	news      chan struct{} // closed when a request of the peer came or was done with, if somebody waits for that
	unlimited bool          // no MAX_REQUEST_ID: streams bound the requests, and any may be overtaken
}

// maxSkipped bounds request ids that were overtaken. Only SUBSCRIBE_NAMESPACE, on streams of their own, can be.
const maxSkipped = 256

// maxSkippedStreams bounds them where each request has its own stream. Those of streams that were cancelled before they were
// read never come, so the oldest are forgotten.
const maxSkippedStreams = 8192

func (q *requestState) init(client bool, window uint64, unlimited bool) {
	q.changed = make(chan struct{})
	q.calls = map[uint64]*call{}
	q.skipped = map[uint64]struct{}{}
	if client {
		q.peerNext = 1
	} else {
		q.next = 1
	}
	q.given = q.peerNext
	q.window = window
	q.peerLimit = q.peerNext + 2*window
	q.told = q.peerLimit
	if q.unlimited = unlimited; unlimited {
		q.limit, q.told = math.MaxUint64, math.MaxUint64
	}
}

func (q *requestState) granted() uint64 { return q.peerLimit }

// heard is closed at the next request of the peer that comes or is done with; Session.mu is held.
func (q *requestState) heard() <-chan struct{} {
	if q.news == nil {
		q.news = make(chan struct{})
	}
	return q.news
}

// tell wakes who waits for that; Session.mu is held.
func (q *requestState) tell() {
	if q.news != nil {
		close(q.news)
		q.news = nil
	}
}

// admit checks the id of a request of the peer.
func (q *requestState) admit(id uint64) error {
	bad := func(why string) error {
		return &wire.Error{Code: wire.InvalidRequestID, What: fmt.Sprintf("request id %d: %s", id, why)}
	}
	if id&1 != q.peerNext&1 {
		return bad("belongs to this side")
	}
	if id >= q.told {
		return &wire.Error{Code: wire.TooManyRequests, What: fmt.Sprintf("request id %d, maximum %d", id, q.told)}
	}
	if id < q.peerNext {
		if _, ok := q.skipped[id]; !ok {
			return bad("used before")
		}
		delete(q.skipped, id)
		return nil
	}
	switch gap := (id - q.peerNext) / 2; {
	case !q.unlimited && gap+uint64(len(q.skipped)) > maxSkipped, gap > maxSkippedStreams:
		return bad("not next in sequence")
	case gap+uint64(len(q.skipped)) > maxSkippedStreams:
		for old := range q.skipped {
			if id-old > maxSkippedStreams {
				delete(q.skipped, old)
			}
		}
	}
	for ; q.peerNext < id; q.peerNext += 2 {
		q.skipped[q.peerNext] = struct{}{}
	}
	q.peerNext = id + 2
	return nil
}

// call is an own request waiting for its answer.
type call struct {
	id      uint64
	request counter // which
	// accept handles a positive answer in the reader of control messages, before any later message; it must not block.
	// It is also called when the caller gave up meanwhile, with late set.
	accept func(m wire.Message, late bool) error
	done   chan struct{}
	err    error
	gone   bool
}

// oldRequest issues a request: it waits for a request id, sends the message made for it, and waits for the answer.
func (s *Session) oldRequest(ctx context.Context, build func(id uint64) wire.Message, accept func(m wire.Message, late bool) error) error {
	ctx, cancel := s.responseContext(ctx)
	defer cancel()
	c, err := s.issueCall(ctx, build, accept)
	if err != nil {
		return err
	}
	return s.await(ctx, c)
}

// issueCall sends the request on the control stream.
func (s *Session) issueCall(ctx context.Context, build func(id uint64) wire.Message, accept func(m wire.Message, late bool) error) (*call, error) {
	if err := s.waitReady(ctx); err != nil {
		return nil, err
	}
	if !s.v.RequestStreams() {
		return s.issueCallOn(ctx, s.control.send, build, accept)
	}
	st, err := s.openRequest(ctx)
	if err != nil {
		return nil, err
	}
	rs := s.newOldStream(st, true)
	var id uint64
	c, err := s.issueCallOn(ctx, func(m wire.Message) error { return rs.begin(id, m) }, func(x uint64) wire.Message {
		id = x
		return build(x)
	}, accept)
	if err != nil {
		rs.cancel(wire.ResetCancelled)
		return nil, err
	}
	s.spawn(func() { s.fail(rs.serve()) })
	return c, nil
}

// openRequestStream opens the stream of a request.
func (s *Session) openRequestStream(ctx context.Context, r *request) (requestStream, error) {
	if s.mux != nil && r.typ != typeSubscribeNamespace {
		return s.mux.stream(r), nil
	}
	st, err := s.openRequest(ctx)
	if err != nil {
		return nil, err
	}
	return s.newOwnStream(s.controlStream(st), r), nil
}

// openRequest opens the stream of a request.
func (s *Session) openRequest(ctx context.Context) (Stream, error) {
	s.mu.Lock()
	leaving := s.goaway.received
	s.mu.Unlock()
	if leaving {
		return nil, ErrGoingAway
	}
	st, err := s.conn.OpenStream(ctx)
	if err != nil {
		return nil, s.orCause(err)
	}
	return st, nil
}

// updateRequest sends a REQUEST_UPDATE for a request and waits for its answer.
func (s *Session) updateRequest(ctx context.Context, existing uint64, p wire.Parameters, accept func(m wire.Message, late bool) error) error {
	ctx, cancel := s.responseContext(ctx)
	defer cancel()
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	var id uint64
	send := s.control.send
	if s.v.RequestStreams() {
		rs := s.stream(existing)
		if rs == nil {
			return s.orCause(errRequestOver)
		}
		send = func(m wire.Message) error { return rs.update(id, m) }
	}
	c, err := s.issueCallOn(ctx, send, func(x uint64) wire.Message {
		id = x
		return &wire.RequestUpdate{RequestID: x, ExistingRequestID: existing, Parameters: p}
	}, accept)
	if err != nil {
		return err
	}
	return s.await(ctx, c)
}

// issueCallOn sends the request with send, after the session is ready.
func (s *Session) issueCallOn(ctx context.Context, send func(wire.Message) error, build func(id uint64) wire.Message, accept func(m wire.Message, late bool) error) (*call, error) {
	c := &call{accept: accept, done: make(chan struct{})}
	err := s.numbered(ctx, func(id uint64) error {
		c.id = id
		s.mu.Lock()
		s.requests.calls[id] = c
		s.mu.Unlock()
		m := build(id)
		c.request = requestOf(m)
		err := send(m)
		if err != nil {
			s.dropCall(id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// numbered takes the next request id for what send sends, waiting for credit; ids are sent in order.
func (s *Session) numbered(ctx context.Context, send func(id uint64) error) error {
	for {
		s.issue.Lock()
		id, wait, err := s.takeRequestID()
		if err == nil && wait == nil {
			err = send(id)
			s.issue.Unlock()
			if err != nil {
				return s.orCause(err)
			}
			return nil
		}
		s.issue.Unlock()
		if err != nil {
			return err
		}
		if err := s.requestsBlocked(); err != nil {
			return s.orCause(err)
		}
		select {
		case <-wait:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// takeRequestID takes the next id, or returns a channel to wait on. issue is held.
func (s *Session) takeRequestID() (id uint64, wait <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.goaway.received {
		return 0, nil, ErrGoingAway
	}
	q := &s.requests
	if q.next >= q.limit {
		return 0, q.changed, nil
	}
	id = q.next
	q.next += 2
	return id, nil, nil
}

// requestsBlocked tells the peer once per limit that this side is out of requests (§9.6).
func (s *Session) requestsBlocked() error {
	s.mu.Lock()
	limit := s.requests.limit
	tell := s.requests.blocked != limit+1
	s.requests.blocked = limit + 1
	s.mu.Unlock()
	if !tell {
		return nil
	}
	return s.control.send(&wire.RequestsBlocked{MaxRequestID: limit})
}

func (s *Session) dropCall(id uint64) {
	s.mu.Lock()
	delete(s.requests.calls, id)
	s.mu.Unlock()
}

// await waits for the answer to c. If the caller's patience ends first, a late answer is still handled.
func (s *Session) await(ctx context.Context, c *call) error {
	select {
	case <-c.done:
		return c.err
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-ctx.Done():
	}
	s.mu.Lock()
	select {
	case <-c.done: // the answer came just now
		s.mu.Unlock()
		return c.err
	default:
		c.gone = true
		s.mu.Unlock()
		s.gaveUp(ctx, c.request)
		s.cancelRequest(c.id, wire.ResetCancelled) // where the request has a stream
		return context.Cause(ctx)
	}
}

// onReply hands an answer to the request it belongs to.
func (s *Session) onReply(id uint64, m wire.Message) error {
	s.mu.Lock()
	c := s.requests.calls[id]
	if c == nil {
		s.mu.Unlock()
		if e, ok := m.(*wire.RequestError); ok {
			return s.onLateError(e)
		}
		return violation("%T for request %d, which awaits none", m, id)
	}
	delete(s.requests.calls, id)
	late := c.gone
	s.mu.Unlock()
	var err error
	_, no := m.(*wire.RequestError)
	if !late {
		s.count.request(sent, c.request, outcomeOf(no))
	}
	if e, ok := m.(*wire.RequestError); ok {
		c.err = requestError(e)
	} else {
		err = c.accept(m, late)
		c.err = err
		var refused *RequestError
		if errors.As(err, &refused) {
			err = nil // by this side, and the session goes on
		}
	}
	close(c.done)
	return err
}

func outcomeOf(no bool) counter {
	if no {
		return refused
	}
	return accepted
}

// gaveUp counts a request whose answer did not come in time.
func (s *Session) gaveUp(ctx context.Context, request counter) {
	s.count.request(sent, request, unanswered)
	if context.Cause(ctx) == errResponseTimeout {
		s.count.limit(limitResponse)
	}
}

func requestError(m *wire.RequestError) *RequestError {
	e := &RequestError{Code: m.Code, Reason: m.Reason, Retry: m.RetryInterval > 0, Redirect: m.Redirect}
	if e.Retry {
		e.RetryInterval = duration(m.RetryInterval - 1)
	}
	return e
}

func (s *Session) onMaxRequestID(m *wire.MaxRequestID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.requests
	if m.MaxRequestID <= q.limit {
		return violation("MAX_REQUEST_ID %d after %d", m.MaxRequestID, q.limit)
	}
	q.limit = m.MaxRequestID
	close(q.changed)
	q.changed = make(chan struct{})
	return nil
}

// inbound is a request of the peer: it is answered once and over once.
type inbound struct {
	s      *Session
	id     uint64
	asked  counter                  // which request
	send   func(wire.Message) error // where answers go
	ctx    context.Context
	cancel context.CancelCauseFunc

	kind     requestKind
	track    string // kindSubscribe: its name
	turn     uint64 // kindSubscribe: which one of the peer's
	joinable bool   // kindSubscribe: filter LargestObject, so a joining fetch may refer to it
	updates  uint64 // kindUpdate: the request it changes
	onUpdate func(wire.Parameters)
	settled  chan struct{} // closed when a subscription was accepted
	replied  chan struct{} // closed when the answer was sent
	pub      *Publication  // kindSubscribe, once accepted; read after settled

	mu       sync.Mutex
	answered bool
	over     bool
}

// requestKind tells what an inbound request is, as far as other messages may refer to it.
type requestKind uint8

const (
	kindOther requestKind = iota
	kindSubscribe
	kindUpdate
)

// settle ends the wait of joining fetches for the answer to a SUBSCRIBE.
func (r *inbound) settle(p *Publication) {
	r.pub = p
	close(r.settled)
}

// refuse answers a request in a goroutine, for the reader of control messages, which must not block.
func (r *inbound) refuse(e *RequestError) {
	r.s.spawn(func() { r.reject(e.Code, e.Reason) })
}

func (r *inbound) isAnswered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answered
}

// update applies a REQUEST_UPDATE to a request that is not a subscription.
func (r *inbound) update(p wire.Parameters) {
	if r.onUpdate != nil {
		r.onUpdate(p)
	}
}

// admit takes a request of the peer; s.mu is not held.
func (s *Session) admit(id uint64, m wire.Message) (*inbound, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkID(id); err != nil {
		return nil, err
	}
	r := &inbound{s: s, id: id, asked: requestOf(m), send: s.send, settled: make(chan struct{}), replied: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancelCause(s.ctx)
	switch m := m.(type) { // before others can find it
	case *wire.Subscribe:
		f := m.Parameters.SubscriptionFilter
		r.joinable = f != nil && f.Type == wire.FilterLargestObject
		r.kind = kindSubscribe
	case *wire.RequestUpdate:
		r.kind, r.updates = kindUpdate, m.ExistingRequestID
	}
	s.inbounds[id] = r
	s.requests.tell()
	return r, nil
}

// checkID takes the id of a request of the peer; s.mu is held.
func (s *Session) checkID(id uint64) error {
	err := s.requests.admit(id)
	if we := (*wire.Error)(nil); errors.As(err, &we) && we.Code == wire.TooManyRequests {
		s.count.limit(limitRequests)
	}
	return err
}

// handle runs a handler for r in its own goroutine.
func (r *inbound) handle(f func(ctx context.Context)) {
	r.s.spawn(func() {
		f(r.ctx)
		r.reject(wire.RequestInternalError, "not answered")
	})
}

// answer sends the one answer a request gets.
func (r *inbound) answer(m wire.Message) error {
	r.mu.Lock()
	if r.answered {
		r.mu.Unlock()
		return ErrAnswered
	}
	r.answered = true
	r.mu.Unlock()
	defer close(r.replied)
	_, no := m.(*wire.RequestError)
	r.s.count.request(received, r.asked, outcomeOf(no || r.ctx.Err() != nil))
	if r.ctx.Err() != nil {
		// Withdrawn before it was answered. The peer still gets an answer, as the draft wants exactly one.
		if _, ok := m.(*wire.RequestError); !ok {
			r.send(&wire.RequestError{RequestID: r.id, Code: wire.RequestInternalError, Reason: "withdrawn"})
			r.finish()
			return context.Cause(r.ctx)
		}
	}
	if err := r.send(m); err != nil {
		r.finish()
		return r.s.orCause(err)
	}
	return nil
}

// reject answers with REQUEST_ERROR and ends the request; if it was answered already nothing happens.
func (r *inbound) reject(code RequestCode, reason string) error {
	err := r.answer(&wire.RequestError{RequestID: r.id, Code: code, Reason: reason})
	if err != ErrAnswered {
		r.finish()
	}
	return err
}

// finish ends the request: its context ends, and the peer gets credit for another one.
func (r *inbound) finish() {
	r.mu.Lock()
	over := r.over
	r.over = true
	r.mu.Unlock()
	if over {
		return
	}
	r.cancel(ErrClosed)
	if r.kind != kindSubscribe { // which ends with PUBLISH_DONE
		r.s.closeRequest(r.id)
	}
	r.s.requestOver(r.id)
}

// requestOver gives the peer credit for one more request, telling it when half the window is used up.
func (s *Session) requestOver(id uint64) {
	s.mu.Lock()
	delete(s.inbounds, id)
	q := &s.requests
	q.tell()
	if q.unlimited {
		s.mu.Unlock()
		return
	}
	q.peerLimit += 2
	tell := q.peerLimit-q.told >= q.window // two ids a request: half the window
	s.mu.Unlock()
	if tell {
		s.spawn(s.grantRequests)
	}
}

// grantRequests sends MAX_REQUEST_ID; grant keeps the values in increasing order on the wire.
func (s *Session) grantRequests() {
	s.grant.Lock()
	defer s.grant.Unlock()
	s.mu.Lock()
	limit := s.requests.peerLimit
	more := limit > s.requests.told
	s.requests.told = limit
	s.mu.Unlock()
	if more {
		s.control.send(&wire.MaxRequestID{MaxRequestID: limit})
	}
}

// orCause prefers the reason why the session ended over the error it led to.
func (s *Session) orCause(err error) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return err
}

// onLateError takes a REQUEST_ERROR for a request that was answered: only a FETCH may be refused after it began (§9.16.3).
func (s *Session) onLateError(m *wire.RequestError) error {
	return violation("REQUEST_ERROR for request %d, which awaits none", m.RequestID)
}
