package repair

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestHelloFlood: greetings from many addresses cost a server nothing that it keeps, and what it answers is shorter than what came.
func TestHelloFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := &way{}, &way{}
		l := newLab(t, up, down, 1)
		server := newEnd(t, l, 1, true, Options{Accept: true})
		b := append(prefix(typeHello), make([]byte, helloLen-prefixLen)...)
		for i := range 20_000 {
			rand.Read(b[prefixLen : prefixLen+keyLen])
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 5)
			server.layer.sort(b, nil, net.UDPAddrFromAddrPort(from))
		}
		if n := len(paths(server.layer)); n > 0 || buffers(server.layer) > 0 {
			t.Errorf("%d paths, %d buffers", n, buffers(server.layer))
		}
		synctest.Wait()
		if down.sent != 20_000 || down.bytes >= 20_000*len(b) {
			t.Errorf("%d answers of %d bytes in all to %d", down.sent, down.bytes, 20_000*len(b))
		}
	})
}

// peer is the other side of a handshake, by hand.
type peer struct {
	server   *Conn
	socket   *labSocket
	key      *ecdh.PrivateKey
	up, down sealer
}

// join makes a path to a server as a client that behaves; further frames are the test's to make.
func join(t *testing.T, l *lab, server *end, port uint16) *peer {
	t.Helper()
	p := &peer{server: server.layer, socket: l.socket(port)}
	var err error
	if p.key, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	public := p.key.PublicKey().Bytes()
	hello := append(prefix(typeHello), public...)
	p.say(append(hello, make([]byte, helloLen-len(hello))...))
	c, _, _, err := p.socket.ReadDatagram()
	if err != nil || c[0] != typeCookie {
		t.Fatalf("%x, %v", c, err)
	}
	var ok bool
	if p.up, p.down, ok = server.layer.agree(p.key, c[prefixLen:prefixLen+keyLen], public, c[prefixLen:prefixLen+keyLen]); !ok {
		t.Fatal("no keys")
	}
	confirm := append(append(prefix(typeConfirm), public...), c[prefixLen+keyLen+8:]...)
	p.say(p.up.seal(binary.BigEndian.AppendUint32(confirm, 99), 0, 0, 99))
	if server.layer.lookup(p.socket.addr) == nil {
		t.Fatal("no path")
	}
	return p
}

// say hands a datagram to the server at once.
func (p *peer) say(b []byte) { p.server.sort(b, nil, net.UDPAddrFromAddrPort(p.socket.addr)) }

// data says a numbered datagram.
func (p *peer) data(num uint64, inner []byte) {
	b := head{typeData, p.up.path, uint32(num)}.append(nil)
	p.say(p.up.seal(append(b, inner...), 0, 0, num))
}

func (p *peer) control(num uint64, c control) {
	b := c.append(head{typeControl, p.up.path, uint32(num)}.append(nil))
	p.say(p.up.seal(b, 0, 0, num))
}

// paths are those that a side has.
func paths(c *Conn) []*path {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.all)
}

// buffers is how many buffers a side has.
func buffers(c *Conn) int {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	return c.pool.out
}

// drained empties what waits for QUIC and returns how many datagrams that were.
func drained(c *Conn) int {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	n := len(c.queue)
	c.queue = nil
	return n
}

// drainedOf empties what waits for QUIC and returns how many datagrams of it came from one port.
func drainedOf(c *Conn, port uint16) (n int) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for _, p := range c.queue {
		if p.from.(*net.UDPAddr).Port == int(port) {
			n++
		}
	}
	c.queue = nil
	return n
}

// bare is an end without QUIC above.
func bare(t *testing.T, l *lab, o Options) *end {
	s := l.socket(1)
	c, err := New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &end{socket: s, layer: c}
}

