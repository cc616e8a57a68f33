package moqt

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// oldStream is the bidirectional stream of one request, in drafts that give each request its own (draft-18 §3.3). Answers
// and everything said about the request later travel on it without a request id; here they get it back, so that the rest of
// the session is the same for all drafts. Requests are cancelled by ending the stream, which stands for the messages
// UNSUBSCRIBE, FETCH_CANCEL, PUBLISH_NAMESPACE_DONE and PUBLISH_NAMESPACE_CANCEL of draft 16.
type oldStream struct {
	s    *Session
	cs   *controlStream
	own  bool
	id   uint64
	said uint64 // id on the wire, if the peer's were changed (Config.Lenient)
	typ  uint64 // Message.Type of the request
	gone chan struct{}

	order sync.Mutex // keeps calls in the order of the messages
	mu    sync.Mutex
	calls []uint64 // own requests and updates awaiting their answer on this stream, which come in that order
	ended bool     // this side is done with the request
	// leaving: GOAWAY was sent.
	leaving bool
	goaway  *wire.GoAway // that came; the reader's
	pending bool         // it was not told to the owner of the request, who is not known before the answer
}

func (s *Session) newOldStream(st Stream, own bool) *oldStream {
	return &oldStream{s: s, cs: s.controlStream(st), own: own, gone: make(chan struct{})}
}

// stream finds the stream of a request, or of an update not answered yet.
func (s *Session) stream(id uint64) *oldStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[id]
}

// register makes the stream that of m, unless the id is taken.
func (rs *oldStream) register(id, typ uint64) bool {
	rs.id, rs.typ = id, typ
	rs.s.mu.Lock()
	defer rs.s.mu.Unlock()
	if rs.s.streams[id] != nil {
		return false
	}
	rs.s.streams[id] = rs
	return true
}

// send puts a message where the draft in use wants it: on the control stream, or on the stream of the request it speaks of.
func (s *Session) send(m wire.Message) error {
	if !s.v.RequestStreams() {
		return s.control.send(m)
	}
	switch m := m.(type) {
	case *wire.GoAway:
		return s.control.send(m)
	case *wire.Unsubscribe:
		s.cancelRequest(m.RequestID, wire.ResetCancelled)
	case *wire.PublishDone:
		return s.reply(m.RequestID, m, true)
	case *wire.RequestError:
		return s.reply(m.RequestID, m, true)
	case *wire.RequestOK:
		return s.reply(m.RequestID, m, false)
	case *wire.PublishOK:
		return s.reply(m.RequestID, &wire.RequestOK{RequestID: m.RequestID, Parameters: m.Parameters}, false)
	case *wire.SubscribeOK:
		return s.reply(m.RequestID, m, false)
	default:
		return violation("%T in %v", m, s.v) // not reached: drafts with a stream per request have no such message
	}
	return nil
}

// reply sends m on the stream of a request or update of the peer, or what ends an own request; last: nothing follows.
func (s *Session) reply(id uint64, m wire.Message, last bool) error {
	rs := s.stream(id)
	if rs == nil {
		return nil // the peer withdrew the request
	}
	err := rs.cs.send(m)
	switch {
	case id != rs.id: // an update was answered
		s.mu.Lock()
		delete(s.streams, id)
		s.mu.Unlock()
	case err != nil:
		rs.cancel(wire.ResetInternalError)
	case last:
		rs.close()
	}
	return err
}

// begin sends the message that opens the stream.
func (rs *oldStream) begin(id uint64, m wire.Message) error {
	rs.register(id, m.Type()) // an own id is new
	rs.calls = []uint64{id}
	return rs.cs.send(m)
}

// update sends a REQUEST_UPDATE with an id of its own.
func (rs *oldStream) update(id uint64, m wire.Message) error {
	rs.order.Lock()
	defer rs.order.Unlock()
	rs.mu.Lock()
	over := rs.ended
	if !over {
		rs.calls = append(rs.calls, id)
	}
	rs.mu.Unlock()
	if over {
		return errRequestOver
	}
	return rs.cs.send(m)
}

// serve reads the stream until its end; it returns what the session is to be closed for.
func (rs *oldStream) serve() error {
	stop := context.AfterFunc(rs.cs.st.Context(), rs.stopSending)
	defer stop()
	for {
		m, err := rs.cs.receive()
		if err != nil {
			return rs.finished(err)
		}
		if err := rs.take(m); err != nil {
			return err
		}
		if rs.pending {
			rs.pending = !rs.s.relocate(rs.id, rs.goaway)
		}
	}
}

