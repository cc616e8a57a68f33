package moqt

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// overWeb makes the tests that TestOverWebTransport runs connect that way.
func overWeb(t testing.TB) bool { return strings.HasPrefix(t.Name(), "TestOverWebTransport/") }

// TestOverWebTransport repeats tests of both roles, which otherwise run in memory or over QUIC.
func TestOverWebTransport(t *testing.T) {
	for _, tt := range []struct {
		name string
		test func(*testing.T)
	}{
		{"subscribe", TestSubscribeOverQUIC},
		{"filters", TestFilters},
		{"publish", TestPublishBothEnds},
		{"update", TestUpdatePausesAndResumes},
		{"fetch", TestFetch},
		{"fetch refused", TestFetchRefusedAndCancelled},
		{"joining fetch", TestJoiningFetch},
		{"namespaces", TestNamespaces},
		{"track status", TestTrackStatus},
		{"go away", TestGoAway},
		{"reset without credit", TestResetWithoutCredit},
		{"many subgroups", TestManyOpenSubgroups},
		{"writer", TestWriterKeepsTheOrder},
		{"delivery timeout", TestDeliveryTimeoutResetsTheStream},
		{"qlog", TestQLog},
		{"stats", TestStats},
		{"many namespaces", TestNamespacesAreBounded},
	} {
		t.Run(tt.name, tt.test)
	}
}

// webListener listens and runs what comes; dial says how to reach it.
func webListener(t *testing.T, conf *Config) (l *Listener, url string, tlsConf *tls.Config) {
	t.Helper()
	cert, err := SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	if l, err = Listen("127.0.0.1:0", ServerTLS(cert), conf); err != nil {
		t.Fatal(err)
	}
	pin, err := PinFingerprint(Fingerprint(cert))
	if err != nil {
		t.Fatal(err)
	}
	var sessions sync.WaitGroup
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			s, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			sessions.Go(func() { s.Run(context.Background()) })
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-accepting
		sessions.Wait()
	})
	return l, "https://" + l.Addr().String() + "/live?x=1", pin
}

// TestBothOnOnePort: one listener serves raw QUIC and WebTransport, and tells Authorize who wants where.
func TestBothOnOnePort(t *testing.T) {
	ctx := testContext(t)
	seen := make(chan PeerInfo, 2)
	l, url, pin := webListener(t, &Config{
		Authorize: func(_ context.Context, p PeerInfo) error {
			seen <- p
			return nil
		},
		Handler: handlers{trackStatus: func(_ context.Context, r *TrackStatusRequest) { r.Accept(TrackInfo{}) }},
	})
	for _, u := range []string{url, strings.Replace(url, "https:", "moqt:", 1)} {
		c, err := Dial(ctx, u, pin, &Config{Implementation: u})
		if err != nil {
			t.Fatal(err)
		}
		run(t, c)
		if p := recv(t, seen); p.Path != "/live?x=1" || p.Authority != l.Addr().String() || p.Implementation != u {
			t.Errorf("%s: %+v", u, p)
		}
		if _, err := c.TrackStatus(ctx, testTrack); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// TestWebTransportClose: code and reason arrive, in both directions, and a refused setup too.
func TestWebTransportClose(t *testing.T) {
	ctx := testContext(t)
	c, s := dialedPair(t, "https", nil, nil)
	s.Close(wire.InternalError, "out of coffee")
	var se *SessionError
	if err := done(t, c.Context()); !errors.As(err, &se) || !se.Remote || se.Code != wire.InternalError || se.Reason != "out of coffee" {
		t.Errorf("client ends with %v", err)
	}
	c, s = dialedPair(t, "https", nil, nil)
	c.Close(wire.NoError, "")
	if err := done(t, s.Context()); !errors.As(err, &se) || !se.Remote || se.Code != wire.NoError {
		t.Errorf("server ends with %v", err)
	}
	_, url, pin := webListener(t, &Config{Authorize: func(context.Context, PeerInfo) error { return errors.New("who are you") }})
	if _, err := Dial(ctx, url, pin, nil); !errors.As(err, &se) || !se.Remote || se.Code != wire.Unauthorized || se.Reason != "who are you" {
		t.Errorf("refused: %v", err)
	}
}

// TestWebTransportReset: RESET_STREAM and STOP_SENDING carry the codes of this draft to the other side.
func TestWebTransportReset(t *testing.T) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, _ := dialedPair(t, "https", nil, &Config{Handler: h})
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	open := func(group uint64) (*SubgroupWriter, *SubgroupReader) {
		w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: group})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteObjectHeader(0, nil, 60<<20); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		r, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
			t.Fatal(err) // the object arrives before it is complete
		}
		return w, r
	}
	var reset *StreamResetError
	w, r := open(1)
	w.Reset(wire.ResetDeliveryTimeout)
	if _, err := io.ReadAll(r); !errors.As(err, &reset) || reset.Code != wire.ResetDeliveryTimeout || !reset.Remote {
		t.Errorf("read: %v", err)
	}
	w, r = open(2)
	r.Cancel(wire.ResetCancelled)
	done(t, w.Context())
	if _, err := w.Write([]byte("x")); !errors.As(err, &reset) || reset.Code != wire.ResetCancelled || !reset.Remote {
		t.Errorf("write after STOP_SENDING: %v", err)
	}
	w, _ = open(3)
	c.Close(wire.NoError, "")
	var se *SessionError
	for err = nil; err == nil; {
		_, err = w.Write(make([]byte, 1<<16)) // blocks when the credit is used up, until the session is over
	}
	if !errors.As(err, &se) || !se.Remote {
		t.Errorf("write after the end of the session: %v", err)
	}
}
