package tune

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	"golang.org/x/net/ipv4"

	"every.channel/ec/lib/ts"
)

const (
	// receiveBuffer is what is asked of the kernel: 60 ms of 1 Gbit/s. net.core.rmem_max may grant less.
	receiveBuffer = 8 << 20
	batchSize     = 64
	maxDatagram   = 9216 // a jumbo frame
	ringSize      = 16 << 20
)

type udpSource struct {
	addr Address
	log  *slog.Logger
}

func (s *udpSource) live() bool { return true }

func (s *udpSource) open(ctx context.Context) (connection, error) {
	conn, err := s.listen()
	if err != nil {
		return connection{}, fmt.Errorf("%s: %w", s.addr, err)
	}
	if got := growBuffer(conn, receiveBuffer); got < receiveBuffer {
		s.log.Debug("receive buffer is smaller than asked for; net.core.rmem_max limits it", "bytes", got, "asked", receiveBuffer)
	}
	u := newUDPReader(conn)
	return connection{ReadCloser: u, service: service{tsid: -1, onid: -1}, report: u.losses}, nil
}

func (s *udpSource) listen() (*net.UDPConn, error) {
	addr := net.UDPAddrFromAddrPort(s.addr.Group)
	if !s.addr.Group.Addr().IsMulticast() {
		network := "udp"
		if s.addr.Group.Addr().Is4() {
			network = "udp4"
		}
		return net.ListenUDP(network, addr)
	}
	if s.addr.Iface != "" {
		i, err := net.InterfaceByName(s.addr.Iface)
		if err != nil {
			return nil, err
		}
		return net.ListenMulticastUDP("udp", i, addr)
	}
	return net.ListenMulticastUDP("udp", nil, addr)
}

// udpReader takes the transport packets out of datagrams, with or without an RTP header. A goroutine of
// its own empties the socket into a ring, so that a slow disk or pipe costs memory before it costs
// datagrams: without privileges the kernel's buffer may be as small as 200 kB.
type udpReader struct {
	conn *net.UDPConn
	ring *ring
	done chan struct{}

	sequence uint16 // of RTP, expected
	started  bool

	lost, reordered, malformed atomic.Int64
}

func newUDPReader(c *net.UDPConn) *udpReader {
	u := &udpReader{conn: c, ring: newRing(ringSize), done: make(chan struct{})}
	go u.pump()
	return u
}

func (u *udpReader) losses() losses {
	return losses{u.lost.Load(), u.reordered.Load(), u.malformed.Load()}
}

func (u *udpReader) Read(b []byte) (int, error) { return u.ring.Read(b) }

// Close ends the pump and waits for it.
func (u *udpReader) Close() error {
	err := u.conn.Close()
	u.ring.close(net.ErrClosed)
	<-u.done
	return err
}

// pump moves payloads to the ring until the socket is closed.
func (u *udpReader) pump() {
	defer close(u.done)
	p := ipv4.NewPacketConn(u.conn) // ReadBatch does not care for the family
	batch := make([]ipv4.Message, batchSize)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, maxDatagram)}
	}
	for {
		n, err := p.ReadBatch(batch, 0)
		if err != nil {
			u.ring.close(err)
			return
		}
		for _, m := range batch[:n] {
			if _, err := u.ring.Write(u.payload(m.Buffers[0][:m.N])); err != nil {
				return
			}
		}
	}
}

// payload takes the RTP header (RFC 3550 §5.1) off a datagram and follows its sequence numbers. What
// does not hold whole packets is dropped.
func (u *udpReader) payload(d []byte) []byte {
	if len(d) >= ts.PacketSize && d[0] == ts.SyncByte && len(d)%ts.PacketSize == 0 {
		return d
	}
	if len(d) < 12 || d[0]>>6 != 2 {
		u.malformed.Add(1)
		return nil
	}
	body := d[12:]
	if csrc := 4 * int(d[0]&0x0f); csrc <= len(body) {
		body = body[csrc:]
	}
	if d[0]&0x10 != 0 && len(body) >= 4 { // extension: profile, length in words
		if n := 4 + 4*int(binary.BigEndian.Uint16(body[2:])); n <= len(body) {
			body = body[n:]
		}
	}
	if d[0]&0x20 != 0 && len(body) > 0 { // padding: its last byte is its length
		if n := int(body[len(body)-1]); n <= len(body) {
			body = body[:len(body)-n]
		}
	}
	if len(body) == 0 || len(body)%ts.PacketSize != 0 || body[0] != ts.SyncByte {
		u.malformed.Add(1)
		return nil
	}
	seq := binary.BigEndian.Uint16(d[2:])
	switch gap := int16(seq - u.sequence); {
	case !u.started:
		u.started, u.sequence = true, seq+1
	case gap < 0:
		u.reordered.Add(1)
	default:
		u.lost.Add(int64(gap))
		u.sequence = seq + 1
	}
	return body
}
