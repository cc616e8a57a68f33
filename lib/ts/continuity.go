package ts

import (
	"encoding/binary"
)

// Event is what a continuity counter says about a packet.
type Event uint8

const (
	// Ok: the packet follows the one before, or is the first of its PID.
	Ok Event = iota
	// Duplicate: the packet repeats the one before; a receiver drops it.
	Duplicate
	// Gap: packets of this PID are missing before this one.
	Gap
	// Jump: the counter does not go on, and discontinuity_indicator announces that; packets may be missing, too.
	Jump
)

func (e Event) String() string {
	switch e {
	case Ok:
		return "ok"
	case Duplicate:
		return "duplicate"
	case Gap:
		return "gap"
	case Jump:
		return "jump"
	}
	return "unknown"
}

const (
	ccSeen = 0x80 // the low nibble holds the last counter
	ccDup  = 0x40 // a duplicate was already had
	ccBare = 0x20 // it is that of a packet without payload with discontinuity_indicator
)

// Continuity follows the counters of all PIDs by H.222.0 §2.4.3.3. The zero value is ready.
type Continuity struct {
	state [NumPIDs]uint8
	bare  [NumPIDs]uint8   // how packets without payload count, see moves
	last  [NumPIDs]*Packet // with payload, to tell a duplicate from 15 lost packets
	lost  int
	total uint64

	lent   bool             // the packets stay where they are until Keep is called
	there  [NumPIDs]bool    // last is such a packet
	theirs []PID            // of which that is so
	own    [NumPIDs]*Packet // room for a copy
}

// Lend says that packets given to Check and Follow stay as they are until Keep is called, which copies what must be known longer: once for each
// PID, and not for each packet.
func (c *Continuity) Lend() { c.lent = true }

// Keep ends a run of packets that were lent.
func (c *Continuity) Keep() {
	for _, pid := range c.theirs {
		if c.own[pid] == nil {
			c.own[pid] = new(Packet)
		}
		*c.own[pid] = *c.last[pid]
		c.last[pid], c.there[pid] = c.own[pid], false
	}
	c.theirs = c.theirs[:0]
}

// Check judges p against the packets of its PID before. A packet with transport_error_indicator, a null
// packet and one with the reserved adaptation_field_control 0 are Ok and teach nothing, and neither does a packet without
// payload: its counter stands still, and shows nothing that the next packet with payload does not show. Only behind one with
// discontinuity_indicator its counter counts: there sixteen lost packets show nowhere else.
func (c *Continuity) Check(p *Packet) Event {
	afc := p[3] & 0x30
	pid := p.PID() & (NumPIDs - 1)
	if p[1]&0x80 != 0 || pid == PIDNull || afc == 0 {
		return Ok
	}
	cc := p[3] & 0x0f
	s := c.state[pid]
	flagged := afc != 0x10 && p.Discontinuity()
	if afc == 0x20 {
		moved := s&ccSeen != 0 && c.moves(pid, s, cc)
		if !flagged && !moved {
			if s&ccBare == 0 || cc == s&0x0f {
				return Ok
			}
			c.state[pid] = ccSeen | ccBare | cc
			c.lost = int(cc-s) & 0x0f
			c.total += uint64(c.lost)
			return Gap
		}
		c.state[pid] = ccSeen | cc
		if flagged {
			c.state[pid] |= ccBare
		}
		if moved || s&ccSeen == 0 || cc == s&0x0f {
			return Ok
		}
		return Jump
	}
	again := cc == s&0x0f && s&(ccSeen|ccDup) == ccSeen && c.last[pid] != nil && p.repeats(c.last[pid])
	c.keep(pid, p)
	c.state[pid] = ccSeen | cc
	if s&ccSeen == 0 || cc == (s+1)&0x0f {
		return Ok
	}
	if again {
		c.state[pid] = ccSeen | ccDup | cc
		return Duplicate
	}
	c.lost = int(cc-s-1) & 0x0f
	if flagged {
		return Jump
	}
	c.total += uint64(c.lost)
	return Gap
}

// Follow takes the packets at the start of run, one after the other, that hold a PID's payload and nothing else, begin nothing and follow each other
// and the one before as their counters say: those for which Check is Ok and a reader has nothing to do. It returns how many bytes they are.
func (c *Continuity) Follow(pid PID, run []byte) (n int) {
	s := c.state[pid&(NumPIDs-1)]
	if s&ccSeen == 0 {
		return 0
	}
	const priority = 1 << 21 // transport_priority, which says nothing here
	head := SyncByte<<24 | uint32(pid)<<8 | 0x10
	for len(run)-n >= PacketSize && binary.BigEndian.Uint32(run[n:])&^priority == head|uint32(s+1)&0x0f {
		s = ccSeen | (s+1)&0x0f
		n += PacketSize
	}
	if n > 0 {
		c.state[pid&(NumPIDs-1)] = s
		c.keep(pid&(NumPIDs-1), (*Packet)(run[n-PacketSize:]))
	}
	return n
}

const (
	bareStill = 0xff // a packet without payload had the counter of the packet before, as it should
	bareMoves = 3    // so many in a row, and never another, moved it
)

// moves reports whether the counter of a packet without payload counts: some multiplexers count those, too. One such packet may as
// well follow a lost one, so it takes three, and none that stood still.
func (c *Continuity) moves(pid PID, s, cc uint8) bool {
	switch {
	case cc == s&0x0f:
		c.bare[pid] = bareStill
	case cc == (s+1)&0x0f && c.bare[pid] < bareMoves:
		c.bare[pid]++
		s &^= ccDup
	}
	return c.bare[pid] == bareMoves && cc == (s+1)&0x0f
}

// Lost is the number of packets missing before the last Gap or Jump, modulo 16.
func (c *Continuity) Lost() int { return c.lost }

// TotalLost is the sum of Lost over all gaps: at least so many packets are missing.
func (c *Continuity) TotalLost() uint64 { return c.total }

// Forget drops what is known of pid: its next packet is Ok.
func (c *Continuity) Forget(pid PID) { c.state[pid&(NumPIDs-1)] = 0 }

func (c *Continuity) keep(pid PID, p *Packet) {
	if c.lent {
		c.last[pid] = p
		if !c.there[pid] {
			c.there[pid] = true
			c.theirs = append(c.theirs, pid)
		}
		return
	}
	if c.last[pid] == nil {
		c.last[pid] = new(Packet)
	}
	*c.last[pid] = *p
}

// repeats reports whether a packet is the one before once more: every byte but the PCR (§2.4.3.3). None is left out, as a table that has
// changed in one byte is no duplicate of the one before.
func (p *Packet) repeats(q *Packet) bool {
	if [6]byte(p[:6]) != [6]byte(q[:6]) || [PacketSize - 12]byte(p[12:]) != [PacketSize - 12]byte(q[12:]) {
		return false
	}
	pcr := p[3]&0x20 != 0 && p[4] >= 7 && p[5]&0x10 != 0
	return pcr || [6]byte(p[6:12]) == [6]byte(q[6:12])
}
