package repair

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// packet is a datagram that waits for QUIC to read it.
type packet struct {
	b, oob []byte
	from   net.Addr
}

// maxQueue bounds what waits for QUIC; it reads at once, so this is for a flood that one read brings back.
const maxQueue = 2 * ringLen

// deliver hands a datagram to QUIC; it keeps nothing of what it is given.
func (c *Conn) deliver(inner, oob []byte, from net.Addr) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(c.queue) >= maxQueue {
		return
	}
	var b []byte
	if n := len(c.spare); n > 0 {
		b, c.spare = c.spare[n-1], c.spare[:n-1]
	}
	b = append(append(b[:0], inner...), oob...)
	c.queue = append(c.queue, packet{b[:len(inner)], b[len(inner):], from})
	c.queued.Store(true)
}

// interrupt makes a read that waits look at the queue.
func (c *Conn) interrupt() {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(c.queue) > 0 {
		c.socket.SetReadDeadline(time.Unix(1, 0))
	}
}

// take moves datagrams from the queue into messages.
func (c *Conn) take(ms []ipv4.Message) (n int) {
	if !c.queued.Load() {
		return 0
	}
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for n < len(ms) && n < len(c.queue) {
		p := &c.queue[n]
		put(&ms[n], p.b, p.oob, p.from)
		if len(c.spare) < 64 {
			c.spare = append(c.spare, p.b)
		}
		n++
	}
	rest := copy(c.queue, c.queue[n:])
	clear(c.queue[rest:])
	c.queue = c.queue[:rest]
	c.queued.Store(rest > 0)
	return n
}

func put(m *ipv4.Message, b, oob []byte, from net.Addr) {
	m.N, m.NN, m.Addr, m.Flags = copy(m.Buffers[0], b), copy(m.OOB, oob), from, 0
}

// ReadBatch fills messages with a datagram of QUIC each.
func (c *Conn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	for {
		if n := c.take(ms); n > 0 {
			return n, nil
		}
		n := 0
		var last *net.UDPAddr // datagrams that the kernel hands over as one have the same
		for n < len(ms) {
			b, oob, from, err := c.socket.ReadDatagram()
			if err != nil {
				if c.again(err) {
					break
				}
				return 0, err
			}
			if !isFrame(b) {
				if from != last {
					last, c.reading = from, c.lookup(from.AddrPort())
					c.left(from.AddrPort())
				}
				c.reading.counted()
			}
			if !isFrame(b) || c.sort(b, oob, from) {
				put(&ms[n], b, oob, from)
				n++
			}
			if !c.socket.Pending() {
				break
			}
		}
		if n > 0 {
			return n, nil
		}
	}
}

// again reports whether a read failed only because of interrupt.
func (c *Conn) again(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if d := c.deadline; !d.IsZero() && !time.Now().Before(d) {
		return false
	}
	c.socket.SetReadDeadline(c.deadline)
	return true
}

// counted counts a datagram without a number; p may be nil.
func (p *path) counted() {
	if p == nil {
		return
	}
	p.gotPlain.Add(1)
	if !p.active.Load() {
		p.active.Store(true)
	}
}

// sort looks at a datagram that came: true if it is QUIC's as it is.
func (c *Conn) sort(b, oob []byte, from *net.UDPAddr) bool {
	if !isFrame(b) {
		c.lookup(from.AddrPort()).counted()
		c.left(from.AddrPort())
		return true
	}
	h, err := parseHead(b)
	if err != nil {
		c.handshake(b, oob, from)
		return false
	}
	c.mu.RLock()
	p := c.byID[h.path]
	c.mu.RUnlock()
	switch {
	case p != nil:
		if p.frame(h, b, oob, from) {
			c.relocate(p)
		}
	case c.some.Load() && !c.o.Accept:
		// A client knows all of its paths.
	case h.kind == typeData, h.kind == typeResend: // of a path that a former run of this program, or this one, has forgotten
		c.deliver(b[headLen:len(b)-tagLen], oob, from)
	}
	return false
}

// WriteMsgUDP sends datagrams of QUIC.
func (c *Conn) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (int, int, error) {
	p, at := c.reach(to)
	if p != nil {
		if sent, err := p.send(b, oob, segment(oob), at); sent || err != nil {
			return len(b), len(oob), err
		}
	}
	return c.socket.WriteMsgUDP(b, oob, at)
}

// ReadFrom and WriteTo are for systems on which quic-go reads and sends one by one.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	ms := []ipv4.Message{{Buffers: [][]byte{b}}}
	_, err := c.ReadBatch(ms, 0)
	return ms[0].N, ms[0].Addr, err
}

func (c *Conn) WriteTo(b []byte, to net.Addr) (int, error) {
	a, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, &net.AddrError{Err: "not a UDP address", Addr: to.String()}
	}
	n, _, err := c.WriteMsgUDP(b, nil, a)
	return n, err
}

func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.deadline = t
	return c.socket.SetReadDeadline(t)
}

func (c *Conn) SetWriteDeadline(t time.Time) error { return c.socket.SetWriteDeadline(t) }
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
func (c *Conn) LocalAddr() net.Addr { return c.socket.LocalAddr() }

// kernelSocket is a socket that the kernel knows, by which quic-go reads and sends in bulk.
type kernelSocket interface {
	SyscallConn() (syscall.RawConn, error)
	SetReadBuffer(int) error
	SetWriteBuffer(int) error
}

type bulkConn struct {
	*Conn
	kernelSocket
}

// ReadMsgUDP is not called by quic-go, which has ReadBatch.
func (b bulkConn) ReadMsgUDP([]byte, []byte) (int, int, int, *net.UDPAddr, error) {
	return 0, 0, 0, nil, errors.ErrUnsupported
}

// PacketConn is what quic.Transport gets.
func (c *Conn) PacketConn() net.PacketConn {
	if k, ok := c.socket.(kernelSocket); ok {
		return bulkConn{c, k}
	}
	return c
}
