package transport

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"every.channel/ec/lib/moqt/wire"
)

// TestWebSocketSubprotocol: the server's preference decides, of what the client offers as moq-dev names it.
func TestWebSocketSubprotocol(t *testing.T) {
	l, _, _ := listen(t, "ws://127.0.0.1:0", &Options{Protocols: both})
	for _, tt := range []struct {
		offered []string
		want    string
	}{
		{[]string{"qmux-01.two"}, "qmux-01.two"},
		{[]string{"qmux-02.two", "qmux-01.two", "qmux-00.two"}, "qmux-02.two"},
		{[]string{"qmux-02.two", "qmux-01.one", "webtransport"}, "qmux-01.one"},
		{[]string{"qmux-02.moq-lite-05", "qmux-02.three", "qmux-00.two", "qmux-02", "webtransport"}, ""},
		{nil, ""},
	} {
		ws, res, err := websocket.Dial(testContext(t), l.Addr().String(), &websocket.DialOptions{Subprotocols: tt.offered})
		switch {
		case tt.want == "":
			if err == nil || res == nil || res.StatusCode != http.StatusBadRequest {
				t.Errorf("%v: %v, %v", tt.offered, res, err)
			}
		case err != nil:
			t.Errorf("%v: %v", tt.offered, err)
		case ws.Subprotocol() != tt.want:
			t.Errorf("%v: %s, want %s", tt.offered, ws.Subprotocol(), tt.want)
		}
		if ws != nil {
			ws.CloseNow()
		}
	}
}

// TestWebSocketAttacks: what is no WebSocket, or comes from a foreign page, is told so; what breaks QMux or says nothing ends.
func TestWebSocketAttacks(t *testing.T) {
	l, _, _ := listen(t, "ws://127.0.0.1:0", &Options{Protocols: both, HandshakeTimeout: 200 * time.Millisecond})
	host := strings.TrimPrefix(l.Addr().String(), "ws://")
	for _, tt := range []struct {
		name, request string
		want          int
	}{
		{"no WebSocket", "GET / HTTP/1.1\r\nHost: relay\r\n\r\n", http.StatusUpgradeRequired},
		{"foreign page", "GET / HTTP/1.1\r\nHost: relay\r\nOrigin: https://evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", http.StatusForbidden},
		{"page under a name that was made to lead here", "GET / HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", http.StatusForbidden},
		{"no subprotocol", "GET / HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", http.StatusBadRequest},
		{"long header", "GET / HTTP/1.1\r\nHost: relay\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
		{"garbage", "\x16\x03\x01garbage\r\n\r\n", http.StatusBadRequest},
		{"half a request", "GET / HTTP/1.1\r\nHo", 0},
		{"nothing", "", 0},
	} {
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(time.Minute))
		go io.WriteString(c, tt.request)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		switch {
		case tt.want == 0:
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && res == nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		case err != nil || res.StatusCode != tt.want:
			t.Errorf("%s: %v, %v, want %d", tt.name, res, err, tt.want)
		}
		c.Close()
	}
	for name, attack := range map[string]func(ctx context.Context, ws *websocket.Conn){
		"text": func(ctx context.Context, ws *websocket.Conn) { ws.Write(ctx, websocket.MessageText, []byte("hello")) },
		"large": func(ctx context.Context, ws *websocket.Conn) {
			ws.Write(ctx, websocket.MessageBinary, make([]byte, 1<<20))
		},
		"no setup":   func(ctx context.Context, ws *websocket.Conn) { ws.Write(ctx, websocket.MessageBinary, []byte{1}) },
		"empty ones": func(ctx context.Context, ws *websocket.Conn) { ws.Write(ctx, websocket.MessageBinary, nil) },
		"silence":    func(ctx context.Context, ws *websocket.Conn) {},
	} {
		ctx := testContext(t)
		ws, _, err := websocket.Dial(ctx, l.Addr().String(), &websocket.DialOptions{Subprotocols: []string{"qmux-01.two"}})
		if err != nil {
			t.Fatal(err)
		}
		go attack(ctx, ws)
		for err == nil {
			_, _, err = ws.Read(ctx)
		}
		if ctx.Err() != nil {
			t.Errorf("%s: the server holds on", name)
		}
		ws.CloseNow()
	}
}

// TestPendingConnectionsAreBounded: connections that say nothing are refused beyond a number, and others are served again when
// they are gone.
func TestPendingConnectionsAreBounded(t *testing.T) {
	for _, scheme := range []string{"tcp", "ws"} {
		l, _, _ := listen(t, scheme+"://127.0.0.1:0", &Options{Protocols: both, HandshakeTimeout: time.Hour})
		host := strings.TrimPrefix(l.Addr().String(), scheme+"://")
		var silent []net.Conn
		for range pendingQMux {
			c, err := net.Dial("tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			silent = append(silent, c)
		}
		if c, err := Dial(testContext(t), l.Addr().String(), nil, &Options{Protocols: both}); err == nil {
			c.CloseWithError(wire.NoError, "")
			t.Errorf("%s: one more than may wait was served", scheme)
		}
		for _, c := range silent {
			c.Close()
		}
		for ctx := testContext(t); ; {
			if c, err := Dial(ctx, l.Addr().String(), nil, &Options{Protocols: both}); err == nil {
				c.CloseWithError(wire.NoError, "")
				break
			} else if ctx.Err() != nil {
				t.Fatalf("%s: not served again: %v", scheme, err)
			}
		}
	}
}

// TestDialWebSocketRefused: what the errors of a client say.
func TestDialWebSocketRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   wire.SessionCode
	}{
		{"forbidden", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }, wire.Unauthorized},
		{"no such path", func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) }, wire.InvalidPath},
		{"no WebSockets", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadRequest) }, wire.VersionNegotiationFailed},
		{"no subprotocol", func(w http.ResponseWriter, r *http.Request) {
			if ws, err := websocket.Accept(w, r, nil); err == nil {
				ws.Read(context.Background())
			}
		}, wire.VersionNegotiationFailed},
	} {
		nl, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: tt.answer}
		go srv.Serve(nl)
		_, err = Dial(testContext(t), "ws://"+nl.Addr().String()+"/", nil, &Options{Protocols: both})
		if se, ok := errors.AsType[*SessionError](err); !ok || se.Code != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		srv.Close()
	}
	l, _, _ := listen(t, "wss://127.0.0.1:0", &Options{Protocols: both})
	_, pin := selfSigned(t)
	if _, err := Dial(testContext(t), l.Addr().String(), pin, &Options{Protocols: both}); !errors.Is(err, ErrFingerprint) {
		t.Errorf("another certificate: %v", err)
	}
}
