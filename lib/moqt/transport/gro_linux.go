package transport

import (
	"encoding/binary"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// groConn lets the kernel hand over several datagrams of one sender as one (UDP_GRO, udp(7)), which costs the kernel and this
// process less than one by one. quic-go reads them through ReadBatch, as it would from the socket.
type groConn struct {
	*net.UDPConn
	in   batchReader
	msgs []ipv4.Message // as they came; msgs[next:got] are still to be taken apart
	next int
	got  int
	rest []byte // the bytes left of the message before msgs[next]
	size int    // the size of the datagrams in rest
	oob  []byte // the control messages of each of them
	from net.Addr
}

type batchReader interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
}

const (
	groBatch  = 8       // how many datagrams quic-go reads at once
	groBuffer = 1 << 16 // the most a datagram may hold
	groOOB    = 192
)

// coalescing returns a socket that reads datagrams in bulk, or udp itself where the kernel cannot do so.
func coalescing(udp net.PacketConn) net.PacketConn {
	u, ok := udp.(*net.UDPConn)
	if !ok {
		return udp
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return udp
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) }); err != nil || failed != nil {
		return udp
	}
	c := &groConn{UDPConn: u, in: ipv4.NewPacketConn(u), msgs: make([]ipv4.Message, groBatch)}
	for i := range c.msgs {
		c.msgs[i] = ipv4.Message{Buffers: [][]byte{make([]byte, groBuffer)}, OOB: make([]byte, groOOB)}
	}
	return c
}

// ReadBatch fills messages with a datagram each.
func (c *groConn) ReadBatch(ms []ipv4.Message, flags int) (n int, err error) {
	if len(c.rest) == 0 && c.next == c.got {
		c.next, c.got = 0, 0
		if c.got, err = c.in.ReadBatch(c.msgs, flags); err != nil {
			c.got = 0
			return 0, err
		}
	}
	for n < len(ms) {
		if len(c.rest) == 0 {
			if c.next == c.got {
				break
			}
			m := &c.msgs[c.next]
			c.next++
			c.rest, c.from = m.Buffers[0][:m.N], m.Addr
			c.size, c.oob = segments(m.OOB[:m.NN], m.N) // an empty datagram is one, too
		}
		size := min(c.size, len(c.rest))
		m := &ms[n]
		m.N, m.NN, m.Addr, m.Flags = copy(m.Buffers[0], c.rest[:size]), copy(m.OOB, c.oob), c.from, 0
		c.rest = c.rest[size:]
		n++
	}
	return n, nil
}

// segments finds the size of the datagrams in the control messages of a read of n bytes; it is n if there is only one datagram.
// It returns the other control messages too.
func segments(oob []byte, n int) (size int, others []byte) {
	size, others = n, oob[:0]
	for all := oob; len(all) >= unix.SizeofCmsghdr; {
		h, body, rest, err := unix.ParseOneSocketControlMessage(all)
		if err != nil {
			break
		}
		if h.Level != unix.IPPROTO_UDP || h.Type != unix.UDP_GRO {
			others = append(others, all[:len(all)-len(rest)]...)
		} else if len(body) >= 4 { // an int in the machine's order
			if s := int(int32(binary.NativeEndian.Uint32(body))); s > 0 {
				size = s
			}
		}
		all = rest
	}
	return size, others
}
