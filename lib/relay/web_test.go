package relay

import "testing"

// repeat runs tests whose sessions are raw QUIC over another transport.
func repeat(t *testing.T, over string) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, over string)
	}{
		{"live, replay and fetch", testLiveReplayAndFetch},
		{"joining fetch", testJoiningFetch},
		{"namespaces", testNamespaces},
		{"datagrams", testDatagrams},
		{"two publishers, one dies", testTwoPublishersOneDies},
		{"slow subscriber", testSlowSubscriber},
		{"drain", testDrain},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, over) })
	}
}

// TestOverWebTransport repeats them over WebTransport.
func TestOverWebTransport(t *testing.T) { repeat(t, "https") }

// TestOverQMux repeats them over a Unix socket and WebSocket with TLS.
func TestOverQMux(t *testing.T) {
	for _, scheme := range []string{"unix", "wss"} {
		t.Run(scheme, func(t *testing.T) { repeat(t, scheme) })
	}
}
