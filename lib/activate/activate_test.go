package activate

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestSame(t *testing.T) {
	for _, c := range []struct {
		bound, addr string
		want        bool
	}{
		{"[::]:4443", ":4443", true},
		{"0.0.0.0:4443", ":4443", true},
		{"[::]:4443", "0.0.0.0:4443", true},
		{"[::]:4443", ":4444", false},
		{"127.0.0.1:4443", "127.0.0.1:4443", true},
		{"[::ffff:127.0.0.1]:4443", "127.0.0.1:4443", true},
		{"127.0.0.1:4443", ":4443", false},
		{"[::]:4443", "127.0.0.1:4443", false},
		{"[::]:4443", "localhost:4443", false},
		{"[::]:4443", "nonsense", false},
	} {
		if got := same(netip.MustParseAddrPort(c.bound), c.addr); got != c.want {
			t.Errorf("a socket at %s is the one of %q: %v", c.bound, c.addr, got)
		}
	}
}

func TestGiven(t *testing.T) {
	for _, c := range []struct{ pid, fds string }{{"", ""}, {"5", ""}, {"7", "1"}, {"5", "x"}, {"5", "-1"}, {"5", "99999"}, {"", "1"}} {
		if list := given(c.pid, c.fds, 5); list != nil {
			t.Errorf("LISTEN_PID=%s LISTEN_FDS=%s: %d sockets for process 5", c.pid, c.fds, len(list))
		}
	}
}

// TestSockets: each socket is found by its address and kind, again and again, and no other is.
func TestSockets(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	path := filepath.Join(t.TempDir(), "s")
	socket, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	var files []*os.File
	for _, f := range []func() (*os.File, error){udp.(*net.UDPConn).File, tcp.(*net.TCPListener).File, socket.(*net.UnixListener).File} {
		file, err := f()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		files = append(files, file)
	}
	for range 2 {
		if c := packet(files, udp.LocalAddr().String()); c == nil {
			t.Error("no socket of UDP")
		} else {
			c.Close()
		}
		if l := stream(files, "tcp", tcp.Addr().String()); l == nil {
			t.Error("no socket of TCP")
		} else {
			l.Close()
		}
		l := stream(files, "unix", path)
		if l == nil {
			t.Fatal("no Unix socket")
		}
		l.Close()
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket's file is the service manager's: %v", err)
	}
	if packet(files, "127.0.0.1:1") != nil || stream(files, "unix", path+"x") != nil || stream(files, "tcp", udp.LocalAddr().String()) != nil {
		t.Error("a socket was taken for another")
	}
}
