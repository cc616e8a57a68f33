package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
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

// migrating is a connection whose client, or its address, moves with move in the middle.
func migrating(t *testing.T, dial func(l Listener) string, move func(c Conn)) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := &Options{Protocols: both}
	l, accepted, pin := listen(t, "127.0.0.1:0", o)
	c, err := Dial(ctx, dial(l), pin, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseWithError(0, "") })
	s := recv(t, accepted)
	before := s.RemoteAddr().String()
	steady, heard := oneWay(t, s, c) // a stream that was there before and stays
	payload := make([]byte, 100<<10)
	exchange := func(n int) { // a stream to the client, and one that is answered
		written := make(chan error, 1)
		go func() {
			st, err := s.OpenUniStream(ctx)
			if err == nil {
				_, err = st.Write(payload)
				err = errors.Join(err, st.Close())
			}
			_, more := steady.Write([]byte{byte(n)})
			written <- errors.Join(err, more)
		}()
		st, err := c.AcceptUniStream(ctx)
		if err != nil {
			t.Fatalf("exchange %d: %v", n, err)
		}
		if b, err := io.ReadAll(st); err != nil || len(b) != len(payload) {
			t.Fatalf("exchange %d: %d bytes, %v", n, len(b), err)
		}
		if err := <-written; err != nil {
			t.Fatalf("exchange %d: %v", n, err)
		}
		b := make([]byte, 1)
		if _, err := io.ReadFull(heard, b); err != nil || b[0] != byte(n) {
			t.Fatalf("exchange %d: heard %d, %v", n, b[0], err)
		}
		oneWay(t, c, s)
	}
	for n := range 3 {
		exchange(n)
	}
	// quic-go looks at its path without a lock when the peer's HTTP/3 settings are there (ConnectionState), and takes datagrams from then
	// on: after one of them it has looked.
	if err := s.SendDatagram([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReceiveDatagram(ctx); err != nil {
		t.Fatal(err)
	}
	move(c)
	for n := 3; n < 8; n++ {
		exchange(n)
	}
	for s.RemoteAddr().String() == before && ctx.Err() == nil {
		time.Sleep(time.Millisecond) // quic-go validates the new path by packets of the network, and has no event for it
	}
	if ctx.Err() != nil {
		t.Errorf("the server still sends to %s", before)
	}
	exchange(8)
}

func migrations(t *testing.T, test func(t *testing.T, scheme string)) {
	for _, scheme := range []string{"moqt", "https"} {
		t.Run(scheme, func(t *testing.T) { test(t, scheme) })
	}
}

// TestNATRebinding: a connection lives on when the client's address changes on the way.
func TestNATRebinding(t *testing.T) {
	migrations(t, func(t *testing.T, scheme string) {
		var n *nat
		migrating(t, func(l Listener) string {
			n = newNAT(t, l.Addr())
			return scheme + "://" + n.inside.LocalAddr().String() + "/"
		}, func(Conn) { n.rebind(t) })
	})
}

// TestMigration: a client that moves to another socket, as one does that leaves its WLAN, keeps its connection.
func TestMigration(t *testing.T) {
	migrations(t, func(t *testing.T, scheme string) {
		migrating(t, func(l Listener) string { return scheme + "://" + l.Addr().String() + "/" }, func(c Conn) {
			udp := listenLoopback(t)
			tr := &quic.Transport{Conn: udp}
			t.Cleanup(func() {
				c.CloseWithError(0, "")
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

// quicConnOf is the QUIC connection below.
func quicConnOf(c Conn) *quic.Conn {
	switch c := c.(type) {
	case *quicConn:
		return c.Conn
	case *webConn:
		return c.qc
	}
	return nil
}
