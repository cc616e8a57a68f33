package transport

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

// webClientConn opens an HTTP/3 connection by hand.
func webClientConn(t *testing.T, l Listener, pin *tls.Config, protocols ...string) (*quic.Conn, *webtransport.ClientConn) {
	t.Helper()
	qc, err := quic.DialAddr(testContext(t), l.Addr().String(), clientTLS(pin, "localhost", alpnHTTP3), quicConfig((*Options)(nil).withDefaults()))
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

// TestWebTransportAttacks: what is no connection over WebTransport is none, and costs a bounded time.
func TestWebTransportAttacks(t *testing.T) {
	ctx := testContext(t)
	l, accepted, pin := listen(t, "127.0.0.1:0", &Options{
		Protocols: both, AllowOrigins: []string{"https://player.example"}, HandshakeTimeout: 500 * time.Millisecond,
	})
	url := "https://" + l.Addr().String() + "/live?x=1"

	for _, protocols := range [][]string{nil, {"three", "chat"}} { // none, wrong ones
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
		_, cc := webClientConn(t, l, pin, "two")
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
		_, cc := webClientConn(t, l, pin, "two")
		if res, _, err := cc.Dial(ctx, "https://"+host+":4443/", http.Header{"Origin": {"https://" + host + ":8443"}}); res == nil || res.StatusCode != status {
			t.Errorf("at %s: %v, %v", host, res, err)
		}
	}

	// Requests that are no WebTransport, a second session, and a connection that never asks for one.
	qc, cc := webClientConn(t, l, pin, "two")
	for len(accepted) > 0 {
		<-accepted // those from above
	}
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
	recv(t, accepted).CloseWithError(wire.ControlMessageTimeout, "") // as a session does whose client says nothing
	done(t, qc.Context())
	start := time.Now()
	idle, _ := webClientConn(t, l, pin, "two")
	var app *quic.ApplicationError
	if err := done(t, idle.Context()); !errors.As(err, &app) || app.ErrorCode != quic.ApplicationErrorCode(http3.ErrCodeNoError) || time.Since(start) > 5*time.Second {
		t.Errorf("without a session: %v after %v", err, time.Since(start))
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
	cert, pin := selfSigned(t)
	var status atomic.Int32
	status.Store(http.StatusOK)
	var wt *webtransport.Server
	h3 := &http3.Server{EnableDatagrams: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := int(status.Load()); code != http.StatusOK {
			w.WriteHeader(code)
			return
		}
		if _, err := wt.Upgrade(w, r); err != nil { // a server that knows none of our protocols, and says so with no protocol at all
			t.Error(err)
		}
	})}
	wt = &webtransport.Server{H3: h3}
	tc := ServerTLS(cert)
	tc.NextProtos = []string{alpnHTTP3}
	ql, err := quic.ListenAddr("127.0.0.1:0", tc, quicConfig((*Options)(nil).withDefaults()))
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
		want   wire.SessionCode
	}{
		{http.StatusOK, wire.VersionNegotiationFailed},
		{http.StatusForbidden, wire.Unauthorized},
		{http.StatusNotFound, wire.InvalidPath},
		{http.StatusBadRequest, wire.VersionNegotiationFailed},
	} {
		status.Store(tt.status)
		var se *SessionError
		if _, err := Dial(ctx, "https://"+ql.Addr().String(), pin, &Options{Protocols: both}); !errors.As(err, &se) || se.Code != tt.want {
			t.Errorf("status %d: %v", tt.status, err)
		}
	}
	status.Store(http.StatusServiceUnavailable)
	var se *SessionError
	if _, err := Dial(ctx, "https://"+ql.Addr().String(), pin, &Options{Protocols: both}); err == nil || errors.As(err, &se) {
		t.Errorf("a server that may be back: %v", err)
	}
}

// TestWebCodes: stream codes skip the ones HTTP/3 reserves (draft-ietf-webtrans-http3 §4.4) and come back.
func TestWebCodes(t *testing.T) {
	for _, c := range []wire.ResetCode{0, 1, 0x1d, 0x1e, 0x1f, 0x3b, 0x3c, 255, 0xffffffff} {
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
