package irohtest

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestFoundOnTheLocalNetwork: a node in one namespace finds the one in another by mDNS, and the id is enough to connect. One that takes no
// peers is not found.
func TestFoundOnTheLocalNetwork(t *testing.T) {
	Path(t)
	under, other := Linked(t)
	path := filepath.Join(t.TempDir(), "relay")
	relay, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	a := Start(t, "", under, "--mdns")
	b := Start(t, path, other, "--mdns")
	found := func(n, other *Node) {
		t.Helper()
		for timeout := time.After(20 * time.Second); ; {
			select {
			case r := <-n.Records:
				if r.Event == "found" && r.ID == other.ID {
					if len(r.Addrs) == 0 {
						t.Errorf("%+v", r)
					}
					return
				}
			case <-timeout:
				t.Fatal("not found within 20 s")
			}
		}
	}
	found(a, b)
	accepted := make(chan struct{})
	go func() {
		if c, err := relay.Accept(); err == nil {
			c.Close()
			close(accepted)
		}
	}()
	c, err := net.Dial("unix", a.Socket(t, b.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	select {
	case <-accepted:
	case <-time.After(10 * time.Second):
		t.Fatal("the other node's relay was not reached within 10 s")
	}
	for {
		select {
		case r := <-b.Records:
			if r.Event == "found" {
				t.Errorf("%+v", r)
			}
		default:
			return
		}
	}
}
