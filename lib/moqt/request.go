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
	// for the end of the request. *StreamResetError and *RequestError: the peer ended it. ErrClosed: this side did.
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

	mu       sync.Mutex // guards what follows; no other lock is taken under it
	owner    requestOwner
	answered bool             // the peer's: an answer was sent or is being sent; own: it came and was acted on
	over     bool             // this side is done with it
	awayOut  bool             // GOAWAY was sent
	updates  map[uint64]*call // own, without an answer, by id
}

// call is an update of this side.
type call struct {
	done chan struct{} // closed when it was answered
	err  error         // valid then
	gone bool          // nobody waits any more
}

// requestOwner is what a request is about. Its methods are called by the reader of the request's stream and must not wait for what
// another message brings.
type requestOwner interface {
	// take handles what the peer says after the answer, except updates, answers to those, and GOAWAY. An error closes the session.
	take(m wire.Message) error
	// ended is called when the peer ended the request, with an error of requestStream.next, or the session ended; at most once.
	ended(why error)
}

// updatable is a requestOwner that the peer may update.
type updatable interface {
	// update applies an update of the peer and accepts it, with what the answer says, or returns why it is refused.
	update(p wire.Parameters, accept func(wire.Parameters)) *RequestError
	// updateFailed is called after an update was refused.
	updateFailed(why *RequestError)
}

