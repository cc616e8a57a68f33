package moqt

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/transport/qmux"
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

// TestSubprotocolNames are those of moq-dev.
func TestSubprotocolNames(t *testing.T) {
	if got := strings.Join(qmux.Subprotocols((*Config)(nil).transport().Protocols), " "); got != "qmux-02.moqt-22 qmux-01.moqt-22 qmux-02.moqt-20 qmux-01.moqt-20 qmux-02.moqt-18 qmux-01.moqt-18 qmux-02.moqt-16 qmux-01.moqt-16" {
		t.Error(got)
	}
}
