package moqt

import (
	"context"
	"errors"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// carrier is how requests travel in the draft of a session: ownStreams or controlMux.
type carrier interface {
	// handshake exchanges setup messages; from its end on, streams of data are accepted.
	handshake(ctx context.Context) error
	// open makes the stream of a request of this side.
	open(ctx context.Context, r *request) (requestStream, error)
	// number takes the next request id for what send sends, waiting for credit where there is such a thing.
	number(ctx context.Context, send func(id uint64) error) error
	// accept serves a bidirectional stream that the peer opened, to its end.
	accept(st Stream) error
	// control takes a message of the control stream but GOAWAY; it must not wait for the peer.
	control(m wire.Message) error
	// controlEnded takes the end of the peer's control stream.
	controlEnded() error
	// credits counts requests of both sides; nil: streams bound its requests.
	credits() *credit
	// over gives the peer credit for one more request.
	over()
	// overtake is how long a request may wait for the end of one that it overtook.
	overtake() time.Duration
	// anyIDs: ids of the peer's requests are not to be relied on.
	anyIDs() bool
}

// ownStreams carries each request on a stream of its own (draft-18 §3.3).
type ownStreams struct {
	s *Session
	// numbered: as draft 16 has it for SUBSCRIBE_NAMESPACE, which alone has a stream, answers have an id and updates do not come.
	numbered bool
}

func (o ownStreams) open(ctx context.Context, r *request) (requestStream, error) {
	if o.s.leaving.heard() {
		return nil, ErrGoingAway
	}
	st, err := o.s.conn.OpenStream(ctx)
	if err != nil {
		return nil, o.s.orCause(err)
	}
	return o.stream(o.s.controlStream(st), r), nil
}

func (o ownStreams) number(_ context.Context, send func(id uint64) error) error {
	if o.s.leaving.heard() {
		return ErrGoingAway
	}
	if err := send(o.s.requests.nextID()); err != nil {
		return o.s.orCause(err)
	}
	return nil
}

func (o ownStreams) controlEnded() error {
	if o.s.cfg.Lenient {
		<-o.s.ctx.Done()
		return context.Cause(o.s.ctx)
	}
	return errControlClosed
}

func (o ownStreams) handshake(ctx context.Context) error { return o.s.handshakeOnStreams(ctx) }

// anyIDs: the id on the wire is for joining fetches alone.
func (o ownStreams) anyIDs() bool { return o.s.cfg.Lenient }

func (ownStreams) control(m wire.Message) error { return violation("%T on the control stream", m) }
func (ownStreams) credits() *credit             { return nil }
func (ownStreams) over()                        {}
func (ownStreams) overtake() time.Duration      { return time.Second }

var errControlClosed = violation("control stream closed")

// admit takes the id of a request of the peer, or of an update.
func (s *Session) admit(id uint64, opens, updates *request) error {
	err := s.requests.admit(id, s.carrier.credits().bound(), opens, updates)
	if we := (*wire.Error)(nil); errors.As(err, &we) && we.Code == wire.TooManyRequests {
		s.count.limit(limitRequests)
	}
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

// orCause prefers the reason why the session ended over the error it led to.
func (s *Session) orCause(err error) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return err
}
