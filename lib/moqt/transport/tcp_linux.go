package transport

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// notSentLowat is how many unsent bytes may wait in a TCP socket. More urgent data cannot overtake these bytes.
const notSentLowat = 64 << 10

// bbr is a congestion control that takes no loss for a full path: 8 Mbit/s pass where 10 % is lost, of which Reno carries 4 % at a
// loss of 3 %. Browsers have no other way to get a broadcast over such a path, as repair is not for them (docs/performance.md, Lossy paths).
const bbr = "bbr"

// tcpSocket is a Control of net.Dialer and net.ListenConfig that keeps the queue in a TCP socket short (TCP_NOTSENT_LOWAT,
// tcp(7)) and takes bbr; accepted sockets have both from their listener. Where the kernel does not know one, or does not let this user have it
// (tcp_allowed_congestion_control), all is as usual.
func tcpSocket(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	return c.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat)
		unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, bbr)
	})
}
