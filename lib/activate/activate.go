// Package activate takes the sockets that a service manager made before it started this program (sd_listen_fds(3), socket activation). They
// are there while the program is restarted, and may have ports that the program itself must not open.
//
// A socket is found by the address that it is bound to, so the settings of a program say the same with and without a service manager.
package activate

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
)

// first is the descriptor of the first socket.
const first = 3

// sockets are the descriptors that this process was given. They stay open: who takes one gets a copy.
var sockets = sync.OnceValue(func() []*os.File {
	return given(os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getpid())
})

// given opens the descriptors that the variables LISTEN_PID and LISTEN_FDS tell of; none if those are meant for another process.
func given(pid, fds string, self int) (list []*os.File) {
	if n, err := strconv.Atoi(pid); err != nil || n != self {
		return nil
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n < 1 || n > 1000 {
		return nil
	}
	for fd := first; fd < first+n; fd++ {
		keep(fd)
		list = append(list, os.NewFile(uintptr(fd), "LISTEN_FDS"))
	}
	return list
}

// Packet returns the socket of UDP that is bound to addr; nil if none was given.
func Packet(addr string) net.PacketConn { return packet(sockets(), addr) }

func packet(files []*os.File, addr string) net.PacketConn {
	for _, f := range files {
		c, err := net.FilePacketConn(f)
		if err != nil {
			continue // it is of another kind
		}
		if at, ok := c.LocalAddr().(*net.UDPAddr); ok && same(at.AddrPort(), addr) {
			return c
		}
		c.Close()
	}
	return nil
}

// Stream returns the listening socket of TCP at host:port, or of Unix at a path, by network; nil if none was given.
func Stream(network, addr string) net.Listener { return stream(sockets(), network, addr) }

func stream(files []*os.File, network, addr string) net.Listener {
	for _, f := range files {
		l, err := net.FileListener(f)
		if err != nil {
			continue
		}
		switch at := l.Addr().(type) {
		case *net.TCPAddr:
			if network == "tcp" && same(at.AddrPort(), addr) {
				return l
			}
		case *net.UnixAddr:
			if network == "unix" && at.Name == addr {
				return l
			}
		}
		l.Close()
	}
	return nil
}

// same reports whether a socket is bound to host:port. No host, 0.0.0.0 and :: are every address: which of them a service manager binds, it decides.
func same(bound netip.AddrPort, addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port != strconv.Itoa(int(bound.Port())) || bound.Port() == 0 {
		return false
	}
	if host == "" {
		return bound.Addr().IsUnspecified()
	}
	want, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	return want.Unmap() == bound.Addr().Unmap() || want.IsUnspecified() && bound.Addr().IsUnspecified()
}
