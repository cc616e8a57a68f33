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
	if c, bulk := bulkSocket(u); bulk {
		return c
	}
	return udp
}

// bulkSocket returns a socket that reads several datagrams at a time, and whether the kernel hands over several as one.
func bulkSocket(u *net.UDPConn) (c *groConn, coalesced bool) {
	raw, err := u.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) })
		coalesced = err == nil && failed == nil
	}
	c = &groConn{UDPConn: u, in: ipv4.NewPacketConn(u), msgs: make([]ipv4.Message, groBatch)}
	for i := range c.msgs {
		c.msgs[i] = ipv4.Message{Buffers: [][]byte{make([]byte, groBuffer)}, OOB: make([]byte, groOOB)}
	}
	return c, coalesced
}

// Pending reports whether ReadDatagram has a datagram without waiting.
func (c *groConn) Pending() bool { return len(c.rest) > 0 || c.next < c.got }

// ReadDatagram returns the next datagram, with the control messages that came with it. It is valid until the next call.
func (c *groConn) ReadDatagram() (b, oob []byte, from *net.UDPAddr, err error) {
	if err := c.fill(0); err != nil {
		return nil, nil, nil, err
	}
	b = c.one()
	from, _ = c.from.(*net.UDPAddr)
	return b, c.oob, from, nil
}

// fill reads from the socket if nothing is left of the last time.
func (c *groConn) fill(flags int) (err error) {
	if c.Pending() {
		return nil
	}
	c.next, c.got = 0, 0
	if c.got, err = c.in.ReadBatch(c.msgs, flags); err != nil {
		c.got = 0
	}
	return err
}

// one takes a datagram of those that were read; there is one.
func (c *groConn) one() []byte {
	if len(c.rest) == 0 {
		m := &c.msgs[c.next]
		c.next++
		c.rest, c.from = m.Buffers[0][:m.N], m.Addr
		c.size, c.oob = segments(m.OOB[:m.NN], m.N) // an empty datagram is one, too
	}
	size := min(c.size, len(c.rest))
	b := c.rest[:size]
	c.rest = c.rest[size:]
	return b
}

// ReadBatch fills messages with a datagram each.
func (c *groConn) ReadBatch(ms []ipv4.Message, flags int) (n int, err error) {
	if err := c.fill(flags); err != nil {
		return 0, err
	}
	for n < len(ms) && c.Pending() {
		b, m := c.one(), &ms[n]
		m.N, m.NN, m.Addr, m.Flags = copy(m.Buffers[0], b), copy(m.OOB, c.oob), c.from, 0
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