// take handles one message after the first.
func (rs *oldStream) take(m wire.Message) error {
	switch m := m.(type) {
	case *wire.RequestOK:
		id, err := rs.answered(m)
		if err != nil {
			return err
		}
		m.RequestID = id
		if len(m.Properties) > 0 {
			return violation("track properties in an answer that has none")
		}
		if id == rs.id && rs.typ == typePublish {
			return rs.s.onReply(id, &wire.PublishOK{RequestID: id, Parameters: m.Parameters})
		}
		return rs.s.onReply(id, m)
	case *wire.RequestError:
		id, err := rs.answered(m)
		if err != nil {
			return err
		}
		m.RequestID = id
		if err := rs.s.checkRedirect(m.Redirect, false); err != nil {
			return err
		}
		err = rs.s.onReply(id, m)
		if id == rs.id {
			rs.close()
		}
		return err
	case *wire.SubscribeOK:
		return rs.first(m, typeSubscribe, &m.RequestID)
	case *wire.PublishOK:
		return rs.first(m, typePublish, &m.RequestID)

	case *wire.RequestUpdate:
		if rs.own && rs.typ != typePublish {
			return violation("REQUEST_UPDATE for a request that cannot be updated")
		}
		rs.awaitAnswer()
		rs.s.renumber(&m.RequestID)
		m.ExistingRequestID = rs.id
		rs.s.mu.Lock()
		if rs.s.streams[m.RequestID] == nil && !rs.isOver() {
			rs.s.streams[m.RequestID] = rs
		}
		rs.s.mu.Unlock()
		return rs.s.onRequestUpdate(m)
	case *wire.PublishDone:
		if rs.own != (rs.typ == typeSubscribe) || !rs.own && rs.typ != typePublish {
			return violation("PUBLISH_DONE from a subscriber")
		}
		m.RequestID = rs.id
		err := rs.s.onPublishDone(m)
		rs.close()
		return err
	case *wire.GoAway:
		if err := rs.s.checkRequestGoAway(m, rs.goaway != nil); err != nil {
			return err
		}
		rs.s.log.Debug("peer wants a request moved", "request", rs.id, "uri", m.NewSessionURI)
		rs.goaway, rs.pending = m, true
		return nil
	}
	return violation("%T on the stream of a request", m)
}

// first takes an answer that only the request itself can get.
func (rs *oldStream) first(m wire.Message, typ uint64, id *uint64) error {
	var err error
	if *id, err = rs.answered(m); err != nil {
		return err
	}
	if *id != rs.id || rs.typ != typ {
		return violation("%T in answer to another request", m)
	}
	return rs.s.onReply(*id, m)
}

// answered finds the request an answer is for: the oldest without one.
func (rs *oldStream) answered(m wire.Message) (uint64, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.calls) == 0 {
		return 0, violation("%T for request %d, which awaits none", m, rs.id)
	}
	id := rs.calls[0]
	rs.calls = rs.calls[1:]
	return id, nil
}

// awaitAnswer holds an update back until its request was answered, because the first answer on the stream is the request's.
func (rs *oldStream) awaitAnswer() {
	rs.s.mu.Lock()
	in := rs.s.inbounds[rs.id]
	rs.s.mu.Unlock()
	if in == nil {
		return
	}
	select {
	case <-in.replied:
	case <-in.ctx.Done():
	case <-rs.cs.st.Context().Done(): // STOP_SENDING
	}
}

func (rs *oldStream) isOver() bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.ended
}

// leave marks the request as over, once, and forgets it.
func (rs *oldStream) leave() bool {
	rs.mu.Lock()
	over := rs.ended
	rs.ended = true
	rs.mu.Unlock()
	if over {
		return false
	}
	rs.s.mu.Lock()
	for id, other := range rs.s.streams { // updates without an answer, too
		if other == rs {
			delete(rs.s.streams, id)
		}
	}
	rs.s.mu.Unlock()
	close(rs.gone)
	return true
}

// close ends the request regularly: FIN, and the peer's half is read to its end for a while.
func (rs *oldStream) close() {
	if rs.leave() {
		rs.cs.st.Close()
		rs.cs.st.SetReadDeadline(time.Now().Add(rs.s.cfg.DoneTimeout))
	}
}

// cancel ends it at once in both directions.
func (rs *oldStream) cancel(code ResetCode) {
	if rs.leave() {
		rs.cs.st.CancelWrite(code)
		rs.cs.st.CancelRead(code)
	}
}

func (s *Session) cancelRequest(id uint64, code ResetCode) {
	if rs := s.stream(id); rs != nil && rs.id == id {
		rs.cancel(code)
	}
}

// closeRequest ends the stream of a request that came to its end, in drafts that have one.
func (s *Session) closeRequest(id uint64) {
	if rs := s.stream(id); rs != nil && rs.id == id {
		rs.close()
	}
}

