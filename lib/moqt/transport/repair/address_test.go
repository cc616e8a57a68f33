package repair

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sayFrom hands a frame to the server as if it came from another address.
func (p *peer) sayFrom(port uint16, b []byte) {
	p.server.sort(b, nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.socket.addr.Addr(), port)))
}

// ready makes a path give numbers to what is sent.
func (p *path) ready() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.choice = choice{framed: true, size: 1200, since: p.conn.now()}
	p.rtt.guess(20 * time.Millisecond)
}

// first waits for a datagram that is no control frame.
func (p *peer) first() []byte {
	p.socket.SetReadDeadline(time.Now().Add(time.Second))
	for {
		b, _, _, err := p.socket.ReadDatagram()
		if err != nil || b[0] != typeControl {
			return b
		}
	}
}

// TestForgedAddress: who has a path of their own and forges the address of another peer, or of somebody without the layer, takes nothing
// from them, whatever the frames say, as the challenge went to them.
func TestForgedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		victim, attacker := join(t, l, server, 2), join(t, l, server, 3)
		foreign := &peer{server: server.layer, socket: l.socket(4)}
		mine := server.layer.lookup(victim.socket.addr)
		theirs := server.layer.lookup(attacker.socket.addr)
		mine.ready()
		theirs.ready()
		for n, who := range []*peer{victim, foreign} {
			for i := range uint64(5) {
				num := uint64(100*(n+1)) + i
				b := append(head{typeData, attacker.up.path, uint32(num)}.append(nil), 0x40, 1, 2)
				attacker.sayFrom(who.socket.addr.Port(), attacker.up.seal(b, 0, 0, num))
				time.Sleep(30 * time.Millisecond)
				theirs.mu.Lock()
				c := control{answer: 1, missing: []span{{0, 1}}}
				c.echo = theirs.marks[(theirs.number-1)%uint64(len(theirs.marks))].stamp // somebody may guess a clock
				theirs.mu.Unlock()
				b = c.append(head{typeControl, attacker.up.path, uint32(num)}.append(nil))
				attacker.sayFrom(who.socket.addr.Port(), attacker.up.seal(b, 0, 0, num))
			}
			inner := bytes.Repeat([]byte{0x40}, 1200)
			server.layer.WriteMsgUDP(inner, nil, net.UDPAddrFromAddrPort(who.socket.addr))
			got := who.first()
			if who == foreign && !bytes.Equal(got, inner) {
				t.Errorf("%.9x came to a peer without the layer", got)
			}
			if who == victim && (len(got) < dataOver || got[0] != typeData || !victim.down.open(got, 0, 0)) {
				t.Errorf("%.9x came to a peer on whose path it is not", got)
			}
		}
		if server.layer.lookup(victim.socket.addr) != mine || server.layer.lookup(foreign.socket.addr) != nil || server.layer.lookup(attacker.socket.addr) != theirs {
			t.Error("a path is listed where its peer never was")
		}
	})
}

// TestProvenAddress: the answer to the challenge moves a path, from the new address only.
func TestProvenAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		p, before := join(t, l, server, 2), join(t, l, server, 3)
		path := server.layer.lookup(p.socket.addr)
		before.socket.Close()
		p.socket.move(3)
		p.control(1, control{waited: nothingYet})
		time.Sleep(50 * time.Millisecond)
		p.socket.SetReadDeadline(time.Now().Add(time.Second))
		var c control
		for c.challenge == 0 {
			b, _, _, err := p.socket.ReadDatagram()
			if err != nil {
				t.Fatal(err)
			}
			if c, err = parseControl(b[headLen : len(b)-tagLen]); err != nil {
				t.Fatal(err)
			}
		}
		b := control{waited: nothingYet, answer: c.challenge}.append(head{typeControl, p.up.path, 2}.append(nil))
		p.sayFrom(2, p.up.seal(b, 0, 0, 2))
		synctest.Wait()
		if path.addr.Port != 2 {
			t.Error("moved by an answer from elsewhere")
		}
		p.control(3, control{waited: nothingYet, answer: c.challenge})
		synctest.Wait()
		if path.addr.Port != 2 {
			t.Error("moved by the answer to an old challenge")
		}
		p.control(4, control{waited: nothingYet, answer: path.next.challenge})
		synctest.Wait()
		if path.addr.Port != 3 || server.layer.lookup(p.socket.addr) != path || len(paths(server.layer)) != 1 {
			t.Errorf("at %v, %d paths", path.addr, len(paths(server.layer)))
		}
	})
}

// TestSubscriberMoves: when the address of a peer changes that only receives, it is served at the new one, repaired.
func TestSubscriberMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := &way{delay: 20 * time.Millisecond, loss: 0.03}, &way{delay: 20 * time.Millisecond, loss: 0.03}
		l := newLab(t, up, down, 3)
		server, client := newEnd(t, l, 1, true, Options{Accept: true}), newEnd(t, l, 2, true, Options{})
		c, s := connect(t, client, server)
		defer c.CloseWithError(0, "")
		time.Sleep(100 * time.Millisecond)
		broadcast(t, s, c, programme{8_000_000, 100_000, 5 * time.Second})
		if st := server.layer.Stats(s.RemoteAddr()); !st.Active {
			t.Fatalf("not active: %+v", st)
		}
		var before Stats
		var moving sync.WaitGroup
		moving.Go(func() {
			time.Sleep(2 * time.Second)
			client.socket.move(77)
			before = client.layer.Stats(c.RemoteAddr())
			if st, err := c.OpenUniStream(); err == nil {
				st.Write([]byte{1}) // so that QUIC sees the new address, too
			}
		})
		o := broadcast(t, s, c, programme{8_000_000, 100_000, 10 * time.Second})
		moving.Wait()
		if late := o[50:]; late.quantile(0.95) > 300*time.Millisecond { // QUIC's congestion control begins anew and has caught up after 3 s
			t.Error(late)
		}
		st, after := server.layer.Stats(s.RemoteAddr()), client.layer.Stats(c.RemoteAddr())
		if !st.Active || s.RemoteAddr().(*net.UDPAddr).Port != 77 || after.Coded+after.Again < before.Coded+before.Again+100 {
			t.Errorf("%v: %+v; client %+v, before %+v", s.RemoteAddr(), st, after, before)
		}
	})
}

