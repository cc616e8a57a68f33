package moqt

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"every.channel/ec/lib/moqt/wire"
)

// nat passes datagrams of one client on to a server, from a socket of its own that rebind replaces, as a home router does that
// forgot a mapping.
type nat struct {
	inside *net.UDPConn // the client's side
	server *net.UDPAddr

	mu      sync.Mutex // guards what follows
	outside *net.UDPConn
	client  netip.AddrPort
	running sync.WaitGroup
}

func newNAT(t *testing.T, server net.Addr) *nat {
	n := &nat{inside: listenLoopback(t), server: server.(*net.UDPAddr)}
	n.rebind(t)
	n.running.Go(func() {
		buf := make([]byte, 2048)
		for {
			k, from, err := n.inside.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.client = from
			out := n.outside
			n.mu.Unlock()
			out.WriteTo(buf[:k], n.server)
		}
	})
	t.Cleanup(func() {
		n.inside.Close()
		n.mu.Lock()
		n.outside.Close()
		n.mu.Unlock()
		n.running.Wait()
	})
	return n
}

// rebind goes on from another port; what the server sends to the old one is lost.
func (n *nat) rebind(t *testing.T) {
	out := listenLoopback(t)
	n.mu.Lock()
	if n.outside != nil {
		n.outside.Close()
	}
	n.outside = out
	n.mu.Unlock()
	n.running.Go(func() {
		buf := make([]byte, 2048)
		for {
			k, _, err := out.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			n.mu.Lock()
			to := n.client
			n.mu.Unlock()
			n.inside.WriteToUDPAddrPort(buf[:k], to)
		}
	})
}

func listenLoopback(t *testing.T) *net.UDPConn {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// migrating is a live subscription whose client, or its address, moves with move in the middle.
func migrating(t *testing.T, v Version, dial func(l *Listener) string, move func(c *Session)) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h, pubs := accepting(TrackInfo{})
	cert, err := SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	pin, err := PinFingerprint(Fingerprint(cert))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ListenQUIC("127.0.0.1:0", ServerTLS(cert), &Config{Handler: h, Versions: wire.Versions()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	accepted := make(chan *Session, 1)
	go func() {
		s, err := l.Accept(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		run(t, s)
		accepted <- s
	}()
	c, err := Dial(ctx, dial(l), pin, &Config{Versions: []Version{v}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	s := recv(t, accepted)
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	before := s.RemoteAddr().String()
	payload := make([]byte, 100<<10)
	exchange := func(g uint64) { // an object to the client and a request to the server
		written := make(chan error, 1)
		go func() { written <- sessionPublisher(ctx, p, g, payload, 1) }()
		if err := sessionSubscriber(ctx, sub, make([]byte, len(payload)), 1); err != nil {
			t.Fatalf("group %d: %v", g, err)
		}
		if err := <-written; err != nil {
			t.Fatalf("group %d: %v", g, err)
		}
		if err := sub.Update(ctx, UpdateOptions{Priority: ptr(uint8(g))}); err != nil {
			t.Fatalf("update after group %d: %v", g, err)
		}
	}
	for g := range uint64(3) {
		exchange(g)
	}
	move(c)
	for g := uint64(3); g < 8; g++ {
		exchange(g)
	}
	for s.RemoteAddr().String() == before && ctx.Err() == nil {
		time.Sleep(time.Millisecond) // quic-go validates the new path by packets of the network, and has no event for it
	}
	if ctx.Err() != nil {
		t.Errorf("the server still sends to %s", before)
	}
	exchange(8)
}

func migrations(t *testing.T, test func(t *testing.T, scheme string, v Version)) {
	for _, scheme := range []string{"moqt", "https"} {
		for _, v := range wire.Versions() {
			t.Run(scheme+" "+v.String(), func(t *testing.T) { test(t, scheme, v) })
		}
	}
}

// TestNATRebinding: a subscription lives on when the client's address changes on the way.
func TestNATRebinding(t *testing.T) {
	migrations(t, func(t *testing.T, scheme string, v Version) {
		var n *nat
		migrating(t, v, func(l *Listener) string {
			n = newNAT(t, l.Addr())
			return scheme + "://" + n.inside.LocalAddr().String() + "/"
		}, func(*Session) { n.rebind(t) })
	})
}

// TestMigration: a client that moves to another socket, as one does that leaves its WLAN, keeps its session.
func TestMigration(t *testing.T) {
	migrations(t, func(t *testing.T, scheme string, v Version) {
		migrating(t, v, func(l *Listener) string { return scheme + "://" + l.Addr().String() + "/" }, func(c *Session) {
			udp := listenLoopback(t)
			tr := &quic.Transport{Conn: udp}
			t.Cleanup(func() {
				c.Close(wire.NoError, "")
				tr.Close()
				udp.Close()
			})
			path, err := quicConnOf(c).AddPath(tr)
			if err != nil {
				t.Fatal(err)
			}
			if err := path.Probe(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if err := path.Switch(); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// quicConnOf is the QUIC connection below a session.
func quicConnOf(s *Session) *quic.Conn {
	conn := s.conn
	if r, ok := conn.(recoded); ok {
		conn = r.Conn
	}
	switch c := conn.(type) {
	case *quicConn:
		return c.Conn
	case *webConn:
		return c.qc
	}
	return nil
}
