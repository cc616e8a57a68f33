package moqt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// ownStream is a requestStream that is a stream. Answers on it have no request id; they come in the order of what they answer, and
// get their ids back here.
type ownStream struct {
	s        *Session
	cs       *controlStream
	r        *request
	numbered bool          // see ownStreams
	gone     chan struct{} // closed when this side ended the request
	last     bool          // next has told of the peer's end; the reader's
	unwatch  func() bool   // ends watch; nil before

	order    sync.Mutex // keeps awaiting in the order of messages; before mu
	mu       sync.Mutex // guards what follows
	awaiting []uint64   // own request and updates without an answer
	over     bool       // this side ended the request
	why      error      // not nil: the peer did
}

// stream makes a stream that of a request; its id is set before it is used.
func (o ownStreams) stream(cs *controlStream, r *request) *ownStream {
	return &ownStream{s: o.s, cs: cs, r: r, numbered: o.numbered, gone: make(chan struct{})}
}

// watch waits for the peer's STOP_SENDING, from when the request knows its stream.
func (st *ownStream) watch() { st.unwatch = context.AfterFunc(st.cs.st.Context(), st.stopped) }

func (o ownStreams) accept(st Stream) error {
	s := o.s
	cs := s.controlStream(st)
	cs.parse = s.parseRequest
	st.SetReadDeadline(time.Now().Add(s.cfg.HeaderTimeout))
	m, err := cs.receive()
	if err != nil {
		st.CancelRead(wire.ResetCancelled)
		st.CancelWrite(wire.ResetCancelled)
		if isViolation(err) {
			return err
		}
		return nil
	}
	st.SetReadDeadline(time.Time{})
	id := requestID(m)
	if id == nil || o.numbered && m.Type() != typeSubscribeNamespace {
		return violation("%T at the start of a bidirectional stream", m)
	}
	r := s.newRequest(m, false, nobody{})
	r.said = *id
	s.renumber(id)
	r.id = *id
	own := o.stream(cs, r)
	r.st = own
	own.watch()
	if err := r.begin(m); err != nil {
		return err
	}
	return r.serve()
}

func (st *ownStream) send(m wire.Message) error {
	var awaits uint64
	asks := true
	switch m := m.(type) {
	case *wire.RequestUpdate:
		awaits = m.RequestID
	case *wire.RequestOK, *wire.RequestError, *wire.SubscribeOK, *wire.FetchOK, *wire.PublishDone, *wire.Namespace, *wire.NamespaceDone, *wire.PublishBlocked:
		asks = false
	case *wire.GoAway:
		if st.numbered {
			return fmt.Errorf("GOAWAY of one request in %v: %w", st.s.v, wire.ErrValue)
		}
		asks = false
	case *wire.PublishOK:
		return st.send(&wire.RequestOK{RequestID: m.RequestID, Parameters: m.Parameters})
	default:
		awaits = st.r.id
		st.watch()
	}
	if e, no := m.(*wire.RequestError); no && st.numbered {
		m = inOldWords(e)
	}
	if !asks {
		if st.dead() != nil {
			return nil
		}
		return st.cs.send(m)
	}
	st.order.Lock()
	defer st.order.Unlock()
	st.mu.Lock()
	over := st.over || st.why != nil
	if !over {
		st.awaiting = append(st.awaiting, awaits)
	}
	st.mu.Unlock()
	if over {
		return errRequestOver
	}
	return st.cs.send(m)
}

var errRequestOver = &RequestError{Code: wire.RequestDoesNotExist, Reason: "request is over"}

func (st *ownStream) dead() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.why
}

