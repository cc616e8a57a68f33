package tune

import (
	"bytes"

	"every.channel/ec/lib/ts"
)

// framer finds the packets in a stream that is handed to it piece by piece, and never holds the stream
// itself up. What is out of step it skips.
type framer struct {
	stride int
	carry  [256]byte // the beginning of a packet whose rest comes with the next piece
	have   int
	skip   int // bytes between packets, for strides beyond 188
}

// feed calls f for each whole packet in b and returns how many bytes of b it took: all of them, or those up
// to and including the packet for which f returned false. The packet is valid during the call.
func (m *framer) feed(b []byte, f func(*ts.Packet) bool) int {
	all := len(b)
	for len(b) > 0 {
		if m.skip > 0 {
			n := min(m.skip, len(b))
			m.skip -= n
			b = b[n:]
			continue
		}
		if m.have > 0 {
			n := copy(m.carry[m.have:ts.PacketSize], b)
			m.have += n
			b = b[n:]
			if m.have < ts.PacketSize {
				break
			}
			m.have, m.skip = 0, m.stride-ts.PacketSize
			if !f((*ts.Packet)(m.carry[:])) {
				break
			}
			continue
		}
		if b[0] != ts.SyncByte {
			i := bytes.IndexByte(b, ts.SyncByte)
			if i < 0 {
				return all
			}
			b = b[i:]
			// A sync byte within a packet: the next one does not follow it.
			if len(b) > m.stride && b[m.stride] != ts.SyncByte {
				b = b[1:]
				continue
			}
		}
		if len(b) < ts.PacketSize {
			m.have = copy(m.carry[:], b)
			b = nil
			break
		}
		p := (*ts.Packet)(b)
		n := min(m.stride, len(b))
		m.skip = m.stride - n
		b = b[n:]
		if !f(p) {
			break
		}
	}
	return all - len(b)
}

// reset forgets a packet that was cut off.
func (m *framer) reset() { m.have, m.skip = 0, 0 }
