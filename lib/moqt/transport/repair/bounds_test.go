package repair

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestForgotten: who still has a path at hand when it is forgotten takes nothing from the pool with it any more.
func TestForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		p := join(t, l, server, 2)
		path := server.layer.lookup(p.socket.addr)
		path.ready()
		to, inner := net.UDPAddrFromAddrPort(p.socket.addr), bytes.Repeat([]byte{0x40}, 1200)
		frame := p.up.seal(append(head{typeData, p.up.path, 1}.append(nil), inner...), 0, 0, 1)
		if sent, _ := path.send(inner, nil, 0, to); !sent || buffers(server.layer) == 0 {
			t.Fatal("a path that is there keeps nothing")
		}
		server.layer.mu.Lock()
		server.layer.remove(path)
		server.layer.mu.Unlock()
		if sent, _ := path.send(inner, nil, 0, to); sent {
			t.Error("sent with a path that is forgotten")
		}
		path.frame(head{typeData, p.up.path, 1}, frame, nil, to)
		path.tick()
		time.Sleep(3 * time.Second)
		if n := buffers(server.layer); n != 0 || path.tx.ring != nil || path.rx.ring != nil {
			t.Errorf("%d buffers are gone for good", n)
		}
	})
}

// TestReportedRTT: a report that cannot be true, or is about long ago, says nothing of the round trip.
func TestReportedRTT(t *testing.T) {
	ms := uint32(1000)
	for _, tt := range []struct {
		name              string
		now, echo, waited uint32
		want              time.Duration
		ok                bool
	}{
		{"plain", 50 * ms, 10 * ms, 5 * ms, 35 * time.Millisecond, true},
		{"the clock wraps", 10 * ms, 0 - 10*ms, 5 * ms, 15 * time.Millisecond, true},
		{"waited longer than it can have", 50 * ms, 10 * ms, 40*ms + 1, 0, false},
		{"as long as the clock allows", 50 * ms, 10 * ms, 41*ms + 1<<31, 0, false},
		{"11 s", 11_050 * ms, 10 * ms, 5 * ms, 0, false},
		{"a report after 2 s of silence", 2050 * ms, 10 * ms, 2000 * ms, 0, false},
	} {
		d, ok := control{echo: tt.echo, waited: tt.waited}.rtt(tt.now)
		if ok != tt.ok || ok && d != tt.want {
			t.Errorf("%s: %v, %v", tt.name, d, ok)
		}
	}
	var r rtt
	if r.guess(30 * time.Second); r.smooth > time.Second {
		t.Errorf("a client that took 30 s to confirm has a round trip of %v", r.smooth)
	}
}