// TestForged: frames with a wrong tag, of a path that is none, and repeated ones change nothing.
func TestForged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		p := join(t, l, server, 2)
		path := paths(server.layer)[0]
		p.data(0, []byte{0x40, 1})
		if drained(server.layer) != 1 {
			t.Fatal("nothing came")
		}
		good := p.up.seal(append(head{typeData, p.up.path, 1}.append(nil), 0x40, 2), 0, 0, 1)
		for i := range good {
			b := bytes.Clone(good)
			b[i] ^= 1
			if i >= 1 && i < 5 {
				continue // another path: see below
			}
			p.say(b)
		}
		path.mu.Lock()
		high := path.rx.high
		path.mu.Unlock()
		if n := drained(server.layer); n != 0 || high != 1 {
			t.Errorf("%d datagrams, high %d", n, high)
		}
		p.say(good)
		p.say(good)
		if n := drained(server.layer); n != 1 {
			t.Errorf("%d datagrams", n)
		}
		ask := control{waited: nothingYet, missing: []span{{0, 200}}}
		p.control(5, ask)
		synctest.Wait()
		sent := path.number
		for range 10 {
			p.control(5, ask) // again
		}
		synctest.Wait()
		if path.number != sent || path.window.high != 6 {
			t.Errorf("%+v", path.window)
		}
		// From another address, repeated: the path stays where it is.
		server.layer.sort(good, nil, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 9})
		synctest.Wait()
		if path.addr.Port != 2 || path.next.addr != nil {
			t.Errorf("at %v, perhaps at %v", path.addr, path.next.addr)
		}
	})
}

// TestForgedConfirm: a CONFIRM with somebody's cookie and a wrong tag, or an old one again, says nothing of the client's clock.
func TestForgedConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		p := join(t, l, server, 2)
		path, public := server.layer.lookup(p.socket.addr), p.key.PublicKey().Bytes()
		confirm := func(stamp uint32) []byte {
			b := append(prefix(typeConfirm), public...)
			b = append(b, server.layer.cookie(server.layer.millis(), public, p.socket.addr)...)
			return p.up.seal(binary.BigEndian.AppendUint32(b, stamp), 0, 0, uint64(stamp))
		}
		echo := func() uint32 {
			path.mu.Lock()
			defer path.mu.Unlock()
			return path.echo
		}
		forged := confirm(1 << 30)
		forged[len(forged)-1] ^= 1
		p.say(forged)
		p.say(confirm(5)) // before that of join
		if e := echo(); e != 99 {
			t.Errorf("echo %d", e)
		}
		if p.say(confirm(120)); echo() != 120 {
			t.Errorf("the client's own is not taken: echo %d", echo())
		}
	})
}

// TestJumps: numbers that jump keep memory within its bound, and what comes is handed up.
func TestJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true, MaxBytes: 200 * bufLen})
		p := join(t, l, server, 2)
		num, n := uint64(0), 0
		r := mrand.New(mrand.NewPCG(1, 1))
		for i := range 5000 {
			num += []uint64{1, 2, 100, ringLen - 1, ringLen, ringLen + 1, 1 << 20, 1 << 31}[r.IntN(8)]
			p.data(num, bytes.Repeat([]byte{0x40}, 1200))
			if i%100 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
			n += drained(server.layer)
			if out := buffers(server.layer); out > 200 {
				t.Fatalf("%d buffers", out)
			}
		}
		time.Sleep(5 * time.Second)
		n += drained(server.layer)
		if n < 4900 {
			t.Errorf("%d of 5000 came", n)
		}
		if out := buffers(server.layer); out != 0 {
			t.Errorf("%d buffers are still held", out)
		}
	})
}

// TestManyPaths: paths are bounded; a silent one goes first, one in use does not.
func TestManyPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true, MaxPaths: 8})
		for i := range 8 {
			join(t, l, server, uint16(10+i))
		}
		late, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		p, public := &peer{server: server.layer, socket: l.socket(50)}, late.PublicKey().Bytes()
		key := server.layer.key.PublicKey().Bytes()
		up, _, ok := server.layer.agree(late, key, public, key)
		if !ok {
			t.Fatal("no keys")
		}
		c := append(append(prefix(typeConfirm), public...), server.layer.cookie(server.layer.millis(), public, p.socket.addr)...)
		p.say(up.seal(binary.BigEndian.AppendUint32(c, 99), 0, 0, 99))
		if server.layer.lookup(p.socket.addr) != nil || len(paths(server.layer)) != 8 {
			t.Errorf("%d paths, all in use, and a new one", len(paths(server.layer)))
		}
		time.Sleep(11 * time.Second)
		join(t, l, server, 60)
		if len(paths(server.layer)) != 8 {
			t.Errorf("%d paths", len(paths(server.layer)))
		}
		time.Sleep(forget + time.Minute)
		if len(paths(server.layer)) != 0 {
			t.Errorf("%d paths after a long silence", len(paths(server.layer)))
		}
	})
}

