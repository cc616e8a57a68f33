package moqt

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

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
	if l, err = ListenQUIC("127.0.0.1:0", ServerTLS(cert), conf); err != nil {
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

// webClientConn opens an HTTP/3 connection by hand.
func webClientConn(t *testing.T, l *Listener, pin *tls.Config, protocols ...string) (*quic.Conn, *webtransport.ClientConn) {
	t.Helper()
	qc, err := quic.DialAddr(testContext(t), l.Addr().String(), clientTLS(pin, "localhost", alpnHTTP3), quicConfig((*Config)(nil).withDefaults()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { qc.CloseWithError(0, "") })
	cc, err := (&webtransport.Transport{ApplicationProtocols: protocols}).NewClientConn(qc)
	if err != nil {
		t.Fatal(err)
	}
	return qc, cc
}

// TestWebTransportAttacks: what is no MoQ session over WebTransport gets none, and costs a bounded time.
func TestWebTransportAttacks(t *testing.T) {
	ctx := testContext(t)
	l, url, pin := webListener(t, &Config{AllowOrigins: []string{"https://player.example"}, HandshakeTimeout: 500 * time.Millisecond})
	moqt16 := wire.Draft16.ALPN()

	for _, protocols := range [][]string{nil, {"moq-00", "chat"}} { // none, wrong ones
		qc, cc := webClientConn(t, l, pin, protocols...)
		_, sess, err := cc.Dial(ctx, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		var se *webtransport.SessionError
		if _, err := sess.AcceptUniStream(ctx); !errors.As(err, &se) || !se.Remote || se.ErrorCode != webtransport.SessionErrorCode(wire.VersionNegotiationFailed) {
			t.Errorf("protocols %v: %v", protocols, err)
		}
		done(t, qc.Context())
	}

	for _, tt := range []struct {
		origin string
		status int
	}{
		{"", 200},
		{"https://player.example", 200},
		{"HTTPS://Player.Example", 200},
		{"http://127.0.0.1:8080", 200}, // the server's own host
		{"https://player.example:444", 403},
		{"http://player.example", 403},
		{"https://evil.example", 403},
		{"https://127.0.0.1.evil.example", 403},
		{"null", 403},
		{"%", 403},
	} {
		_, cc := webClientConn(t, l, pin, moqt16)
		h := http.Header{}
		if tt.origin != "" {
			h.Set("Origin", tt.origin)
		}
		if res, _, err := cc.Dial(ctx, url, h); res == nil || res.StatusCode != tt.status {
			t.Errorf("origin %q: %v, %v", tt.origin, res, err)
		}
	}

	// A name that somebody else made lead here, and one that is the server's.
	for host, status := range map[string]int{"evil.example": 403, "player.example": 200} {
		_, cc := webClientConn(t, l, pin, moqt16)
		if res, _, err := cc.Dial(ctx, "https://"+host+":4443/", http.Header{"Origin": {"https://" + host + ":8443"}}); res == nil || res.StatusCode != status {
			t.Errorf("at %s: %v, %v", host, res, err)
		}
	}

	// Requests that are no WebTransport, a second session, and a connection that never asks for one.
	qc, cc := webClientConn(t, l, pin, moqt16)
	for _, method := range []string{"GET", "POST", "OPTIONS"} {
		req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := cc.RoundTrip(req)
		if err != nil || res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "CONNECT" {
			t.Fatalf("%s: %v, %v", method, res, err)
		}
		io.Copy(io.Discard, res.Body)
	}
	if _, _, err := cc.Dial(ctx, url, nil); err != nil {
		t.Errorf("after other requests: %v", err)
	}
	if res, _, err := cc.Dial(ctx, url, nil); res == nil || res.StatusCode != http.StatusConflict {
		t.Errorf("second session: %v, %v", res, err)
	}
	select {
	case <-qc.Context().Done(): // its session says nothing (TestSilentClientIsDropped)
	case <-ctx.Done():
		t.Error("silent session lives on")
	}
	start := time.Now()
	idle, _ := webClientConn(t, l, pin, moqt16)
	var app *quic.ApplicationError
	if err := done(t, idle.Context()); !errors.As(err, &app) || app.ErrorCode != quic.ApplicationErrorCode(http3.ErrCodeNoError) || time.Since(start) > 5*time.Second {
		t.Errorf("without a session: %v after %v", err, time.Since(start))
	}

	// PATH and AUTHORITY have no place here (§9.3.1.1, §9.3.1.2): the pipe's tests show it for every connection that is
	// not Native; this one is not.
	c, err := Dial(ctx, url, pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	if run(t, c); c.conn.Native() {
		t.Error("WebTransport counts as raw QUIC")
	}
}

// TestDialWebTransportRefused: the client's side of what can be wrong.
func TestDialWebTransportRefused(t *testing.T) {
	ctx := testContext(t)
	for _, bad := range []string{"https://", "https:///path", "https://host:port"} {
		if _, err := Dial(ctx, bad, nil, nil); err == nil {
			t.Errorf("%q dials", bad)
		}
	}
	cert, _ := SelfSigned(time.Now(), "localhost")
	pin, _ := PinFingerprint(Fingerprint(cert))
	var status atomic.Int32
	status.Store(http.StatusOK)
	var wt *webtransport.Server
	h3 := &http3.Server{EnableDatagrams: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := int(status.Load()); code != http.StatusOK {
			w.WriteHeader(code)
			return
		}
		if _, err := wt.Upgrade(w, r); err != nil { // a server that knows no draft, and says so with no protocol at all
			t.Error(err)
		}
	})}
	wt = &webtransport.Server{H3: h3}
	tc := ServerTLS(cert)
	tc.NextProtos = []string{alpnHTTP3}
	ql, err := quic.ListenAddr("127.0.0.1:0", tc, quicConfig((*Config)(nil).withDefaults()))
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			qc, err := ql.Accept(context.Background())
			if err != nil {
				return
			}
			serving.Go(func() { wt.ServeQUICConn(qc) })
		}
	})
	defer serving.Wait()
	defer ql.Close()
	defer wt.Close()
	for _, tt := range []struct {
		status int32
		want   SessionCode
	}{
		{http.StatusOK, wire.VersionNegotiationFailed},
		{http.StatusForbidden, wire.Unauthorized},
		{http.StatusNotFound, wire.VersionNegotiationFailed},
	} {
		status.Store(tt.status)
		var se *SessionError
		if _, err := Dial(ctx, "https://"+ql.Addr().String(), pin, nil); !errors.As(err, &se) || se.Code != tt.want {
			t.Errorf("status %d: %v", tt.status, err)
		}
	}
	status.Store(http.StatusServiceUnavailable)
	var se *SessionError
	if _, err := Dial(ctx, "https://"+ql.Addr().String(), pin, nil); err == nil || errors.As(err, &se) {
		t.Errorf("a server that may be back: %v", err)
	}
}

// TestWebCodes: stream codes skip the ones HTTP/3 reserves (draft-ietf-webtrans-http3 §4.4) and come back.
func TestWebCodes(t *testing.T) {
	for _, c := range []ResetCode{0, 1, 0x1d, 0x1e, 0x1f, 0x3b, 0x3c, 255, 0xffffffff} {
		h := toWebCode(c)
		if got, ok := fromWebCode(h); !ok || got != c || (h-0x21)%0x1f == 0 {
			t.Errorf("%d: %#x, back %d, %v", c, h, got, ok)
		}
	}
	if toWebCode(0) != firstWebCode || toWebCode(0xffffffff) != lastWebCode {
		t.Error("range")
	}
	for _, h := range []quic.StreamErrorCode{0, firstWebCode - 1, firstWebCode + 0x1e, lastWebCode + 1} {
		if _, ok := fromWebCode(h); ok {
			t.Errorf("%#x is a code", h)
		}
	}
}
