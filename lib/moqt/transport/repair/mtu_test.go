package repair

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestNewSizes: single datagrams of a new size look for the path's MTU; several at once, which QUIC sends only of a size that it has found
// room for, go out as they are.
func TestNewSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for n, want := range map[int]int{1: typeProbe, 2: 0x40} {
			got := 0
			down := &way{tap: func(b []byte) {
				if b[0] != typeCookie && b[0] != typeControl {
					got = int(b[0])
				}
			}}
			l := newLab(t, &way{}, down, 1)
			server := bare(t, l, Options{Accept: true})
			p := join(t, l, server, 2)
			path := server.layer.lookup(p.socket.addr)
			batch := bytes.Repeat([]byte{0x40}, n*1350)
			if sent, err := path.send(batch, nil, 1350, net.UDPAddrFromAddrPort(p.socket.addr)); err != nil || !sent {
				got = 0x40
			}
			time.Sleep(time.Millisecond)
			if got != want {
				t.Errorf("%d of a new size: a datagram of type %d, want %d", n, got, want)
			}
			path.mu.Lock()
			if proven := path.proven >= 1350; proven != (n > 1) {
				t.Errorf("%d of a new size: proven %v", n, proven)
			}
			path.mu.Unlock()
			server.layer.Close()
		}
	})
}
