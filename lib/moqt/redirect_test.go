package moqt

import (
	"context"
	"errors"
	"testing"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// TestRedirect: every kind of request can be sent elsewhere, and only a server may name another URI.
func TestRedirect(t *testing.T) { inMemory(t, testRedirect) }

func testRedirect(t *draftT) {
	ctx := testContext(t)
	to := Redirect{URI: "moqt://elsewhere:4443", Track: object.TrackName{Namespace: object.Namespace{"ec", "other"}, Name: "ts"}}
	space := Redirect{Track: object.TrackName{Namespace: to.Track.Namespace}}
	wrong := func(err error) {
		if !errors.Is(err, wire.ErrValue) {
			t.Errorf("a redirect that may not be sent: %v", err)
		}
	}
	h := handlers{
		subscribe:   func(_ context.Context, r *SubscribeRequest) { r.Redirect(to, "moved") },
		fetch:       func(_ context.Context, r *FetchRequest) { r.Redirect(Redirect{URI: to.URI}, "moved") },
		trackStatus: func(_ context.Context, r *TrackStatusRequest) { r.Redirect(to, "moved") },
		publish:     func(_ context.Context, r *PublishRequest) { r.Redirect(to, "moved") },
		publishNamespace: func(_ context.Context, r *PublishNamespaceRequest) {
			wrong(r.Redirect(to, "a track's name"))
			r.Redirect(space, "moved")
		},
		subscribeNamespace: func(_ context.Context, r *SubscribeNamespaceRequest) {
			wrong(r.Redirect(to, "a track's name"))
			r.Redirect(space, "moved")
		},
	}
	fromClient := make(chan error, 1)
	c, s := pipePair(t, &Config{Handler: handlers{subscribe: func(_ context.Context, r *SubscribeRequest) {
		fromClient <- r.Redirect(to, "a client's URI")
		r.Redirect(Redirect{Track: to.Track}, "moved")
	}}}, &Config{Handler: h})
	check := func(what string, err error, want Redirect) {
		t.Helper()
		var e *RequestError
		switch {
		case !errors.As(err, &e) || e.Reason != "moved":
			t.Errorf("%s: %v", what, err)
		case !t.v.RequestStreams():
			if e.Code != wire.RequestDoesNotExist || e.Redirect != nil {
				t.Errorf("%s: %+v in a draft without redirects", what, e)
			}
		case e.Code != wire.RequestRedirect || e.Redirect == nil || e.Redirect.URI != want.URI || !e.Redirect.Track.Equal(want.Track):
			t.Errorf("%s: %+v", what, e)
		}
	}
	_, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	check("SUBSCRIBE", err, to)
	_, err = c.Fetch(ctx, testTrack, Location{}, Location{Group: 1}, FetchOptions{})
	check("FETCH", err, Redirect{URI: to.URI, Track: testTrack}) // its own name, which is always said
	_, err = c.TrackStatus(ctx, testTrack)
	check("TRACK_STATUS", err, to)
	_, err = c.Publish(ctx, testTrack, PublishOptions{})
	check("PUBLISH", err, to)
	_, err = c.PublishNamespace(ctx, testTrack.Namespace)
	check("PUBLISH_NAMESPACE", err, space)
	_, err = c.SubscribeNamespace(ctx, testTrack.Namespace, SubscribeNamespaceOptions{})
	check("SUBSCRIBE_NAMESPACE", err, space)
	_, err = s.Subscribe(ctx, testTrack, SubscribeOptions{})
	check("SUBSCRIBE of a server", err, Redirect{Track: to.Track})
	wrong(recv(t, fromClient))
}

// TestRedirectAttacks: redirects that end the session.
func TestRedirectAttacks(t *testing.T) {
	named := &Redirect{Track: object.TrackName{Namespace: object.Namespace{"a"}, Name: "b"}}
	for _, tt := range []struct {
		name   string
		server bool
		ask    func(s *Session)
		to     *Redirect
	}{
		{"a client's URI", true, func(s *Session) { s.Subscribe(s.ctx, testTrack, SubscribeOptions{}) }, &Redirect{URI: "moqt://a:1"}},
		{"a client's URI for a list", true, func(s *Session) { s.SubscribeNamespace(s.ctx, nil, SubscribeNamespaceOptions{}) }, &Redirect{URI: "moqt://a:1"}},
		{"a track's name for a namespace", false, func(s *Session) { s.PublishNamespace(s.ctx, testTrack.Namespace) }, named},
		{"a track's name for a list", false, func(s *Session) { s.SubscribeNamespace(s.ctx, nil, SubscribeNamespaceOptions{}) }, named},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := attack18(t, tt.server, nil)
			p.t = t
			asked := make(chan struct{})
			go func() { tt.ask(p.s); close(asked) }()
			cs, _ := p.accept()
			cs.send(&wire.RequestError{Code: wire.RequestRedirect, Redirect: tt.to})
			p.closed(wire.ProtocolViolation)
			recv(t, asked)
		})
	}
}
