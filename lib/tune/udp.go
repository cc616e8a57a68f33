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

// udpReader takes the transport packets out of datagrams, with or without an RTP header.
type udpReader struct {
	*net.UDPConn
	p       *ipv4.PacketConn
	batch   []ipv4.Message
	next, n int // of the batch
	rest    []byte

	sequence uint16 // expected
	started  bool

	lost, reordered, malformed atomic.Int64
}

func newUDPReader(c *net.UDPConn) *udpReader {
	u := &udpReader{UDPConn: c, p: ipv4.NewPacketConn(c), batch: make([]ipv4.Message, batchSize)}
	for i := range u.batch {
		u.batch[i].Buffers = [][]byte{make([]byte, maxDatagram)}
	}
	return u
}

func (u *udpReader) losses() losses {
	return losses{u.lost.Load(), u.reordered.Load(), u.malformed.Load()}
}

// Read fills b with the payloads of as many datagrams as are at hand.
func (u *udpReader) Read(b []byte) (int, error) {
	n := 0
	for {
		k := copy(b[n:], u.rest)
		u.rest = u.rest[k:]
		if n += k; n == len(b) {
			return n, nil
		}
		if u.next == u.n {
			if n > 0 {
				return n, nil
			}
			var err error
			if u.n, err = u.p.ReadBatch(u.batch, 0); err != nil {
				return 0, err
			}
			u.next = 0
		}
		m := &u.batch[u.next]
		u.next++
		u.rest = u.payload(m.Buffers[0][:m.N])
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
