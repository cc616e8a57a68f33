package pace

import (
	"net"
	"net/url"
	"os"
	"testing"
)

// A socket whose options cannot be set is closed: a sender tries again every second for as long as its interface is away.
func TestSocketWithoutItsInterface(t *testing.T) {
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(list)
	}
	before := open()
	for range 100 {
		if _, err := socket(&net.UDPAddr{IP: net.IPv4(239, 1, 2, 3), Port: 9}, url.Values{"iface": {"none-such0"}}); err == nil {
			t.Fatal("an interface that is not there")
		}
	}
	if n := open(); n > before+10 {
		t.Errorf("%d descriptors, before %d", n, before)
	}
}