// Message.Type of the requests.
var (
	typeSubscribe          = (*wire.Subscribe)(nil).Type()
	typePublish            = (*wire.Publish)(nil).Type()
	typeFetch              = (*wire.Fetch)(nil).Type()
	typeTrackStatus        = (*wire.TrackStatus)(nil).Type()
	typePublishNamespace   = (*wire.PublishNamespace)(nil).Type()
	typeSubscribeNamespace = (*wire.SubscribeNamespace)(nil).Type()
	typeSubscribeTracks    = (*wire.SubscribeTracks)(nil).Type()
)

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
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	var err error
	if r.st, err = s.carrier.open(ctx, r); err != nil {
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

// requestID is where a message that begins a request has its id; nil: it begins none.
func requestID(m wire.Message) *uint64 {
	switch m := m.(type) {
	case *wire.Subscribe:
		return &m.RequestID
	case *wire.Publish:
		return &m.RequestID
	case *wire.Fetch:
		return &m.RequestID
	case *wire.TrackStatus:
		return &m.RequestID
	case *wire.PublishNamespace:
		return &m.RequestID
	case *wire.SubscribeNamespace:
		return &m.RequestID
	case *wire.SubscribeTracks:
		return &m.RequestID
	}
	return nil
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

var typeGoAway = (*wire.GoAway)(nil).Type()

// listing reports whether the request is for what namespaces or tracks there are.
func (r *request) listing() bool {
	return r.typ == typeSubscribeNamespace || r.typ == typeSubscribeTracks
}

// scoped reports whether the request is for a namespace.
func (r *request) scoped() bool {
	return r.typ == typePublishNamespace || r.listing()
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
			return r.finished(err)
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

// takeUpdate answers a REQUEST_UPDATE of the peer. It waits for the answer to the request, which comes first.
func (r *request) takeUpdate(m *wire.RequestUpdate) error {
	if err := unknownParameters(m.Parameters); err != nil {
		return err
	}
	if !r.own {
		select {
		case <-r.replied:
		case <-r.ctx.Done():
		}
	}
	if err := r.s.admit(m.RequestID, nil, r); err != nil {
		return err
	}
	_, refusal, err := r.s.inTokens.resolve(m.Parameters.Tokens)
	if err != nil {
		return err
	}
	defer func() {
		r.s.requests.updated(r)
		r.s.carrier.over()
	}()
	accept := func(p wire.Parameters) {
		r.s.count.request(received, requestOf(m), accepted)
		r.st.send(&wire.RequestOK{RequestID: m.RequestID, Parameters: p})
	}
	owner, is := r.ownedBy().(updatable)
	switch {
	case refusal != nil:
	case is:
		refusal = owner.update(m.Parameters, accept)
	default:
		accept(wire.Parameters{})
	}
	if refusal == nil {
		return nil
	}
	r.s.count.request(received, requestOf(m), refused)
	r.st.send(&wire.RequestError{RequestID: m.RequestID, Code: refusal.Code, Reason: refusal.Reason})
	if is {
		owner.updateFailed(refusal)
	}
	return nil
}

// update sends a REQUEST_UPDATE for an own request, or for one of the peer's that it publishes, and waits for the answer.
func (r *request) update(ctx context.Context, p wire.Parameters) error {
	ctx, cancel := r.s.responseContext(ctx)
	defer cancel()
	m := &wire.RequestUpdate{ExistingRequestID: r.id, Parameters: p}
	c := &call{done: make(chan struct{})}
	err := r.s.carrier.number(ctx, func(id uint64) error {
		m.RequestID = id
		r.mu.Lock()
		over := r.over
		if !over {
			r.updates[id] = c
		}
		r.mu.Unlock()
		if over {
			return errRequestOver
		}
		return r.st.send(m)
	})
	if err != nil {
		r.mu.Lock()
		delete(r.updates, m.RequestID)
		r.mu.Unlock()
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-r.s.ctx.Done():
		return context.Cause(r.s.ctx)
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-c.done: // the answer came just now
		return c.err
	default:
		c.gone = true
		r.s.gaveUp(ctx, requestOf(m))
		return context.Cause(ctx)
	}
}

// takeAnswer takes the answer to an update of this side.
func (r *request) takeAnswer(id uint64, m wire.Message) error {
	var err error
	if e, no := m.(*wire.RequestError); no {
		err = requestError(e)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.updates[id]
	if c == nil {
		if r.over {
			return nil // its answer was not waited for
		}
		return violation("%T for request %d, which awaits none", m, id)
	}
	delete(r.updates, id)
	r.answerUpdate(c, err)
	return nil
}

// answerUpdate ends an update of this side; mu is held.
func (r *request) answerUpdate(c *call, err error) {
	if !c.gone {
		r.s.count.request(sent, requestOf((*wire.RequestUpdate)(nil)), outcomeOf(err != nil))
	}
	c.err = err
	close(c.done)
}

// endsWithFIN reports whether the peer ends the request when it has no more to say: a track or namespace of its own, a listing. What
// it asked for goes on until it is cancelled.
func (r *request) endsWithFIN() bool {
	switch r.typ {
	case typeSubscribe:
		return r.own && !r.done
	case typePublish:
		return !r.own && !r.done
	case typePublishNamespace:
		return !r.own
	case typeFetch, typeTrackStatus:
		return false
	}
	return true
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
	r.mu.Unlock()
	if unanswered {
		r.stop(ErrClosed) // it ends when its handler has answered
		r.ownedBy().ended(why)
		return
	}
	if r.end() {
		r.ownedBy().ended(why)
		r.st.cancel(nil)
	}
}

func (r *request) isAnswered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answered
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

// begin takes a request of the peer that began with m: it checks it and starts what handles it. It must not block. The caller serves
// the request then.
func (r *request) begin(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Fetch:
		return r.beginFetch(m)
	case *wire.TrackStatus:
		return r.beginTrackStatus(m)
	case *wire.Subscribe:
		return r.beginSubscribe(m)
	case *wire.Publish:
		return r.beginPublish(m)
	case *wire.PublishNamespace:
		return r.beginPublishNamespace(m)
	case *wire.SubscribeNamespace:
		o := SubscribeNamespaceOptions{Publish: m.Options != wire.SubscribeNamespaces, NoListing: m.Options == wire.SubscribePublish}
		return r.beginNamespaces(m.Prefix, m.Parameters, o)
	case *wire.SubscribeTracks:
		return r.beginNamespaces(m.Prefix, m.Parameters, SubscribeNamespaceOptions{Publish: true, NoListing: true})
	}
	return violation("%T is no request", m)
}

// admit does what the beginnings of the peer's requests have in common. ok: it is to be handled; else it was refused.
func (r *request) admit(of object.TrackName, p wire.Parameters) (tokens []Token, ok bool, err error) {
	if err := unknownParameters(p); err != nil {
		return nil, false, err
	}
	if err := r.s.admit(r.id, r, nil); err != nil {
		return nil, false, err
	}
	tokens, refusal, err := r.s.inTokens.resolve(p.Tokens)
	if err != nil {
		return nil, false, err
	}
	if refusal == nil {
		refusal = r.s.refuseNewRequest(of)
	}
	if refusal != nil {
		r.s.spawn(func() { r.reject(refusal.Code, refusal.Reason) })
		return nil, false, nil
	}
	return tokens, true, nil
}

// handle runs the handler of a request of the peer in its own goroutine.
func (r *request) handle(f func(ctx context.Context)) {
	r.s.spawn(func() {
		f(r.ctx)
		r.reject(wire.RequestInternalError, "not answered")
	})
}

// answer sends the one answer a request of the peer gets.
func (r *request) answer(m wire.Message) error { return r.accept(m, nil) }

// accept sends it and gives the request an owner, unless that is nil.
func (r *request) accept(m wire.Message, owner requestOwner) error {
	r.mu.Lock()
	again := r.answered
	r.answered = true
	if !again && owner != nil {
		r.owner = owner
	}
	r.mu.Unlock()
	if again {
		return ErrAnswered
	}
	defer close(r.replied)
	_, no := m.(*wire.RequestError)
	r.s.count.request(received, r.asked, outcomeOf(no || r.ctx.Err() != nil))
	if r.ctx.Err() != nil && !no {
		// Withdrawn before it was answered. The peer still gets an answer, as the draft wants exactly one.
		r.st.send(&wire.RequestError{RequestID: r.id, Code: wire.RequestInternalError, Reason: "withdrawn"})
		r.close()
		return context.Cause(r.ctx)
	}
	if err := r.st.send(m); err != nil {
		r.cancel(&RequestError{Code: wire.RequestInternalError})
		return r.s.orCause(err)
	}
	return nil
}

// reject answers with REQUEST_ERROR and ends the request; if it was answered already nothing happens.
func (r *request) reject(code RequestCode, reason string) error {
	return r.refuse(&wire.RequestError{RequestID: r.id, Code: code, Reason: reason})
}

func (r *request) refuse(m *wire.RequestError) error {
	err := r.answer(m)
	if err != ErrAnswered {
		r.close()
	}
	return err
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
