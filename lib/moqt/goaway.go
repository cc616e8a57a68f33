package moqt

import (
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// GoAway asks the peer to leave, a client for uri ("" for the same again) (§9.4). Afterwards new requests
// of the peer are refused. Closing the session when the peer took too long is up to the caller.
func (s *Session) GoAway(uri string) error {
	if s.client && uri != "" {
		return wire.ErrValue // a client may not send its server elsewhere
	}
	if err := s.waitReady(s.ctx); err != nil {
		return err
	}
	s.mu.Lock()
	again := s.goaway.sent
	s.goaway.sent = true
	s.mu.Unlock()
	if again {
		return nil
	}
	m := &wire.GoAway{NewSessionURI: uri}
	if s.v.RequestStreams() {
		s.mu.Lock()
		next := s.requests.peerNext
		s.mu.Unlock()
		m.RequestID = &next
	}
	return s.orCause(s.control.send(m))
}

// GoingAway is closed when the peer sent GOAWAY; GoAwayURI then tells where to go.
func (s *Session) GoingAway() <-chan struct{} { return s.goaway.ch }

// GoAwayURI is the New Session URI of the peer's GOAWAY, "" for the address in use.
func (s *Session) GoAwayURI() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.goaway.uri
}

func (s *Session) onGoAway(m *wire.GoAway) error {
	if !s.client && m.NewSessionURI != "" {
		return violation("GOAWAY with a URI from a client")
	}
	if s.v.RequestStreams() {
		if m.RequestID == nil {
			return violation("GOAWAY without a request id on the control stream")
		}
		own := uint64(1)
		if s.client {
			own = 0
		}
		if *m.RequestID&1 != own {
			return &wire.Error{Code: wire.InvalidRequestID, What: "GOAWAY with a request id of its sender"}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.goaway.received {
		return violation("GOAWAY twice")
	}
	s.goaway.received, s.goaway.uri = true, m.NewSessionURI
	close(s.goaway.ch)
	// Requests waiting for credit will not be sent any more.
	close(s.requests.changed)
	s.requests.changed = make(chan struct{})
	return nil
}

// refuseNewRequest says why a request about a name is not for a handler, if so. After sending GOAWAY new requests are refused. Draft 16 has no code of its own for it.
func (s *Session) refuseNewRequest(of object.TrackName) *RequestError {
	if ns := of.Namespace; s.v.Has(wire.SessionTracks) && len(ns) > 0 && (ns[0] == ".session" || ns[0] == ".") {
		return &RequestError{Code: wire.RequestDoesNotExist, Reason: "no such track of the session"} // draft-18 §3.2.2
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.goaway.sent {
		if s.v.RequestStreams() {
			return &RequestError{Code: wire.RequestGoingAway, Reason: "going away"}
		}
		return &RequestError{Code: wire.RequestInternalError, Reason: "going away"}
	}
	return nil
}
