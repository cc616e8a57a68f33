package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

const (
	// maxRedirects is how often one request is sent on.
	maxRedirects = 5
	// maxPlaces bounds the relays that requests were sent to, besides the one that was dialed.
	maxPlaces = 64
)

// Session is a session with a relay. Its requests go where the relay sends them (REDIRECT, draft-18 §10.6.1): under another
// name, or to another relay, to which a session is opened that lasts as long as this one. What is returned then belongs to
// that session, and errors of a place that may not be gone to are *Error.
type Session struct {
	*moqt.Session
	at   string // address
	away *places
}

// Subscribe is moqt.Session.Subscribe, wherever the relay sends it.
func (s *Session) Subscribe(ctx context.Context, track object.TrackName, o moqt.SubscribeOptions) (*moqt.Subscription, error) {
	return follow(ctx, s, track, func(sess *moqt.Session, t object.TrackName) (*moqt.Subscription, error) {
		return sess.Subscribe(ctx, t, o)
	})
}

// Fetch is moqt.Session.Fetch, wherever the relay sends it.
func (s *Session) Fetch(ctx context.Context, track object.TrackName, start, end moqt.Location, o moqt.FetchOptions) (*moqt.FetchReader, error) {
	return follow(ctx, s, track, func(sess *moqt.Session, t object.TrackName) (*moqt.FetchReader, error) {
		return sess.Fetch(ctx, t, start, end, o)
	})
}

// TrackStatus is moqt.Session.TrackStatus, wherever the relay sends it.
func (s *Session) TrackStatus(ctx context.Context, track object.TrackName, tokens ...moqt.Token) (moqt.TrackInfo, error) {
	return follow(ctx, s, track, func(sess *moqt.Session, t object.TrackName) (moqt.TrackInfo, error) {
		return sess.TrackStatus(ctx, t, tokens...)
	})
}

// SubscribeNamespace is moqt.Session.SubscribeNamespace, wherever the relay sends it.
func (s *Session) SubscribeNamespace(ctx context.Context, prefix object.Namespace, o moqt.SubscribeNamespaceOptions) (*moqt.NamespaceSubscription, error) {
	return follow(ctx, s, object.TrackName{Namespace: prefix}, func(sess *moqt.Session, t object.TrackName) (*moqt.NamespaceSubscription, error) {
		return sess.SubscribeNamespace(ctx, t.Namespace, o)
	})
}

// PublishNamespace is moqt.Session.PublishNamespace, wherever the relay sends it, but never under another name: that would
// be another broadcast.
func (s *Session) PublishNamespace(ctx context.Context, ns object.Namespace, tokens ...moqt.Token) (*moqt.NamespacePublication, error) {
	return follow(ctx, s, object.TrackName{Namespace: ns}, func(sess *moqt.Session, t object.TrackName) (*moqt.NamespacePublication, error) {
		if !slices.Equal(t.Namespace, ns) {
			return nil, s.refuse("publish "+t.Namespace.String(), "which is another namespace", exit.Protocol)
		}
		return sess.PublishNamespace(ctx, ns, tokens...)
	})
}

// Publish is moqt.Session.Publish, wherever the relay sends it, but never under another name. (The draft has REDIRECT in answer
// to PUBLISH_NAMESPACE only.)
func (s *Session) Publish(ctx context.Context, track object.TrackName, o moqt.PublishOptions) (*moqt.Publication, error) {
	return follow(ctx, s, track, func(sess *moqt.Session, t object.TrackName) (*moqt.Publication, error) {
		if !t.Equal(track) {
			return nil, s.refuse("publish "+t.String(), "which is another track", exit.Protocol)
		}
		return sess.Publish(ctx, track, o)
	})
}

// Request is one that its receiver may send elsewhere with GOAWAY on its stream (draft-18 §10.4).
type Request interface {
	Session() *moqt.Session
	Relocation() moqt.Relocation
}

// Move gives the session on which a request that was sent elsewhere is to be made again: that of another relay, or its own,
// where it must end first.
func (s *Session) Move(ctx context.Context, r Request) (*Session, error) {
	at := s.away.address(r.Session())
	to := cmp.Or(r.Relocation().URI, at)
	s.away.c.Log.Info("the relay wants a request made elsewhere", "relay", at, "to", to)
	if to == at {
		return &Session{r.Session(), at, s.away}, nil
	}
	sess, err := s.away.session(ctx, at, to)
	if err != nil {
		return nil, err
	}
	s.away.settled(to)
	return &Session{sess, to, s.away}, nil
}

// refuse is the error of a place that is not gone to.
func (s *Session) refuse(to, why string, code int) error {
	return &Error{s.at, fmt.Errorf("sends us to %s, %s", to, why), code, ""}
}

