package transport

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// notSentLowat is how many unsent bytes may wait in a TCP socket. More urgent data cannot overtake these bytes.
const notSentLowat = 64 << 10

// shortQueue is a Control of net.Dialer and net.ListenConfig that keeps the queue in a TCP socket short (TCP_NOTSENT_LOWAT,
// tcp(7)); accepted sockets have it from their listener. Where the kernel does not know it, the queue is as long as usual.
func shortQueue(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat) })
}
