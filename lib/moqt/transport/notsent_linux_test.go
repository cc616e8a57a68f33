package transport

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Little waits in a TCP socket behind what was sent, at either end: an urgent object would wait behind it.
func TestQueueOfTCPIsShort(t *testing.T) {
	l, err := ListenTCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := (&net.Dialer{Control: shortQueue}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	for name, c := range map[string]net.Conn{"dialed": dialed, "accepted": accepted} {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); err != nil || n != notSentLowat {
				t.Errorf("%s: TCP_NOTSENT_LOWAT is %d, %v; want %d", name, n, err, notSentLowat)
			}
		})
	}
}
