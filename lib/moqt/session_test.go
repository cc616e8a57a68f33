package moqt

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"every.channel/ec/lib/moqt/transport"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handlers is a Handler made of functions; nil refuses.
type handlers struct {
	subscribe          func(context.Context, *SubscribeRequest)
	fetch              func(context.Context, *FetchRequest)
	trackStatus        func(context.Context, *TrackStatusRequest)
	subscribeNamespace func(context.Context, *SubscribeNamespaceRequest)
	publishNamespace   func(context.Context, *PublishNamespaceRequest)
	publish            func(context.Context, *PublishRequest)
}

func (h handlers) Subscribe(ctx context.Context, r *SubscribeRequest) {
	if h.subscribe == nil {
		UnimplementedHandler{}.Subscribe(ctx, r)
		return
	}
	h.subscribe(ctx, r)
}

func (h handlers) Fetch(ctx context.Context, r *FetchRequest) {
	if h.fetch == nil {
		UnimplementedHandler{}.Fetch(ctx, r)
		return
	}
	h.fetch(ctx, r)
}

func (h handlers) TrackStatus(ctx context.Context, r *TrackStatusRequest) {
	if h.trackStatus == nil {
		UnimplementedHandler{}.TrackStatus(ctx, r)
		return
	}
	h.trackStatus(ctx, r)
}

func (h handlers) SubscribeNamespace(ctx context.Context, r *SubscribeNamespaceRequest) {
	if h.subscribeNamespace == nil {
		UnimplementedHandler{}.SubscribeNamespace(ctx, r)
		return
	}
	h.subscribeNamespace(ctx, r)
}

func (h handlers) PublishNamespace(ctx context.Context, r *PublishNamespaceRequest) {
	if h.publishNamespace == nil {
		UnimplementedHandler{}.PublishNamespace(ctx, r)
		return
	}
	h.publishNamespace(ctx, r)
}

