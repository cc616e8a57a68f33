package moqt

import (
	"sync"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// leaving is what was said about the end of the session with GOAWAY, in both directions.
type leaving struct {
	came chan struct{} // closed when the peer sent it

	mu   sync.Mutex // guards what follows; no other lock is taken under it
	sent bool
	uri  string // the peer's, valid once came is closed
}

// say reports whether GOAWAY is to be sent: the first time.
func (l *leaving) say() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := !l.sent
	l.sent = true
	return first
}

func (l *leaving) said() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// hear takes the peer's; false: it is not the first.
func (l *leaving) hear(uri string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.heard() {
		return false
	}
	l.uri = uri
	close(l.came)
	return true
}

// heard reports whether the peer sent it.
func (l *leaving) heard() bool {
	select {
	case <-l.came:
		return true
	default:
		return false
	}
}

// to is where the peer wants this side, "" before it said so.
func (l *leaving) to() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.uri
}

// GoAway asks the peer to leave, a client for uri ("" for the same again) (§9.4). Afterwards new requests
// of the peer are refused. Closing the session when the peer took too long is up to the caller.
func (s *Session) GoAway(uri string) error {
	if s.client && uri != "" {
		return wire.ErrValue // a client may not send its server elsewhere
	}
	if err := s.waitReady(s.ctx); err != nil {
		return err
	}
	if !s.leaving.say() {
		return nil
	}
	m := &wire.GoAway{NewSessionURI: uri}
	s.ways.nameRequest(s, m)
	return s.orCause(s.control.send(m))
}

// GoingAway is closed when the peer sent GOAWAY; GoAwayURI then tells where to go.
func (s *Session) GoingAway() <-chan struct{} { return s.leaving.came }

// GoAwayURI is the New Session URI of the peer's GOAWAY, "" for the address in use.
func (s *Session) GoAwayURI() string { return s.leaving.to() }

func (s *Session) onGoAway(m *wire.GoAway) error {
	if !s.client && m.NewSessionURI != "" {
		return violation("GOAWAY with a URI from a client")
	}
	if err := s.ways.checkNamed(s, m); err != nil {
		return err
	}
	if !s.leaving.hear(m.NewSessionURI) {
		return violation("GOAWAY twice")
	}
	return nil
}

// refuseNewRequest says why a request about a name is not for a handler, if so. After sending GOAWAY new requests are refused.
func (s *Session) refuseNewRequest(of object.TrackName) *RequestError {
	if s.ways.reserved(of.Namespace) {
		return &RequestError{Code: wire.RequestDoesNotExist, Reason: "no such track of the session"}
	}
	if s.leaving.said() {
		return &RequestError{Code: wire.RequestGoingAway, Reason: "going away"}
	}
	return nil
}
