package relay

import (
	"strings"
	"testing"
)

// transportTests are those whose sessions are raw QUIC, and that other transports repeat.
var transportTests = []struct {
	name string
	test func(*testing.T)
}{
	{"live, replay and fetch", TestLiveReplayAndFetch},
	{"joining fetch", TestJoiningFetch},
	{"namespaces", TestNamespaces},
	{"datagrams", TestDatagrams},
	{"two publishers, one dies", TestTwoPublishersOneDies},
	{"slow subscriber", TestSlowSubscriber},
	{"drain", TestDrain},
}

// TestOverWebTransport repeats them over WebTransport.
func TestOverWebTransport(t *testing.T) {
	for _, tt := range transportTests {
		t.Run(tt.name, tt.test)
	}
}

// overQMux is the scheme of a test's sessions below TestOverQMux.
func overQMux(t testing.TB) (scheme string, ok bool) {
	rest, ok := strings.CutPrefix(t.Name(), "TestOverQMux/")
	scheme, _, _ = strings.Cut(rest, "/")
	return scheme, ok
}

// TestOverQMux repeats them over a Unix socket and WebSocket with TLS.
func TestOverQMux(t *testing.T) {
	for _, scheme := range []string{"unix", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			for _, tt := range transportTests {
				t.Run(tt.name, tt.test)
			}
		})
	}
}