func (h handlers) Publish(ctx context.Context, r *PublishRequest) {
	if h.publish == nil {
		UnimplementedHandler{}.Publish(ctx, r)
		return
	}
	h.publish(ctx, r)
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// runs are the sessions of tests that run: for each a channel that is closed when Run returned.
var runs sync.Map

// ended waits until Run of a session returned.
func ended(t testing.TB, s *Session) {
	t.Helper()
	end, _ := runs.Load(s)
	recv(t, end.(chan struct{}))
}

// run runs a session until the test is over and returns the way to wait for its end.
func run(t testing.TB, s *Session) <-chan error {
	done := make(chan error, 1)
	ended := make(chan struct{})
	runs.Store(s, ended)
	go func() {
		done <- s.Run(context.Background())
		close(ended)
	}()
	t.Cleanup(func() {
		s.Close(wire.NoError, "")
		<-ended
		runs.Delete(s)
	})
	return done
}

// quicPair connects two sessions over raw QUIC on the loopback and runs both; below TestOverWebTransport over that.
func quicPair(t testing.TB, client, server *Config) (c, s *Session) {
	t.Helper()
	scheme := "moqt"
	if overWeb(t) {
		scheme = "https"
	}
	return dialedPair(t, scheme, client, server)
}

// dialedPair connects two sessions over the loopback and runs both.
func dialedPair(t testing.TB, scheme string, client, server *Config) (c, s *Session) {
	t.Helper()
	cert, err := SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen("127.0.0.1:0", ServerTLS(cert), server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	pin, err := PinFingerprint(Fingerprint(cert))
	if err != nil {
		t.Fatal(err)
	}
	return connected(t, l, scheme+"://"+l.Addr().String()+"/path?q=1", pin, client)
}

// connected dials a listener and runs the sessions of both ends.
func connected(t testing.TB, l SessionListener, addr string, trust *tls.Config, client *Config) (c, s *Session) {
	t.Helper()
	return meeting(t, l, func(ctx context.Context, client *Config) (*Session, error) { return Dial(ctx, addr, trust, client) }, client)
}

// dialer makes a session of the client's with a listener.
type dialer func(ctx context.Context, client *Config) (*Session, error)

// meeting is both ends of a session that dial made with l.
func meeting(t testing.TB, l SessionListener, dial dialer, client *Config) (c, s *Session) {
	t.Helper()
	ctx := testContext(t)
	accepted := make(chan *Session, 1)
	go func() {
		s, err := l.Accept(ctx)
		if err != nil {
			t.Error(err)
			close(accepted)
			return
		}
		run(t, s)
		accepted <- s
	}()
	c, err := dial(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	if s = <-accepted; s == nil {
		t.FailNow()
	}
	return c, s
}

var testTrack = object.TrackName{Namespace: object.Namespace{"live", "one"}, Name: "video"}

func TestSubscribeOverQUIC(t *testing.T) {
	ctx := testContext(t)
	payload := bytes.Repeat([]byte("payload"), 100_000)
	h := handlers{subscribe: func(ctx context.Context, r *SubscribeRequest) {
		if r.Track.String() != testTrack.String() {
			t.Errorf("track %v", r.Track)
		}
		p, err := r.Accept(TrackInfo{Largest: &Location{Group: 4, Object: 7}})
		if err != nil {
			t.Error(err)
			return
		}
		w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: 5, EndOfGroup: true, HasProperties: true})
		if err != nil {
			t.Error(err)
			return
		}
		if err := w.WriteObject(0, []byte{0x3c, 1}, wire.StatusNormal, payload); err != nil {
			t.Error(err)
		}
		if err := w.WriteObjectHeader(3, nil, uint64(len(payload))); err != nil {
			t.Error(err)
		}
		if _, err := io.Copy(w, bytes.NewReader(payload)); err != nil {
			t.Error(err)
		}
		if err := w.WriteObject(4, nil, wire.StatusEndOfGroup, nil); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Done(wire.DoneTrackEnded, "that is all"); err != nil {
			t.Error(err)
		}
	}}
	c, s := quicPair(t, nil, &Config{Handler: h})
	if p, err := s.Peer(ctx); err != nil || p.Path != "/path?q=1" {
		t.Fatalf("peer %+v, %v", p, err)
	}
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{Filter: Filter{Type: wire.FilterNextGroupStart}})
	if err != nil {
		t.Fatal(err)
	}
	if l := sub.Info().Largest; l == nil || *l != (Location{Group: 4, Object: 7}) {
		t.Fatalf("largest %v", l)
	}
	g, err := sub.AcceptSubgroup(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if h := g.Header(); h.Group != 5 || !h.EndOfGroup {
		t.Fatalf("header %+v", h)
	}
	for _, want := range []ObjectHeader{
		{ID: 0, Properties: []byte{0x3c, 1}, Size: uint64(len(payload))},
		{ID: 3, Properties: []byte{}, Size: uint64(len(payload))},
		{ID: 4, Properties: []byte{}, Status: wire.StatusEndOfGroup},
	} {
		o, err := g.Next()
		if err != nil {
			t.Fatal(err)
		}
		if o.ID != want.ID || !bytes.Equal(o.Properties, want.Properties) || o.Size != want.Size || o.Status != want.Status {
			t.Fatalf("object %+v, want %+v", o, want)
		}
		b, err := io.ReadAll(g)
		if err != nil || o.Size > 0 && !bytes.Equal(b, payload) {
			t.Fatalf("payload of %d bytes, %v", len(b), err)
		}
	}
	if _, err := g.Next(); err != io.EOF {
		t.Fatalf("want EOF, got %v", err)
	}
	var done *DoneError
	if _, err := sub.AcceptSubgroup(ctx); !errors.As(err, &done) || !errors.Is(err, io.EOF) || done.Reason != "that is all" {
		t.Fatalf("want PUBLISH_DONE, got %v", err)
	}
}

// TestForeignProtocol: a connection on which something else was agreed on makes no session.
func TestForeignProtocol(t *testing.T) {
	for name, session := range map[string]func(client, server Conn) (own *Session, peer Conn){
		"client": func(c, s Conn) (*Session, Conn) { return NewClient(c, "relay", "/", nil), s },
		"server": func(c, s Conn) (*Session, Conn) { return NewServer(s, nil), c },
	} {
		own, peer := session(transport.Pipe(transport.PipeOptions{Protocol: "chat"}))
		var se *SessionError
		if err := own.Run(testContext(t)); !errors.As(err, &se) || se.Code != wire.VersionNegotiationFailed || se.Remote {
			t.Errorf("%s ends with %v", name, err)
		}
		if err := done(t, peer.Context()); !errors.As(err, &se) || se.Code != wire.VersionNegotiationFailed || !se.Remote {
			t.Errorf("%s: its peer learns %v", name, err)
		}
	}
}
