package moqt

import (
	"context"
	"errors"
	"fmt"
	"math"

	"every.channel/ec/lib/moqt/wire"
)

// requestState counts requests in both directions (§9.1, §9.5).
type requestState struct {
	next    uint64 // own next request id
	limit   uint64 // the peer's MAX_REQUEST_ID: own ids must stay below
	blocked uint64 // limit + 1 for which REQUESTS_BLOCKED was sent
	changed chan struct{}

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

// openRequestStream opens the stream of a request.
func (s *Session) openRequestStream(ctx context.Context, r *request) (requestStream, error) {
	if s.mux != nil && r.typ != typeSubscribeNamespace {
		return s.mux.stream(r), nil
	}
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
	return s.newOwnStream(s.controlStream(st), r), nil
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

// checkID takes the id of a request of the peer; s.mu is held.
func (s *Session) checkID(id uint64) error {
	err := s.requests.admit(id)
	if we := (*wire.Error)(nil); errors.As(err, &we) && we.Code == wire.TooManyRequests {
		s.count.limit(limitRequests)
	}
	return err
}

// requestOver gives the peer credit for one more request, telling it when half the window is used up.
func (s *Session) requestOver() {
	s.mu.Lock()
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
