package repair

import (
	"bytes"
	"net"
	"net/netip"
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
		if n := buffers(server.layer); n != 0 {
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

// TestHolders: peers that send with holes, and never what is missing, leave memory to others.
func TestHolders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		inner := bytes.Repeat([]byte{0x40}, 100)
		for i := range 43 {
			p := join(t, l, server, uint16(100+i))
			for num := range uint64(ringLen - 1) {
				p.data(num+1, inner)
			}
			drained(server.layer)
		}
		time.Sleep(2 * tickBusy)
		drained(server.layer)
		p := join(t, l, server, 2)
		for num := range uint64(600) {
			p.data(num+1, inner)
		}
		path := server.layer.lookup(p.socket.addr)
		path.own.pool.mu.Lock()
		n := path.own.held
		path.own.pool.mu.Unlock()
		if up := drainedOf(server.layer, p.socket.addr.Port()); n < 600 || up > 0 {
			t.Errorf("%d buffers for one that came later, and %d datagrams of that peer handed up out of order", n, up)
		}
		time.Sleep(5 * time.Second)
		if n := buffers(server.layer); n != 0 {
			t.Errorf("%d buffers are still held", n)
		}
	})
}

func groups(p *path) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.rx.groups)
}

// TestUnsolved: parity of groups that never become whole is not kept for good.
func TestUnsolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		p := join(t, l, server, 2)
		for base := uint64(0); base < 30*20; base += 20 {
			b := append(head{typeParity, p.up.path, uint32(base)}.append(nil), 20, 16, 3)
			p.say(p.up.seal(append(b, make([]byte, 1200)...), 0, 3, base))
		}
		path := server.layer.lookup(p.socket.addr)
		if n := groups(path); n != 30 {
			t.Fatalf("%d groups", n)
		}
		for i := range uint64(10) {
			time.Sleep(200 * time.Millisecond)
			p.data(30*20+i, []byte{0x40, 1, 2})
		}
		if n := groups(path); n != 0 {
			t.Errorf("%d groups are still held", n)
		}
	})
}

// TestKeepsLittle: what was sent is let go after seconds, however long the round trip seems.
func TestKeepsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		p := join(t, l, server, 2)
		path := server.layer.lookup(p.socket.addr)
		path.ready()
		path.mu.Lock()
		path.rtt.smooth = mostRTT
		path.mu.Unlock()
		for range 500 {
			server.layer.WriteMsgUDP(bytes.Repeat([]byte{0x40}, 1200), nil, net.UDPAddrFromAddrPort(p.socket.addr))
		}
		if buffers(server.layer) < 500 {
			t.Fatalf("%d buffers", buffers(server.layer))
		}
		time.Sleep(mostKept + time.Second)
		if n := buffers(server.layer); n != 0 {
			t.Errorf("%d buffers are still held", n)
		}
	})
}

// TestRings: what remembers numbers counts as memory, goes when nothing comes, and comes back.
func TestRings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true, MaxBytes: 10 * slotsLen})
		inner := []byte{0x40, 1, 2}
		var all []*peer
		for i := range 40 {
			p := join(t, l, server, uint16(100+i))
			all = append(all, p)
			for num := range uint64(3) {
				p.data(num, inner)
			}
		}
		rings := 0
		for _, p := range paths(server.layer) {
			p.mu.Lock()
			if p.rx.ring != nil {
				rings++
			}
			p.mu.Unlock()
		}
		if n := drained(server.layer); n != 120 || rings < 5 || rings > 10 {
			t.Errorf("%d datagrams of 120 came, %d rings", n, rings)
		}
		time.Sleep(ringIdle + time.Second)
		if n := buffers(server.layer); n != 0 {
			t.Errorf("%d buffers are still held", n)
		}
		p := all[0]
		p.data(5, inner) // 3 and 4 are missing
		p.data(4, inner)
		p.data(3, inner)
		p.data(3, inner)
		if n := drained(server.layer); n != 3 {
			t.Errorf("%d datagrams, want 3", n)
		}
	})
}

// TestHosts: one host has only so many paths, others have theirs.
func TestHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		for i := range maxPerHost {
			join(t, l, server, uint16(100+i))
		}
		add := func(from string) bool {
			server.layer.mu.Lock()
			defer server.layer.mu.Unlock()
			up, down, _ := sealers([]byte(from), nil, nil)
			return server.layer.add(newPath(server.layer, down, up, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from))))
		}
		if add("192.0.2.1:99") {
			t.Error("one more path to the same host")
		}
		if !add("192.0.2.2:99") || !add("[2001:db8::1]:99") {
			t.Error("no path to another host")
		}
		time.Sleep(11 * time.Second)
		if !add("192.0.2.1:99") || len(paths(server.layer)) != maxPerHost+2 {
			t.Errorf("%d paths; a silent one does not go", len(paths(server.layer)))
		}
	})
}

// TestShed: a path that gives up what others need still knows what came, and goes on.
func TestShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		p := join(t, l, server, 2)
		path := server.layer.lookup(p.socket.addr)
		for _, num := range []uint64{0, 1, 3, 4, 6} {
			p.data(num, []byte{0x40, byte(num)})
		}
		path.mu.Lock()
		path.rx.flush()
		holes := path.rx.holes
		path.mu.Unlock()
		if n := drained(server.layer); n != 5 || holes != 0 {
			t.Errorf("%d datagrams of 5 came, %d holes", n, holes)
		}
		for _, num := range []uint64{3, 4, 6, 5, 7, 9, 8} {
			p.data(num, []byte{0x40, byte(num)})
		}
		if n := drained(server.layer); n != 4 {
			t.Errorf("%d datagrams came, want 5, 7, 8 and 9", n)
		}
	})
}
