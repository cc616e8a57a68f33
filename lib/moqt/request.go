package moqt

import (
	"context"
	"errors"
	"io"
	"sync"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// requestStream carries the messages of one request: a bidirectional stream of its own (ownstream.go), or in draft 16 a share of
// the control stream (controlmux.go). Messages have their request ids on this side of it, whatever the draft writes.
type requestStream interface {
	// send says something about the request, or nothing if the peer has ended it. It may block while the peer does not read, up to
	// Config.ControlTimeout.
	send(m wire.Message) error
	// next waits for what the peer says next; it is for one goroutine. io.EOF: the peer has no more to say; calling next again waits
	// for the end of the request. *StreamResetError and *RequestError: the peer ended it. ErrClosed: this side did. Calling next says that
	// what it returned before was acted on; after the peer ended the request, next waits until this side did, too.
	next(ctx context.Context) (wire.Message, error)
	// close ends the request in order: this side has no more to say.
	close()
	// cancel ends it at once in both directions; nil: it is not wanted any more.
	cancel(why *RequestError) error
}

// request is one request, of this side or of the peer, from its first message to its end: the same for all drafts.
//
// Its stream is read by one goroutine: of an own request by await until the answer came, then by serve. What the peer says is given
// to the owner, in order.
type request struct {
	movable
	s     *Session
	st    requestStream
	id    uint64
	said  uint64 // the peer's: id on the wire, if it was changed (Config.Lenient)
	typ   uint64 // Message.Type of what began it
	own   bool
	asked counter         // which request it is, for counting
	ctx   context.Context // ends with the request
	stop  context.CancelCauseFunc

	replied chan struct{} // closed when the peer's request was answered
	awayIn  bool          // GOAWAY came; the reader's
	done    bool          // PUBLISH_DONE came; the reader's

	// What follows is guarded by requestTable.mu: others look for it.
	track    string           // that SUBSCRIBE or PUBLISH is for
	turn     uint64           // SUBSCRIBE: which one of the peer's
	joinable bool             // SUBSCRIBE: filter LargestObject
	updating int              // updates of the peer that are being applied
	claimed  object.Namespace // the prefix that a namespace subscription of the peer has
	shapes   wire.Parameters  // of SUBSCRIBE_TRACKS: how its subscriptions begin

	mu       sync.Mutex // guards what follows; no other lock is taken under it
	owner    requestOwner
	answered bool             // the peer's: an answer was sent or is being sent; own: it came and was acted on
	over     bool             // this side is done with it
	awayOut  bool             // GOAWAY was sent
	updates  map[uint64]*call // own, without an answer, by id

	unanswered chan struct{} // one token per such update, if the peer bounds them; made under mu
}

// requestOwner is what a request is about. Its methods are called by the reader of the request's stream and must not wait for what
// another message brings.
type requestOwner interface {
	// take handles what the peer says after the answer, except updates, answers to those, and GOAWAY. An error closes the session.
	take(m wire.Message) error
	// ended is called when the peer ended the request, with an error of requestStream.next, or the session ended. For a request of the
	// peer that was not answered yet it may be called again.
	ended(why error)
}

// newRequest makes one that begins with m.
func (s *Session) newRequest(m wire.Message, own bool, owner requestOwner) *request {
	r := &request{
		movable: newMovable(s), s: s, typ: m.Type(), own: own, asked: requestOf(m), owner: owner,
		replied: make(chan struct{}), updates: map[uint64]*call{},
	}
	r.ctx, r.stop = context.WithCancelCause(s.ctx)
	return r
}

// nobody owns a request about which nothing more is to be said, or not yet.
type nobody struct{}

func (nobody) take(m wire.Message) error {
	return violation("%T about a request that has no such message", m)
}
func (nobody) ended(error) {}

// open sends m, with an id of its own. The owner is told of what comes from then on; the caller awaits the answer.
func (r *request) open(ctx context.Context, m wire.Message) error {
	s := r.s
	err := s.waitReady(ctx)
	if err == nil {
		r.st, err = s.carrier.open(ctx, r)
	}
	if err != nil {
		r.st = nil
		r.end()
		return err
	}
	err = s.carrier.number(ctx, func(id uint64) error {
		*requestID(m) = id
		if m, ok := m.(*wire.Publish); ok {
			m.TrackAlias = id
		}
		r.id = id
		s.requests.add(r)
		return r.st.send(m)
	})
	if err != nil {
		r.cancel(nil)
		return s.orCause(err)
	}
	return nil
}

// ask opens the request and awaits its answer.
func (r *request) ask(ctx context.Context, m wire.Message) (wire.Message, error) {
	ctx, cancel := r.s.responseContext(ctx)
	defer cancel()
	if err := r.open(ctx, m); err != nil {
		return nil, err
	}
	return r.await(ctx)
}

func (r *request) setOwner(o requestOwner) {
	r.mu.Lock()
	r.owner = o
	r.mu.Unlock()
}

func (r *request) ownedBy() requestOwner {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owner
}

// await waits for the answer to an own request (*RequestError: it was refused). Then the caller follows the request, or cancels it;
// if there is an error it is over.
func (r *request) await(ctx context.Context) (wire.Message, error) {
	m, err := r.next(ctx)
	for err == nil && m.Type() == typeGoAway {
		m, err = r.next(ctx)
	}
	var refusal *RequestError
	switch {
	case err == nil:
		if e, ok := m.(*wire.RequestError); ok {
			refusal = requestError(e)
		}
	case isViolation(err):
		return nil, r.broke(err)
	case r.s.ctx.Err() != nil:
		r.cancel(nil)
		return nil, context.Cause(r.s.ctx)
	case ctx.Err() != nil:
		r.s.gaveUp(ctx, r.asked)
		r.cancel(nil)
		return nil, context.Cause(ctx)
	case errors.Is(err, ErrClosed): // on this side, by somebody else
		r.s.count.request(sent, r.asked, unanswered)
		return nil, ErrClosed
	default:
		refusal = &RequestError{Code: requestCodeOf(resetOf(err)), Reason: "the stream of the request ended"}
	}
	r.s.count.request(sent, r.asked, outcomeOf(refusal != nil))
	if refusal != nil {
		r.close()
		r.follow()
		return nil, refusal
	}
	return m, nil
}

// broke ends an own request whose answer broke the protocol, and with it the session.
func (r *request) broke(err error) error {
	r.s.fail(err)
	r.cancel(nil)
	return r.s.orCause(err)
}

// follow takes what the peer says about a request, of an own one from its answer on.
func (r *request) follow() {
	if r.own {
		r.mu.Lock()
		r.answered = true
		r.mu.Unlock()
		r.s.requests.answered()
	}
	r.s.spawn(func() { r.s.fail(r.serve()) })
}

// next is the next message, after what every request has in common was done about it.
func (r *request) next(ctx context.Context) (wire.Message, error) {
	m, err := r.st.next(ctx)
	if err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *wire.RequestError:
		err = r.s.checkRedirect(m.Redirect, r.scoped())
	case *wire.GoAway:
		err = r.takeGoAway(m)
	}
	return m, err
}