// follow makes a request on s, and again where it is sent to.
func follow[T any](ctx context.Context, s *Session, name object.TrackName, ask func(*moqt.Session, object.TrackName) (T, error)) (T, error) {
	var none T
	type place struct{ at, name string }
	seen := map[place]bool{}
	sess, at, first := s.Session, s.at, name
	for hops := 0; ; hops++ {
		seen[place{at, name.String()}] = true
		got, err := ask(sess, name)
		to, ok := redirect(err)
		if !ok {
			if err == nil && at != s.at && name.Equal(first) {
				s.away.settled(at)
			}
			return got, err
		}
		from := at
		if to.URI != "" {
			at = to.URI
		}
		if len(to.Track.Namespace) > 0 || to.Track.Name != "" {
			name = to.Track
		}
		s.away.c.Log.Info("the relay sends a request elsewhere", "relay", from, "to", at, "name", name.String())
		switch {
		case seen[place{at, name.String()}]:
			return none, s.refuse(at, "from where we came", exit.Protocol)
		case hops == maxRedirects:
			return none, s.refuse(at, fmt.Sprintf("after %d other places", maxRedirects), exit.Protocol)
		case at == from:
			continue
		}
		if sess, err = s.away.session(ctx, from, at); err != nil {
			return none, err
		}
	}
}

// redirect is where a request may be made instead.
func redirect(err error) (to moqt.Redirect, ok bool) {
	r, is := err.(*moqt.RequestError)
	if !is || r.Code != wire.RequestRedirect || r.Redirect == nil {
		return to, false
	}
	return *r.Redirect, true
}

// places are the relays that requests were sent to.
type places struct {
	c    Config
	ctx  context.Context // ends with the work
	runs sync.WaitGroup

	mu   sync.Mutex // guards what follows
	open map[string]*place
	at   map[*moqt.Session]string // address of each session
	last string                   // where a request was sent to under its own name
}

// place is a session with one of them.
type place struct {
	ready chan struct{} // closed when the others are valid
	sess  *moqt.Session
	err   error
}

// newPlaces begins with the relay that was dialed.
func newPlaces(ctx context.Context, c Config, relay string, sess *moqt.Session) *places {
	first := &place{ready: make(chan struct{}), sess: sess}
	close(first.ready)
	return &places{c: c, ctx: ctx, open: map[string]*place{relay: first}, at: map[*moqt.Session]string{sess: relay}}
}

// address returns the address of a session, for as long as the session lasts.
func (p *places) address(sess *moqt.Session) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cmp.Or(p.at[sess], p.c.Relay)
}

func (p *places) settled(at string) {
	p.mu.Lock()
	p.last = at
	p.mu.Unlock()
}

// session gives that with the relay at an address, to which the one at another sends us.
func (p *places) session(ctx context.Context, from, to string) (*moqt.Session, error) {
	if !mayMove(from, to) {
		return nil, &Error{from, fmt.Errorf("sends us to %q, which is not encrypted or on this host", to), exit.NotAllowed, ""}
	}
	p.mu.Lock()
	at := p.open[to]
	if at == nil {
		if len(p.open) > maxPlaces {
			p.mu.Unlock()
			return nil, &Error{from, fmt.Errorf("sends us to %s, and to more than %d other places", to, maxPlaces), exit.Protocol, ""}
		}
		at = &place{ready: make(chan struct{})}
		p.open[to] = at
		p.runs.Go(func() { p.run(to, at) })
	}
	p.mu.Unlock()
	select {
	case <-at.ready:
		if at.err != nil {
			return nil, lostError{fmt.Errorf("sent to %s: %w", to, at.err)}
		}
		return at.sess, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// run keeps a place open until it is lost or leaves, which its requests notice, or the work is done.
func (p *places) run(to string, at *place) {
	forget := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.open[to] == at {
			delete(p.open, to)
		}
	}
	defer forget()
	at.sess, at.err = p.c.Dial(p.ctx, to, p.c.TLS, &p.c.Session)
	if at.err == nil {
		p.mu.Lock()
		p.at[at.sess] = to
		p.mu.Unlock()
	}
	close(at.ready)
	if at.err != nil {
		return
	}
	defer func() {
		p.mu.Lock()
		delete(p.at, at.sess)
		p.mu.Unlock()
	}()
	p.runs.Go(func() {
		select {
		case <-at.sess.GoingAway():
			forget() // later requests get a new session
		case <-at.sess.Context().Done():
		}
	})
	at.sess.Run(p.ctx)
}

// Over makes a Session of one that the other side dialed. Its requests go nowhere else.
func Over(ctx context.Context, sess *moqt.Session, name string, log *slog.Logger) *Session {
	c := Config{Relay: name, Log: log, Dial: func(context.Context, string, *tls.Config, *moqt.Config) (*moqt.Session, error) {
		return nil, errors.New("who came here sends nobody elsewhere")
	}}
	return &Session{sess, name, newPlaces(ctx, c, name, sess)}
}