// stopSending is called when the sending half ended. If this side did not end it, the peer cancelled with STOP_SENDING.
func (rs *oldStream) stopSending() {
	publisher := rs.typ == typeSubscribe && rs.own || rs.typ == typePublish && !rs.own // the peer publishes: it ends with PUBLISH_DONE
	if rs.isOver() || rs.s.ctx.Err() != nil || publisher {
		return
	}
	code := wire.ResetCancelled
	var reset *StreamResetError
	// The half is over, so this writes nothing; every transport says why.
	if _, err := rs.cs.st.Write([]byte{0}); errors.As(err, &reset) {
		code = reset.Code
	}
	rs.s.spawn(func() {
		if err := rs.cancelled(code); err != nil {
			rs.s.fail(err)
		}
	})
}

// finished handles the end of the peer's half.
func (rs *oldStream) finished(err error) error {
	var we *wire.Error
	if errors.As(err, &we) {
		return err
	}
	var reset *StreamResetError
	isReset := errors.As(err, &reset)
	code := wire.ResetInternalError
	if isReset {
		code = reset.Code
	}
	rs.mu.Lock()
	calls := rs.calls
	rs.calls = nil
	rs.mu.Unlock()
	for _, id := range calls {
		rs.s.onReply(id, &wire.RequestError{RequestID: id, Code: requestCodeOf(code), Reason: "the stream of the request ended"})
	}
	switch {
	case rs.s.ctx.Err() != nil:
		return nil
	case rs.isOver():
		rs.cs.st.CancelRead(wire.ResetCancelled) // if its patience ended it
		return nil
	case errors.Is(err, io.EOF) && len(calls) == 0 && (!rs.own || rs.typ != typeSubscribe) && (rs.own || rs.typ != typePublish):
		// The peer has no more to say. The request lives on: subscriptions and fetches are cancelled with STOP_SENDING or
		// RESET_STREAM. (Not so a namespace or track of the peer, and a subscription without PUBLISH_DONE: below.)
		select {
		case <-rs.gone:
		case <-rs.s.ctx.Done():
		}
		return nil
	}
	return rs.cancelled(code)
}

// cancelled tells the session that the peer ended the request.
func (rs *oldStream) cancelled(code ResetCode) error { return rs.over(code, wire.ResetCancelled) }

// over ends the request, whoever wanted that, for a reason; the stream is reset with a code, unless it has ended.
func (rs *oldStream) over(code, reset ResetCode) error {
	s, id := rs.s, rs.id
	if !rs.leave() {
		return nil
	}
	defer func() {
		rs.cs.st.CancelWrite(reset)
		rs.cs.st.CancelRead(reset)
	}()
	switch {
	case rs.typ == typeSubscribe && rs.own, rs.typ == typePublish && !rs.own:
		return s.onPublishDone(&wire.PublishDone{
			RequestID: id, Code: doneFor(code), StreamCount: UnknownStreamCount, Reason: "publisher ended the request's stream",
		})
	case rs.typ == typeSubscribe, rs.typ == typePublish:
		return s.onUnsubscribe(&wire.Unsubscribe{RequestID: id})
	case !rs.own:
		s.mu.Lock()
		in := s.inbounds[id]
		s.mu.Unlock()
		if in != nil {
			in.cancel(ErrClosed)
		}
	}
	return nil
}

// doneFor is what the end of a subscription's stream says about it.
func doneFor(c ResetCode) DoneCode {
	switch c {
	case wire.ResetGoingAway:
		return wire.DoneGoingAway
	case wire.ResetTooFarBehind:
		return wire.DoneTooFarBehind
	case wire.ResetExpiredAuthToken:
		return wire.DoneExpired
	case wire.ResetExcessiveLoad:
		return wire.DoneExcessiveLoad
	case wire.ResetMalformedTrack:
		return wire.DoneMalformedTrack
	}
	return wire.DoneInternalError
}

// takeRequest serves a bidirectional stream of the peer that began with m.
func (s *Session) takeRequest(st Stream, cs *controlStream, m wire.Message) error {
	rs := &oldStream{s: s, cs: cs, gone: make(chan struct{})}
	var id *uint64
	var dispatch func() error
	switch m := m.(type) {
	case *wire.Subscribe:
		id, dispatch = &m.RequestID, func() error { return s.onSubscribe(m) }
	case *wire.Publish:
		id, dispatch = &m.RequestID, func() error { return s.onPublish(m) }
	default:
		return violation("%T at the start of a bidirectional stream", m)
	}
	rs.said = *id
	s.renumber(id)
	if !rs.register(*id, m.Type()) {
		return &wire.Error{Code: wire.InvalidRequestID, What: "request id used before"}
	}
	if err := dispatch(); err != nil {
		return err
	}
	return rs.serve()
}
