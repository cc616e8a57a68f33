package moqt

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// qmuxPair connects two sessions over QMux and runs both: at a Unix socket, or on the loopback.
func qmuxPair(t testing.TB, scheme string, client, server *Config) (c, s *Session) {
	t.Helper()
	u := scheme + "://127.0.0.1:0"
	if scheme == "unix" {
		u = "unix://" + filepath.Join(t.TempDir(), "s")
	}
	cert, err := SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(u, ServerTLS(cert), server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	pin, err := PinFingerprint(Fingerprint(cert))
	if err != nil {
		t.Fatal(err)
	}
	return connected(t, l, l.Addr().String(), pin, client)
}

// TestRolesOverQMux repeats what sessions are tested with in memory over QMux.
func TestRolesOverQMux(t *testing.T) {
	for _, scheme := range []string{"unix", "tcp", "ws", "wss"} {
		rolesOver(t, scheme, func(t testing.TB, client, server *Config) (c, s *Session) { return qmuxPair(t, scheme, client, server) })
	}
}

// rolesOver leaves out the tests named in but.
func rolesOver(t *testing.T, name string, pair func(testing.TB, *Config, *Config) (c, s *Session), but ...string) {
	defer func(p func(testing.TB, *Config, *Config) (c, s *Session)) { sessionPair = p }(sessionPair)
	sessionPair = pair
	t.Run(name, func(t *testing.T) {
		for name, test := range map[string]func(*testing.T){
			"Fetch": TestFetch, "FetchRefusedAndCancelled": TestFetchRefusedAndCancelled, "JoiningFetch": TestJoiningFetch,
			"Namespaces": TestNamespaces, "TrackStatus": TestTrackStatus, "ResetDelivered": TestResetDelivered,
			"Filters": TestFilters, "SubscribeOptionsArrive": TestSubscribeOptionsArrive,
			"PublishBothEnds": TestPublishBothEnds, "UpdatePausesAndResumes": TestUpdatePausesAndResumes,
			"ResetReachesTheReader": TestResetReachesTheReader, "GoAway": TestGoAway, "RequestCredit": TestRequestCredit,
			"RequestsWaitForCredit": TestRequestsWaitForCredit, "TokenAliases": TestTokenAliases,
			"QLog": TestQLog, "Stats": TestStats, "NamespacesAreBounded": TestNamespacesAreBounded,
		} {
			if !slices.Contains(but, name) {
				t.Run(name, test)
			}
		}
	})
}

// TestQMuxAddresses: what is no address, who listens already, and a socket left behind.
func TestQMuxAddresses(t *testing.T) {
	ctx := testContext(t)
	for _, u := range []string{
		"unix://relative/path", "unix:///", "unix:///folder/", "tcp://host", "tcp://:0:0", "tcp://", "ws://", "wss:///x", "moqt://host", "%", "",
		"host:4443", "ftp://host:1", "ws://user@host:1", "tcp://host:1#x",
	} {
		if err := CheckAddress(u); err == nil {
			t.Errorf("%s is an address", u)
		}
		if _, err := Dial(ctx, u, nil, nil); err == nil {
			t.Errorf("%s dialed", u)
		}
	}
	for _, u := range []string{
		"unix://relative/path", "unix:///", "unix:///s?path=/x", "tcp://host", "tcp://host:1/room", "ws://host", "wss://host:1/?q", "moqt://host:1", "https://host:1",
		"host", "",
	} {
		if err := CheckListenAddress(u); err == nil {
			t.Errorf("%s is an address to listen at", u)
		}
		if _, err := Listen(u, nil, nil); err == nil {
			t.Errorf("%s listened at", u)
		}
	}
	for _, u := range []string{"moqt://h:1", "https://h/x?y", "unix:///s", "unix:///a/b?path=/x", "tcp://[::1]:1/x", "ws://h", "WSS://h:1/x"} {
		if err := CheckAddress(u); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, u := range []string{":4443", "[::1]:4443", "unix:///s", "tcp://:1", "ws://127.0.0.1:0/", "wss://:1"} {
		if err := CheckListenAddress(u); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	l, err := Listen("unix://"+path, nil, nil)
	if err != nil {
		t.Fatalf("over a socket left behind: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := Listen("unix://"+path, nil, nil); err == nil {
		t.Error("two listeners at one socket")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix://"+path, nil, nil); err == nil {
		t.Error("a file was replaced")
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
		{"ws://127.0.0.1:0", "/room?x=1", "/room?x=1"},
	} {
		l, err := Listen(tt.listen, nil, &Config{Authorize: func(_ context.Context, p PeerInfo) error {
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
		_, err = Dial(testContext(t), l.Addr().String()+tt.query, nil, nil)
		if se, ok := errors.AsType[*SessionError](err); !ok || se.Code != wire.Unauthorized {
			t.Errorf("dial: %v", err)
		}
		l.Close()
	}
}