// TestNoAmplification: after a change of address a peer gets nothing again, and little at all, before it has answered.
func TestNoAmplification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := &way{}
		l := newLab(t, &way{}, down, 1)
		server := bare(t, l, Options{Accept: true})
		p := join(t, l, server, 2)
		path := paths(server.layer)[0]
		path.mu.Lock()
		path.choice = choice{framed: true, size: 1200, since: server.layer.now()}
		path.rtt.guess(20 * time.Millisecond)
		path.mu.Unlock()
		for range 200 {
			server.layer.WriteMsgUDP(bytes.Repeat([]byte{0x40}, 1200), nil, net.UDPAddrFromAddrPort(p.socket.addr))
		}
		ask := control{waited: nothingYet, missing: []span{{0, 200}}}
		p.control(1, ask)
		synctest.Wait()
		if path.tx.stats.resent == 0 {
			t.Fatal("nothing was sent again to a peer that is there")
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		p.socket.move(3)
		before, resent, came := down.bytes, path.tx.stats.resent, 0
		for i := range uint64(20) {
			p.control(2+i, ask)
			came += 200
			time.Sleep(20 * time.Millisecond)
		}
		synctest.Wait()
		if path.addr.Port != 2 || path.next.addr == nil || path.next.addr.Port != 3 {
			t.Fatalf("at %v, perhaps at %v", path.addr, path.next.addr)
		}
		if down.bytes == before {
			t.Error("nothing was said that the peer could answer to")
		}
		if path.tx.stats.resent != resent || down.bytes-before > 3*came {
			t.Errorf("%d datagrams again, %d bytes for %d", path.tx.stats.resent-resent, down.bytes-before, came)
		}
	})
}

// TestGarbage: whatever comes, nothing breaks, and of QUIC's own nothing is lost.
func TestGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, &way{}, &way{}, 1)
		server := bare(t, l, Options{Accept: true})
		p := join(t, l, server, 2)
		r := mrand.New(mrand.NewPCG(2, 2))
		for i := range 50_000 {
			b := make([]byte, r.IntN(120))
			for j := range b {
				b[j] = byte(r.Uint32())
			}
			if len(b) > 9 {
				b[0] = byte(typeHello + r.IntN(8))
				switch r.IntN(3) {
				case 0:
					copy(b, prefix(b[0])[:min(len(b), prefixLen)])
				case 1: // of the path, with the right tag
					binary.BigEndian.PutUint32(b[1:], p.up.path)
					b = p.up.seal(b[:len(b):len(b)], 0, b[min(len(b)-1, headLen+2)], uint64(binary.BigEndian.Uint32(b[5:])))
				}
			}
			p.say(b)
			if i%1000 == 0 {
				time.Sleep(5 * time.Millisecond)
				drained(server.layer)
			}
		}
		drained(server.layer)
		if !server.layer.sort([]byte{0x40, 1, 2}, nil, net.UDPAddrFromAddrPort(p.socket.addr)) {
			t.Error("a datagram of QUIC was taken for something else")
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(control{waited: nothingYet, missing: []span{{1, 2}}}.append(nil))
	f.Add(append([]byte{20, 4, 1, 0, 3}, 0x40, 1, 2))
	f.Add(append([]byte{typeData}, make([]byte, 30)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseControl(b); err == nil {
			again, err := parseControl(c.append(nil))
			if err != nil || !bytes.Equal(again.append(nil), c.append(nil)) || len(c.missing) > maxSpans {
				t.Errorf("%+v, %+v, %v", c, again, err)
			}
		}
		if p, err := parseParity(b); err == nil && (p.k < 1 || p.k > maxGroup || p.m > maxParity || p.index >= p.m) {
			t.Errorf("%+v", p)
		}
		if in, err := probeInner(b); err == nil && len(in) > len(b)-1 {
			t.Error(len(in))
		}
		if h, err := parseHead(b); err == nil && !bytes.Equal(h.append(nil), b[:headLen]) {
			t.Errorf("%+v", h)
		}
		content(b)
	})
}