func (st *ownStream) next(ctx context.Context) (wire.Message, error) {
	if st.last {
		select {
		case <-st.gone:
			return nil, ErrClosed
		case <-st.s.ctx.Done():
			return nil, context.Cause(st.s.ctx)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	m, err := st.receive(ctx)
	if err == nil {
		return st.identify(m)
	}
	switch {
	case isViolation(err):
	case ctx.Err() != nil && st.s.ctx.Err() == nil && !st.isOver():
		return nil, context.Cause(ctx)
	case st.isOver():
		st.cs.st.CancelRead(wire.ResetCancelled) // if the patience of close ended it
		return nil, cmp.Or(st.dead(), ErrClosed) // the peer's STOP_SENDING may have come before its reset
	case errors.Is(err, io.EOF):
		st.last = true
		return nil, io.EOF
	case isReset(err):
		st.last = true
		err = st.die(err)
	default: // the connection ended, and the session is about to
		select {
		case <-st.gone:
			err = ErrClosed
		case <-st.s.ctx.Done():
			err = context.Cause(st.s.ctx)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return nil, err
}

// isReset reports whether the peer reset a stream; any other error of a stream comes from its connection, or from a deadline.
func isReset(err error) bool {
	var reset *StreamResetError
	return errors.As(err, &reset)
}

// receive reads a message until ctx is done.
func (st *ownStream) receive(ctx context.Context) (wire.Message, error) {
	if ctx.Done() == nil {
		return st.cs.receive()
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		st.cs.st.SetReadDeadline(time.Unix(1, 0))
	})
	m, err := st.cs.receive()
	if !stop() {
		<-fired
		st.cs.st.SetReadDeadline(time.Time{})
	}
	return m, err
}

// identify gives a message the id of what it is about.
func (st *ownStream) identify(m wire.Message) (wire.Message, error) {
	r := st.r
	switch m := m.(type) {
	case *wire.RequestOK:
		id, err := st.answered(m, m.RequestID)
		m.RequestID = id
		switch {
		case err != nil:
			return nil, err
		case len(m.Properties) > 0 && r.typ != typeTrackStatus:
			return nil, violation("track properties in an answer that has none")
		case id == r.id && r.typ == typePublish:
			return &wire.PublishOK{RequestID: id, Parameters: m.Parameters}, nil
		}
	case *wire.RequestError:
		id, err := st.answered(m, m.RequestID)
		m.RequestID = id
		return m, err
	case *wire.SubscribeOK:
		return m, st.first(m, &m.RequestID)
	case *wire.FetchOK:
		return m, st.first(m, &m.RequestID)
	case *wire.PublishOK:
		return m, st.first(m, &m.RequestID)
	case *wire.RequestUpdate:
		if r.own && r.typ != typePublish || r.typ == typeTrackStatus || st.numbered {
			return nil, violation("REQUEST_UPDATE for a request that cannot be updated")
		}
		st.s.renumber(&m.RequestID)
		m.ExistingRequestID = r.id
	case *wire.GoAway:
		if st.numbered {
			return nil, violation("GOAWAY on the stream of a request")
		}
	case *wire.PublishDone:
		if !r.published() {
			return nil, violation("PUBLISH_DONE from a subscriber")
		}
		m.RequestID = r.id
	case *wire.PublishStateNotify:
		if !r.published() {
			return nil, violation("PUBLISH_STATE_NOTIFY from a subscriber")
		}
	}
	return m, nil
}

// answered finds what an answer is for: the oldest without one. said is the id in the answer.
func (st *ownStream) answered(m wire.Message, said uint64) (uint64, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.awaiting) == 0 {
		return 0, violation("%T for request %d, which awaits none", m, st.r.id)
	}
	id := st.awaiting[0]
	st.awaiting = st.awaiting[1:]
	if st.numbered && said != id {
		return 0, violation("%T for request %d in answer to %d", m, said, id)
	}
	return id, nil
}

// first identifies an answer that only the request itself can get.
func (st *ownStream) first(m wire.Message, id *uint64) error {
	var err error
	if *id, err = st.answered(m, 0); err == nil && *id != st.r.id {
		err = violation("%T in answer to an update", m)
	}
	return err
}

func (st *ownStream) isOver() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.over
}

// leave marks the request as ended by this side.
func (st *ownStream) leave() bool {
	st.mu.Lock()
	over := st.over
	st.over = true
	st.mu.Unlock()
	if over {
		return false
	}
	if st.unwatch != nil {
		st.unwatch()
	}
	close(st.gone)
	if !st.r.own {
		st.s.carrier.over()
	}
	return true
}

// die ends the stream because the peer did, and returns how it did that first.
func (st *ownStream) die(why error) error {
	st.mu.Lock()
	if st.why == nil {
		st.why = why
	}
	why = st.why
	st.mu.Unlock()
	st.cs.st.CancelWrite(wire.ResetCancelled)
	st.cs.st.CancelRead(wire.ResetCancelled)
	return why
}

// close sends FIN; the peer's half is read to its end for a while.
func (st *ownStream) close() {
	if st.leave() {
		st.cs.st.Close()
		st.cs.st.SetReadDeadline(time.Now().Add(st.s.cfg.DoneTimeout))
	}
}

func (st *ownStream) cancel(why *RequestError) error {
	code := wire.ResetCancelled
	if why != nil {
		code = resetFor(why.Code)
	}
	if !st.leave() {
		return nil
	}
	if why == nil && st.r.listing() {
		st.cs.st.Close() // which says as much
	} else {
		st.cs.st.CancelWrite(code)
	}
	st.cs.st.CancelRead(code)
	return nil
}

// stopped is called when the sending half ended. If this side did not end it, the peer cancelled with STOP_SENDING.
func (st *ownStream) stopped() {
	r := st.r
	// What the peer publishes or lists ends with PUBLISH_DONE or FIN.
	publisher := r.own && (r.typ == typeSubscribe || r.listing()) || r.typ == typePublish && !r.own
	if st.isOver() || st.dead() != nil || st.s.ctx.Err() != nil || publisher {
		return
	}
	var reset *StreamResetError
	if err := st.cs.whyOver(); !errors.As(err, &reset) {
		return // the connection ended, and the session is about to
	}
	st.s.spawn(func() {
		r.leave(st.die(&StreamResetError{Code: reset.Code, Remote: true}))
	})
}

// resetFor is how a stream says why an accepted request is revoked, as far as it can (draft-18 §3.3.2); requestCodeOf is the
// way back.
func resetFor(c RequestCode) ResetCode {
	switch c {
	case wire.RequestInternalError:
		return wire.ResetInternalError
	case wire.RequestGoingAway:
		return wire.ResetGoingAway
	case wire.RequestExpiredAuthToken:
		return wire.ResetExpiredAuthToken
	case wire.RequestExcessiveLoad:
		return wire.ResetExcessiveLoad
	case wire.RequestMalformedTrack:
		return wire.ResetMalformedTrack
	}
	return wire.ResetCancelled
}

func requestCodeOf(c ResetCode) RequestCode {
	for _, r := range []RequestCode{
		wire.RequestGoingAway, wire.RequestExpiredAuthToken, wire.RequestExcessiveLoad, wire.RequestMalformedTrack,
	} {
		if resetFor(r) == c {
			return r
		}
	}
	return wire.RequestInternalError
}