// TestSilentSubscriberMoves: a peer that only receives, and has nothing to say when its address changes, is served at the new one all the same:
// repair tells the server, and what QUIC sends to the old address goes to the new one. QUIC follows two or three changes, and there may be more.
func TestSilentSubscriberMoves(t *testing.T) {
	for _, loss := range []float64{0, 0.03} {
		synctest.Test(t, func(t *testing.T) {
			up, down := &way{delay: 20 * time.Millisecond, loss: loss}, &way{delay: 20 * time.Millisecond, loss: loss}
			l := newLab(t, up, down, 3)
			server, client := newEnd(t, l, 1, true, Options{Accept: true}), newEnd(t, l, 2, true, Options{})
			c, s := connect(t, client, server)
			defer c.CloseWithError(0, "")
			time.Sleep(100 * time.Millisecond)
			var moving sync.WaitGroup
			for n := range uint16(6) {
				moving.Go(func() {
					time.Sleep(time.Duration(n+1)*2*time.Second + 50*time.Millisecond)
					client.socket.move(77 + n)
				})
			}
			o := broadcast(t, s, c, programme{4_000_000, 50_000, 16 * time.Second})
			moving.Wait()
			if most := o.quantile(1); most > 900*time.Millisecond {
				t.Errorf("loss %v: an object came %v late", loss, most)
			}
		})
	}
}

// TestCalls: a client to which nothing comes any more says so a few times, ever less often; a server does not, nor a client to which nothing
// ever came.
func TestCalls(t *testing.T) {
	for _, accept := range []bool{false, true} {
		p := &path{conn: &Conn{o: Options{Accept: accept}}}
		p.rtt.guess(40 * time.Millisecond)
		var calls []time.Duration
		flow := func(from, to time.Duration) {
			for now := from; now < to; now += 5 * time.Millisecond {
				if p.calling(now) {
					calls = append(calls, now-from)
				}
			}
		}
		flow(time.Second, 20*time.Second)
		for n := range time.Duration(2) { // each pause anew
			p.gotPlain.Add(1)
			flow((20+10*n)*time.Second, (30+10*n)*time.Second)
		}
		ms := time.Millisecond
		want := []time.Duration{150 * ms, 300 * ms, 600 * ms, 1200 * ms, 150 * ms, 300 * ms, 600 * ms, 1200 * ms}
		if accept {
			want = nil
		}
		if !slices.Equal(calls, want) {
			t.Errorf("server %v: %v, want %v", accept, calls, want)
		}
	}
}

// TestOldAddress: what goes to the address at which a peer was before goes to the peer, until somebody else says something from there.
func TestOldAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		p := join(t, l, server, 2)
		path := server.layer.lookup(p.socket.addr)
		p.socket.move(3)
		p.control(1, control{waited: nothingYet})
		synctest.Wait()
		path.mu.Lock()
		answer := path.next.challenge
		path.mu.Unlock()
		p.control(2, control{waited: nothingYet, answer: answer})
		synctest.Wait()
		old := l.socket(2) // somebody who is there now
		to := net.UDPAddrFromAddrPort(old.addr)
		inner := bytes.Repeat([]byte{0x40}, 100)
		server.layer.WriteMsgUDP(inner, nil, to)
		if got := p.first(); !bytes.Equal(got, inner) {
			t.Errorf("%.9x came to the peer", got)
		}
		p.sayFrom(2, []byte{0x41})
		server.layer.WriteMsgUDP(inner, nil, to)
		old.SetReadDeadline(time.Now().Add(time.Second))
		if got, _, _, err := old.ReadDatagram(); err != nil || !bytes.Equal(got, inner) {
			t.Errorf("%.9x, %v came to whoever is at the old address", got, err)
		}
		server.layer.mu.Lock()
		server.layer.remove(path)
		left := len(server.layer.was)
		server.layer.mu.Unlock()
		if left > 0 || server.layer.moved.Load() {
			t.Errorf("%d addresses are remembered", left)
		}
	})
}

// TestDoubt: what was lost because it went to the wrong one of two addresses says nothing of the path.
func TestDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		p := join(t, l, server, 2)
		path := server.layer.lookup(p.socket.addr)
		path.ready()
		to := net.UDPAddrFromAddrPort(p.socket.addr)
		report := func(num uint64) (lost float64) {
			for range 100 {
				server.layer.WriteMsgUDP(bytes.Repeat([]byte{0x40}, 1200), nil, to)
			}
			time.Sleep(2 * reportEach)
			path.mu.Lock()
			c := control{echo: path.marks[(path.number-1)%uint64(len(path.marks))].stamp, high: uint32(path.tx.next)}
			path.mu.Unlock()
			p.control(num, c)
			path.mu.Lock()
			defer path.mu.Unlock()
			if !path.reported {
				t.Error("the report was not taken")
			}
			return path.loss.lost
		}
		report(1)
		if lost := report(2); lost != 100 {
			t.Errorf("%v lost, want 100", lost)
		}
		p.socket.move(3)
		if lost := report(3); lost > 100 {
			t.Errorf("%v lost with an address in doubt", lost)
		}
	})
}
