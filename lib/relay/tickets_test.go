package relay

import (
	"net"
	"net/netip"
	"slices"
	"testing"
)

// A ticket names where others reach what listens on UDP, and no socket of this machine.
func TestReachable(t *testing.T) {
	machine := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	for name, test := range map[string]struct {
		listen []net.Addr
		want   []string
	}{
		"one address": {[]net.Addr{&net.UDPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 4443}}, []string{"moqt://198.51.100.1:4443"}},
		"any address": {[]net.Addr{&net.UDPAddr{IP: net.IPv6unspecified, Port: 4443}}, []string{"moqt://192.0.2.7:4443", "moqt://[2001:db8::7]:4443"}},
		"a socket":    {[]net.Addr{&net.UnixAddr{Name: "/run/relay", Net: "unix"}, &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 4443}}, nil},
	} {
		if got := reachable(test.listen, machine); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
