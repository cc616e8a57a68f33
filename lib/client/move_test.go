package client

import "testing"

// TestMayMove: a GOAWAY may not lead to where nothing is encrypted, or to sockets of this host, unless that is where we were.
func TestMayMove(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"moqt://a:1", "moqt://b:2", true},
		{"moqt://a:1", "https://b/path", true},
		{"moqt://a:1", "WSS://b/path", true},
		{"unix:///a", "unix:///b", true},
		{"TCP://a:1", "tcp://b:1", true},
		{"tcp://a:1", "moqt://b:1", true},
		{"moqt://a:1", "unix:///b", false},
		{"moqt://a:1", "tcp://b:1", false},
		{"https://a", "ws://b", false},
		{"wss://a", "ws://b", false},
		{"tcp://a:1", "unix:///b", false},
		{"moqt://a:1", "moqt://b", false},
		{"moqt://a:1", "", false},
	} {
		if got := mayMove(tt.from, tt.to); got != tt.want {
			t.Errorf("from %s to %s: %v", tt.from, tt.to, got)
		}
	}
}
