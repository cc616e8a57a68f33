package moqt

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"every.channel/ec/lib/moqt/qmux"
	"every.channel/ec/lib/moqt/wire"
)

// qmuxPair connects two sessions over QMux at a Unix socket or on the TCP loopback, and runs both.
func qmuxPair(t testing.TB, network string, client, server *Config) (c, s *Session) {
	t.Helper()
	ctx := testContext(t)
	u := "tcp://127.0.0.1:0"
	if network == "unix" {
		u = "unix://" + filepath.Join(t.TempDir(), "s")
	}
	l, err := ListenQMux(u, server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
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
	if c, err = DialQMux(ctx, l.URL(), client); err != nil {
		t.Fatal(err)
	}
	run(t, c)
	if s = <-accepted; s == nil {
		t.FailNow()
	}
	return c, s
}

// TestRolesOverQMux repeats what sessions are tested with in memory over QMux: a Unix socket, TCP, and a transport of which
// the protocol was agreed on otherwise, as over WebSocket.
func TestRolesOverQMux(t *testing.T) {
	defer func(p func(testing.TB, *Config, *Config) (c, s *Session)) { sessionPair = p }(sessionPair)
	for name, pair := range map[string]func(t testing.TB, client, server *Config) (c, s *Session){
		"unix": func(t testing.TB, client, server *Config) (c, s *Session) { return qmuxPair(t, "unix", client, server) },
		"tcp":  func(t testing.TB, client, server *Config) (c, s *Session) { return qmuxPair(t, "tcp", client, server) },
		"agreed": func(t testing.TB, client, server *Config) (c, s *Session) {
			a, b := net.Pipe()
			made := make(chan *Session, 1)
			go func() {
				s, err := NewQMuxServer(context.Background(), qmux.Bytes(b), draftOf(t).ALPN(), b.LocalAddr(), b.RemoteAddr(), server)
				if err != nil {
					t.Error(err)
				}
				made <- s
			}()
			conf := qmuxConfig(client.withDefaults())
			conf.Protocol = draftOf(t).ALPN()
			qc, err := qmux.Client(context.Background(), qmux.Bytes(a), conf)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := newQMuxConn(qc, a.LocalAddr(), a.RemoteAddr(), false)
			if err != nil {
				t.Fatal(err)
			}
			c, s = NewClient(conn, "", "", client), <-made
			run(t, c)
			run(t, s)
			return c, s
		},
	} {
		sessionPair = pair
		t.Run(name, func(t *testing.T) {
			for name, test := range map[string]func(*testing.T){
				"Fetch": TestFetch, "FetchRefusedAndCancelled": TestFetchRefusedAndCancelled, "JoiningFetch": TestJoiningFetch,
				"Namespaces": TestNamespaces, "TrackStatus": TestTrackStatus, "ResetDelivered": TestResetDelivered,
				"Filters": TestFilters, "SubscribeOptionsArrive": TestSubscribeOptionsArrive,
				"PublishBothEnds": TestPublishBothEnds, "UpdatePausesAndResumes": TestUpdatePausesAndResumes,
				"ResetReachesTheReader": TestResetReachesTheReader, "GoAway": TestGoAway, "RequestCredit": TestRequestCredit,
				"RequestsWaitForCredit": TestRequestsWaitForCredit, "TokenAliases": TestTokenAliases,
			} {
				t.Run(name, test)
			}
		})
	}
}

// TestQMuxAddresses: what is no address, who listens already, and a socket left behind.
func TestQMuxAddresses(t *testing.T) {
	ctx := testContext(t)
	for _, u := range []string{"unix://relative/path", "unix:///", "tcp://host", "tcp://:0:0", "moqt://host:1", "tcp://", "%"} {
		if _, err := DialQMux(ctx, u, nil); err == nil {
			t.Errorf("%s dialed", u)
		}
		if _, err := ListenQMux(u, nil); err == nil {
			t.Errorf("%s listened at", u)
		}
	}
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	l, err := ListenQMux("unix://"+path, nil)
	if err != nil {
		t.Fatalf("over a socket left behind: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := ListenQMux("unix://"+path, nil); err == nil {
		t.Error("two listeners at one socket")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
}

// TestQMuxPath: the path of the URL reaches the server, over a Unix socket that of its query.
func TestQMuxPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, tt := range []struct{ listen, query, want string }{
		{"unix://" + path, "", "/"},
		{"unix://" + path, "?path=/room%3Fx=1", "/room?x=1"},
		{"tcp://127.0.0.1:0", "/room?x=1", "/room?x=1"},
	} {
		l, err := ListenQMux(tt.listen, &Config{Authorize: func(_ context.Context, p PeerInfo) error {
			if p.Path != tt.want {
				t.Errorf("path %q, want %q", p.Path, tt.want)
			}
			return &SessionError{Code: wire.Unauthorized, Reason: "seen"}
		}})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if s, err := l.Accept(context.Background()); err == nil {
				s.Run(context.Background())
			}
		}()
		_, err = DialQMux(testContext(t), l.URL()+tt.query, nil)
		if se, ok := errors.AsType[*SessionError](err); !ok || se.Code != wire.Unauthorized {
			t.Errorf("dial: %v", err)
		}
		l.Close()
	}
}

// BenchmarkQMux moves objects of 64 KiB over a Unix socket, as plain bytes and through sessions over QMux.
func BenchmarkQMux(b *testing.B) {
	const size = 64 << 10
	b.Run("socket", func(b *testing.B) {
		l, err := net.Listen("unix", filepath.Join(b.TempDir(), "s"))
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			for buf := make([]byte, size); err == nil; {
				_, err = c.Write(buf)
			}
		}()
		c, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		buf := make([]byte, size)
		measure(b, size, func() {
			for range b.N {
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("moqt", func(b *testing.B) {
		benchPair(b, size, func(client, server *Config) (*Session, *Session) { return qmuxPair(b, "unix", client, server) })
	})
}
