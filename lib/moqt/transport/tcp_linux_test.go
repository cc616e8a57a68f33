package transport

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Little waits in a TCP socket behind what was sent, at either end: an urgent object would wait behind it. Where there is BBR, both have it.
func TestTCPSocket(t *testing.T) {
	l, err := ListenTCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := (&net.Dialer{Control: tcpSocket}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	known, err := os.ReadFile("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if known, err = os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control"); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]net.Conn{"dialed": dialed, "accepted": accepted} {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); err != nil || n != notSentLowat {
				t.Errorf("%s: TCP_NOTSENT_LOWAT is %d, %v; want %d", name, n, err, notSentLowat)
			}
			if !slices.Contains(strings.Fields(string(known)), bbr) {
				return
			}
			if control, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION); err != nil || control != bbr {
				t.Errorf("%s: TCP_CONGESTION is %q, %v; want %q", name, control, err, bbr)
			}
		})
	}
}
