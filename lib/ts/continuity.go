package ts

import "encoding/binary"

// Event is what a continuity counter says about a packet.
type Event uint8

const (
	// Ok: the packet follows the one before, or is the first of its PID.
	Ok Event = iota
	// Duplicate: the packet repeats the one before; a receiver drops it.
	Duplicate
	// Gap: packets of this PID are missing before this one.
	Gap
	// Reset: discontinuity_indicator announces that counter and clock may have jumped.
	Reset
)

func (e Event) String() string {
	switch e {
	case Ok:
		return "ok"
	case Duplicate:
		return "duplicate"
	case Gap:
		return "gap"
	case Reset:
		return "reset"
	}
	return "unknown"
}

const (
	ccSeen = 0x80 // the low nibble holds the last counter
	ccDup  = 0x40 // a duplicate was already had
)

// Continuity follows the counters of all PIDs by H.222.0 §2.4.3.3. The zero value is ready.
type Continuity struct {
	state [NumPIDs]uint8
	print [NumPIDs]uint64 // of the last payload, to tell a duplicate from 15 lost packets
	lost  int
	total uint64
}

// Check judges p against the packets of its PID before. A packet with transport_error_indicator, a null
// packet and one with the reserved adaptation_field_control 0 are Ok and teach nothing.
func (c *Continuity) Check(p *Packet) Event {
	afc := p[3] & 0x30
	pid := p.PID() & (NumPIDs - 1)
	if p[1]&0x80 != 0 || pid == PIDNull || afc == 0 {
		return Ok
	}
	cc := p[3] & 0x0f
	s := c.state[pid]
	if afc != 0x10 && p.Discontinuity() {
		c.state[pid] = ccSeen | cc
		c.print[pid] = fingerprint(p)
		return Reset
	}
	if afc == 0x20 { // no payload: the counter stands still
		if s&ccSeen == 0 || s&0x0f == cc {
			c.state[pid] = ccSeen | s&ccDup | cc
			return Ok
		}
		c.state[pid] = ccSeen | cc
		return c.gap(int(cc-s) & 0x0f)
	}
	f := fingerprint(p)
	last := c.print[pid]
	c.print[pid] = f
	c.state[pid] = ccSeen | cc
	if s&ccSeen == 0 || cc == (s+1)&0x0f {
		return Ok
	}
	if cc == s&0x0f && s&ccDup == 0 && f == last {
		c.state[pid] = ccSeen | ccDup | cc
		return Duplicate
	}
	return c.gap(int(cc-s-1) & 0x0f)
}

func (c *Continuity) gap(n int) Event {
	c.lost = n
	c.total += uint64(n)
	return Gap
}

// Lost is the number of packets missing before the last Gap, modulo 16.
func (c *Continuity) Lost() int { return c.lost }

// TotalLost is the sum of Lost over all gaps: at least so many packets are missing.
func (c *Continuity) TotalLost() uint64 { return c.total }

// Forget drops what is known of pid: its next packet is Ok.
func (c *Continuity) Forget(pid PID) { c.state[pid&(NumPIDs-1)] = 0 }

// fingerprint samples the payload. A duplicate repeats every byte but the PCR (§2.4.3.3), which lies
// before byte 12.
func fingerprint(p *Packet) uint64 {
	a := binary.LittleEndian.Uint64(p[PacketSize-8:])
	b := binary.LittleEndian.Uint64(p[96:])
	return a*0x9e3779b97f4a7c15 + b
}
