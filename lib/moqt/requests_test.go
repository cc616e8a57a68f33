package moqt

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

func TestRequestsNobodyHandlesAreNotSupported(t *testing.T) {
	everywhere(t, testRequestsNobodyHandlesAreNotSupported)
}

func testRequestsNobodyHandlesAreNotSupported(t *draftT) {
	ctx := testContext(t)
	c, _ := pipePair(t, nil, nil)
	for name, request := range map[string]func() error{
		"SUBSCRIBE": func() error { _, err := c.Subscribe(ctx, testTrack, SubscribeOptions{}); return err },
		"FETCH": func() error {
			_, err := c.Fetch(ctx, testTrack, Location{}, Location{Group: 1}, FetchOptions{})
			return err
		},
		"TRACK_STATUS":        func() error { _, err := c.TrackStatus(ctx, testTrack); return err },
		"PUBLISH":             func() error { _, err := c.Publish(ctx, testTrack, PublishOptions{}); return err },
		"PUBLISH_NAMESPACE":   func() error { _, err := c.PublishNamespace(ctx, testTrack.Namespace); return err },
		"SUBSCRIBE_NAMESPACE": func() error { _, err := c.SubscribeNamespace(ctx, nil, SubscribeNamespaceOptions{}); return err },
	} {
		var e *RequestError
		if err := request(); !errors.As(err, &e) || e.Code != wire.RequestNotSupported {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHandlerThatDoesNotAnswer(t *testing.T) { everywhere(t, testHandlerThatDoesNotAnswer) }

func testHandlerThatDoesNotAnswer(t *draftT) {
	ctx := testContext(t)
	c, _ := pipePair(t, nil, &Config{Handler: handlers{
		subscribe: func(context.Context, *SubscribeRequest) {},
		publish:   func(context.Context, *PublishRequest) {},
	}})
	var e *RequestError
	if _, err := c.Subscribe(ctx, testTrack, SubscribeOptions{}); !errors.As(err, &e) || e.Code != wire.RequestInternalError {
		t.Errorf("SUBSCRIBE: %v", err)
	}
	if _, err := c.Publish(ctx, testTrack, PublishOptions{}); !errors.As(err, &e) || e.Code != wire.RequestInternalError {
		t.Errorf("PUBLISH: %v", err)
	}
}

func TestGoAway(t *testing.T) { everywhere(t, testGoAway) }

func testGoAway(t *draftT) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, s := pipePair(t, nil, &Config{Handler: h})
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.GoAway("moqt://elsewhere/"); err != nil {
		t.Fatal(err)
	}
	recv(t, c.GoingAway())
	if c.GoAwayURI() != "moqt://elsewhere/" {
		t.Errorf("URI %q", c.GoAwayURI())
	}
	if _, err := c.TrackStatus(ctx, testTrack); err != ErrGoingAway {
		t.Errorf("request after GOAWAY: %v", err)
	}
	writeObject(t, recv(t, pubs), 1, 1, "still served")
	if _, _, b := readObject(t, sub); b != "still served" {
		t.Errorf("%q", b)
	}
	if err := c.GoAway("moqt://nowhere/"); err == nil {
		t.Error("a client must not name a URI")
	}
	if err := c.GoAway(""); err != nil {
		t.Error(err)
	}
	recv(t, s.GoingAway())
}

func TestRequestCredit(t *testing.T) { everywhere(t, testRequestCredit) }

func testRequestCredit(t *draftT) {
	ctx := testContext(t)
	c, _ := pipePair(t, nil, &Config{MaxRequests: 3, Handler: handlers{trackStatus: func(_ context.Context, r *TrackStatusRequest) { r.Accept(TrackInfo{}) }}})
	for i := range 100 { // many more than the window: MAX_REQUEST_ID keeps step
		if _, err := c.TrackStatus(ctx, testTrack); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
}

func TestRequestsWaitForCredit(t *testing.T) { everywhere(t, testRequestsWaitForCredit) }

func testRequestsWaitForCredit(t *draftT) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, _ := pipePair(t, nil, &Config{MaxRequests: 2, Handler: h})
	track := func(i int) object.TrackName {
		return object.TrackName{Namespace: testTrack.Namespace, Name: fmt.Sprint(i)}
	}
	first, err := c.Subscribe(ctx, track(0), SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(ctx, track(1), SubscribeOptions{}); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := c.Subscribe(short, track(2), SubscribeOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("third of two requests: %v", err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := c.Subscribe(ctx, track(3), SubscribeOptions{})
		waiting <- err
	}()
	first.Unsubscribe()
	p := recv(t, pubs)
	if p.Track().Name != "0" { // handlers run side by side
		p = recv(t, pubs)
	}
	done(t, p.Context())
	if err := recv(t, waiting); err != nil {
		t.Error(err)
	}
}

func TestAuthorize(t *testing.T) {
	ctx := testContext(t)
	conf := &Config{Authorize: func(_ context.Context, p PeerInfo) error {
		if len(p.Tokens) == 1 && string(p.Tokens[0].Value) == "open sesame" && p.Path == "/cave" {
			return nil
		}
		return errors.New("who are you")
	}}
	for _, tt := range []struct {
		token string
		want  SessionCode
	}{{"open sesame", wire.NoError}, {"barley", wire.Unauthorized}} {
		a, b := Pipe(PipeOptions{Version: wire.Draft16})
		c := NewClient(a, "mountain", "/cave", &Config{Tokens: []Token{{AliasType: wire.TokenUseValue, Value: []byte(tt.token)}}})
		s := NewServer(b, conf)
		run(t, s)
		err := c.Handshake(ctx)
		var se *SessionError
		if tt.want == wire.NoError && err != nil || tt.want != wire.NoError && (!errors.As(err, &se) || se.Code != tt.want || !se.Remote) {
			t.Errorf("token %q: %v", tt.token, err)
		}
		run(t, c)
	}
}

func TestTokenAliases(t *testing.T) { everywhere(t, testTokenAliases) }

func testTokenAliases(t *draftT) {
	ctx := testContext(t)
	seen := make(chan []Token, 1)
	c, _ := pipePair(t, nil, &Config{Handler: handlers{trackStatus: func(_ context.Context, r *TrackStatusRequest) {
		seen <- r.Tokens
		r.Accept(TrackInfo{})
	}}})
	value := Token{AliasType: wire.TokenUseValue, Type: 1, Value: []byte("secret")}
	for _, tt := range []struct{ send, want []Token }{
		{[]Token{{AliasType: wire.TokenRegister, Alias: 5, Type: 1, Value: []byte("secret")}}, []Token{value}},
		{[]Token{{AliasType: wire.TokenUseAlias, Alias: 5}}, []Token{value}},
		{[]Token{{AliasType: wire.TokenDelete, Alias: 5}}, nil},
		{[]Token{{AliasType: wire.TokenRegister, Alias: 5, Type: 1, Value: []byte("secret")}}, []Token{value}},
	} {
		if _, err := c.TrackStatus(ctx, testTrack, tt.send...); err != nil {
			t.Fatal(err)
		}
		if got := recv(t, seen); fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%v resolved to %v", tt.send, got)
		}
	}
	var e *RequestError
	if _, err := c.TrackStatus(ctx, testTrack, value, value); !errors.As(err, &e) || e.Code != wire.RequestMalformedAuthToken {
		t.Errorf("the same token twice: %v", err)
	}
}

func TestCloseReachesThePeer(t *testing.T) {
	h, pubs := accepting(TrackInfo{})
	a, b := Pipe(PipeOptions{Version: wire.Draft16})
	c, s := NewClient(a, "", "/", nil), NewServer(b, &Config{Handler: h})
	cEnd, sEnd := run(t, c), run(t, s)
	sub, err := c.Subscribe(testContext(t), testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	s.Close(wire.InternalError, "out of coffee")
	var se *SessionError
	if err := recv(t, cEnd); !errors.As(err, &se) || !se.Remote || se.Code != wire.InternalError || se.Reason != "out of coffee" {
		t.Errorf("client ends with %v", err)
	}
	if err := recv(t, sEnd); !errors.As(err, &se) || se.Remote {
		t.Errorf("server ends with %v", err)
	}
	if _, err := sub.AcceptSubgroup(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("subscription ends with %v", err)
	}
	if err := done(t, p.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("publication ends with %v", err)
	}
	if _, err := c.Subscribe(context.Background(), testTrack, SubscribeOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("request on a closed session: %v", err)
	}
}
