package transport

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// far passes datagrams of one client on to a server, each 20 ms later, but for those that lose names.
type far struct {
	front, back *net.UDPConn
	lose        func(up bool, b []byte) bool
	client      atomic.Pointer[netip.AddrPort]
	running     sync.WaitGroup
}

func newFar(t *testing.T, server net.Addr, lose func(up bool, b []byte) bool) *far {
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: elsewhere(t)})
	if err != nil {
		t.Fatal(err)
	}
	f := &far{front: front, back: listenLoopback(t), lose: lose}
	to := server.(*net.UDPAddr).AddrPort()
	pass := func(up bool, from, out *net.UDPConn, to func(netip.AddrPort) *netip.AddrPort) func() {
		return func() {
			buf := make([]byte, 2048)
			for {
				n, sender, err := from.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				if f.lose(up, buf[:n]) {
					continue
				}
				if a := to(sender); a != nil {
					b := append([]byte(nil), buf[:n]...)
					time.AfterFunc(20*time.Millisecond, func() { out.WriteToUDPAddrPort(b, *a) })
				}
			}
		}
	}
	f.running.Go(pass(true, f.front, f.back, func(client netip.AddrPort) *netip.AddrPort {
		f.client.Store(&client)
		return &to
	}))
	f.running.Go(pass(false, f.back, f.front, func(netip.AddrPort) *netip.AddrPort { return f.client.Load() }))
	t.Cleanup(func() {
		f.front.Close()
		f.back.Close()
		f.running.Wait()
	})
	return f
}

// elsewhere is an address of this machine that is not of the loopback.
func elsewhere(t *testing.T) net.IP {
	t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP
		}
	}
	t.Skip("this machine has no address but those of the loopback")
	return nil
}

// TestHandshakeLost: a connection whose handshake lost a datagram, on either side, gives way to one that begins with repair, and so in slow
// start; the others do not, nor does one to a server that repairs nothing.
func TestHandshakeLost(t *testing.T) {
	long := func(b []byte) bool { return b[0]&0xc0 == 0xc0 } // a datagram of QUIC's handshake
	for _, tt := range []struct {
		name      string
		up, down  int32 // datagrams of the handshake that are lost
		foreign   bool
		connected int32
	}{
		{"nothing", 0, 0, false, 1},
		{"the client's first", 1, 0, false, 2},
		{"the server's first two", 0, 2, false, 2},
		{"the client's first, to a server without repair", 1, 0, true, 1},
	} {
		for _, scheme := range []string{"moqt", "https"} {
			t.Run(tt.name+", "+scheme, func(t *testing.T) {
				var up, down atomic.Int32
				o := &Options{Protocols: both}
				l, accepted, pin := listen(t, "127.0.0.1:0", &Options{Protocols: both, NoRepair: tt.foreign})
				f := newFar(t, l.Addr(), func(client bool, b []byte) bool {
					return long(b) && (client && up.Add(1) <= tt.up || !client && down.Add(1) <= tt.down)
				})
				began := time.Now()
				c, err := Dial(testContext(t), scheme+"://"+f.front.LocalAddr().String()+"/", pin, o)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.CloseWithError(0, "") })
				if tt.connected == 2 {
					if st := c.Info().Repair(); st.Sent == 0 {
						t.Errorf("it does not begin with repair: %+v", st)
					}
					if lost := quicConnOf(c).ConnectionStats().PacketsLost; lost > 0 {
						t.Errorf("the second handshake lost %d", lost)
					}
				} else if lost := quicConnOf(c).ConnectionStats().PacketsLost; lost != 0 && tt.up == 0 {
					t.Errorf("%d lost", lost)
				}
				if tt.connected == 1 && time.Since(began) > 120*time.Millisecond {
					t.Skip("this machine is too busy to tell its pauses from losses")
				}
				recvConn(t, accepted, tt.connected, scheme)
			})
		}
	}
}

// recvConn takes as many connections as there should be; of WebTransport only those with a session are accepted.
func recvConn(t *testing.T, accepted <-chan Conn, want int32, scheme string) {
	t.Helper()
	if scheme == "https" {
		want = 1
	}
	for range want {
		recv(t, accepted)
	}
	select {
	case c := <-accepted:
		t.Errorf("one more connection, from %v", c.RemoteAddr())
	case <-time.After(50 * time.Millisecond):
	}
}