// takeGoAway tells who owns the request that the peer wants it moved.
func (r *request) takeGoAway(m *wire.GoAway) error {
	if err := r.s.checkRequestGoAway(m, r.awayIn); err != nil {
		return err
	}
	r.s.log.Debug("peer wants a request moved", "request", r.id, "uri", m.NewSessionURI)
	r.awayIn = true
	r.movable.tell(m)
	return nil
}

// serve gives what the peer says to the owner, until the request's stream ended; it returns what the session is to be closed for.
func (r *request) serve() error {
	for {
		m, err := r.next(context.Background())
		switch {
		case err == io.EOF && !r.endsWithFIN():
			continue
		case err != nil:
			if err := r.finished(err); err != nil || r.isOver() {
				return err
			}
			continue // it was withdrawn and its handler has not answered yet
		}
		switch m := m.(type) {
		case *wire.GoAway:
		case *wire.RequestUpdate:
			err = r.takeUpdate(m)
		case *wire.RequestOK:
			err = r.takeAnswer(m.RequestID, m)
		case *wire.RequestError:
			err = r.takeAnswer(m.RequestID, m)
		case *wire.PublishDone:
			r.done = true
			err = r.ownedBy().take(m)
		default:
			err = r.ownedBy().take(m)
		}
		if err != nil {
			return err
		}
	}
}

// finished handles the end of the stream.
func (r *request) finished(err error) error {
	if isViolation(err) {
		return err
	}
	if r.s.ctx.Err() != nil {
		if r.end() {
			r.ownedBy().ended(context.Cause(r.s.ctx))
		}
		return nil
	}
	if !r.isOver() {
		r.leave(err)
	}
	return nil
}

// leave ends the request because the peer did.
func (r *request) leave(why error) {
	r.mu.Lock()
	unanswered := !r.own && !r.answered
	if unanswered { // it ends when its handler has answered, which is not to happen in between: who accepts it then ends nothing
		r.stop(ErrClosed)
	}
	r.mu.Unlock()
	if unanswered {
		r.ownedBy().ended(why)
		return
	}
	if r.end() {
		r.ownedBy().ended(why)
		r.st.cancel(nil)
	}
}

func (r *request) isOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// end marks the request as over, once, and forgets it.
func (r *request) end() bool {
	r.mu.Lock()
	over := r.over
	r.over = true
	for _, c := range r.updates {
		r.answerUpdate(c, &RequestError{Code: wire.RequestInternalError, Reason: "the request ended"})
	}
	clear(r.updates)
	r.mu.Unlock()
	if over {
		return false
	}
	r.s.requests.remove(r)
	r.stop(ErrClosed)
	return true
}

// close ends the request in order.
func (r *request) close() {
	if r.end() {
		r.st.close()
	}
}

// cancel ends it at once; nil: it is not wanted any more.
func (r *request) cancel(why *RequestError) error {
	if r.end() && r.st != nil {
		return r.st.cancel(why)
	}
	return nil
}

// resetOf is how the peer ended a stream.
func resetOf(why error) ResetCode {
	var reset *StreamResetError
	var revoked *RequestError
	switch {
	case errors.As(why, &reset):
		return reset.Code
	case errors.As(why, &revoked):
		return resetFor(revoked.Code)
	}
	return wire.ResetInternalError
}

func isViolation(err error) bool {
	var we *wire.Error
	return errors.As(err, &we)
}
