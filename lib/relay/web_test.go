package relay

import "testing"

// TestOverWebTransport repeats tests whose sessions otherwise are raw QUIC.
func TestOverWebTransport(t *testing.T) {
	for _, tt := range []struct {
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
	} {
		t.Run(tt.name, tt.test)
	}
}
