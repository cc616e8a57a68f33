package moqt

import (
	"fmt"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// Relocation is a GOAWAY on the stream of one request (draft-18 §10.4): the peer wants the request made again elsewhere and
// this one ended. Nothing has ended yet.
type Relocation struct {
	URI     string        // of the session to make it on; "" is the one it is on
	Timeout time.Duration // after which the peer ends it; 0: it did not say, but would have it soon
}

// GoAwayError is a Relocation of a namespace subscription, which goes on.
type GoAwayError struct{ Relocation }

func (e *GoAwayError) Error() string {
	return fmt.Sprintf("the peer wants the request made at %q", e.URI)
}

// movable is a request that the peer can ask to be made elsewhere.
type movable struct {
	home *Session
	away chan struct{}
	to   Relocation
}

func newMovable(s *Session) movable { return movable{home: s, away: make(chan struct{})} }

// Session is the session the request was made on.
func (m *movable) Session() *Session { return m.home }

// GoingAway is closed when the peer wants the request made elsewhere, with GOAWAY on its stream. Draft 16 has no such thing.
func (m *movable) GoingAway() <-chan struct{} { return m.away }

// Relocation says where to; it is valid once GoingAway is closed.
func (m *movable) Relocation() Relocation {
	select {
	case <-m.away:
		return m.to
	default:
		return Relocation{}
	}
}

func relocation(m *wire.GoAway) Relocation {
	return Relocation{URI: m.NewSessionURI, Timeout: duration(m.Timeout)}
}

// tell who owns the request; once.
func (m *movable) tell(to *wire.GoAway) {
	m.to = relocation(to)
	close(m.away)
}

// goAway asks the peer to make its request elsewhere, or the publisher to publish there, and ends it after some patience; 0: it does not.
func (r *request) goAway(uri string, patience time.Duration) error {
	s := r.s
	if s.client && uri != "" {
		return wire.ErrValue // a client may not send its server elsewhere
	}
	r.mu.Lock()
	again, over := r.awayOut, r.over
	r.awayOut = true
	r.mu.Unlock()
	switch {
	case over:
		return s.orCause(errRequestOver)
	case again:
		return nil
	}
	if err := r.st.send(&wire.GoAway{NewSessionURI: uri, Timeout: milliseconds(patience)}); err != nil {
		return s.orCause(err)
	}
	if patience > 0 {
		s.spawn(func() { r.wait(patience) })
	}
	return nil
}

// wait ends a request that was not moved in time.
func (r *request) wait(patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-r.ctx.Done():
		return
	case <-timer.C:
	}
	away := &RequestError{Code: wire.RequestGoingAway, Reason: "not moved in time"}
	if r.end() {
		r.ownedBy().ended(away)
		r.st.cancel(away)
	}
}

// checkRequestGoAway says what is wrong with a GOAWAY on the stream of a request; again: it is not the first.
func (s *Session) checkRequestGoAway(m *wire.GoAway, again bool) error {
	switch {
	case m.RequestID != nil || again:
		return violation("GOAWAY with a request id, or twice, on the stream of a request")
	case !s.client && m.NewSessionURI != "":
		return violation("GOAWAY with a URI from a client")
	}
	return nil
}

// GoAway asks the subscriber to make its subscription elsewhere: at uri, which only a server may name, or on this session
// anew. If it has not left after some patience, the subscription ends; 0: it does not. From draft 18 on.
func (p *Publication) GoAway(uri string, patience time.Duration) error {
	return p.r.goAway(uri, patience)
}

// GoAway asks the publisher of a track to publish it elsewhere, as Publication.GoAway does.
func (sub *Subscription) GoAway(uri string, patience time.Duration) error {
	return sub.r.goAway(uri, patience)
}

// GoAway asks the publisher of a namespace to publish it elsewhere, as Publication.GoAway does.
func (r *PublishNamespaceRequest) GoAway(uri string, patience time.Duration) error {
	return r.in.goAway(uri, patience)
}

// GoAway asks the subscriber to fetch what is left elsewhere, as Publication.GoAway does; of a fill, its whole subscription.
func (w *FetchWriter) GoAway(uri string, patience time.Duration) error {
	return w.by.goAway(uri, patience)
}

// GoAway asks the subscriber to ask for namespaces elsewhere, as Publication.GoAway does.
func (a *NamespaceAnnouncer) GoAway(uri string, patience time.Duration) error {
	return a.r.in.goAway(uri, patience)
}
