package repair

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestMostSent: a peer that invents losses, and asks for everything, gets at most half of it again and as much parity.
func TestMostSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bytesOf [16]int
		down := &way{tap: func(b []byte) {
			if isFrame(b) {
				bytesOf[b[0]] += len(b) - dataOver
			}
		}}
		l := newLab(t, &way{}, down, 1)
		server := bare(t, l, Options{Accept: true})
		p := join(t, l, server, 2)
		path := server.layer.lookup(p.socket.addr)
		path.ready()
		path.mu.Lock()
		path.rtt.smooth = 200 * time.Millisecond
		path.loss.add(server.layer.now(), 1000, 500, 500, 0)
		path.mu.Unlock()
		const n = 400
		for i := range uint64(n) {
			inner := bytes.Repeat([]byte{0x40}, 1200)
			server.layer.WriteMsgUDP(inner, nil, net.UDPAddrFromAddrPort(p.socket.addr))
			p.control(i+1, control{waited: nothingYet, missing: []span{{uint32(i - min(i, 40)), 40}}})
			time.Sleep(25 * time.Millisecond) // so that each is a group
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		sent, again, parity := bytesOf[typeData], bytesOf[typeResend], bytesOf[typeParity]
		if sent != n*1200 {
			t.Fatalf("%d bytes with a number, want %d", sent, n*1200)
		}
		if again < sent/3 || again > sent/2 {
			t.Errorf("%d bytes again for %d", again, sent)
		}
		if parity < sent/2 || parity > sent+sent/100 { // each frame has 5 bytes more
			t.Errorf("%d bytes of parity for %d", parity, sent)
		}
	})
}
