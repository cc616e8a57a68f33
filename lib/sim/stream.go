package sim

import (
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// A stream is a clip as packets of one PID, repeated for ever. Access unit n has DTS n·frame on the
// broadcast's UTC clock, always with the same number of packets, so that continuity counters follow
// from n alone.
type stream struct {
	pid     ts.PID
	clip    *clip
	pcr     bool        // carries the program's PCR
	lead    clock.Ticks // how long before its DTS an access unit is sent
	packets []ts.Packet // of one pass through the clip, with stamps, PCR and counters still to fill in
	first   []int       // index into packets of each unit; one more entry ends the last
}

// PES stream_id, H.222.0 table 2-22; AC-3 is private_stream_1 (A/52 annex A).
const (
	streamIDPrivate1 = 0xbd
	streamIDAudio    = 0xc0
	streamIDVideo    = 0xe0
)

// How long before its decoding time an access unit is sent: what a decoder has to buffer.
const (
	videoLead clock.Ticks = 63_000 // 0.7 s
	audioLead clock.Ticks = 36_000 // 0.4 s
)

func newStream(c *clip, pid ts.PID, pcr, scrambled bool) *stream {
	s := &stream{pid: pid, clip: c, pcr: pcr, lead: videoLead}
	id := uint8(streamIDVideo)
	if c.audio() {
		s.lead = audioLead
		id = streamIDAudio
		if c.codec == "ac3" {
			id = streamIDPrivate1
		}
	}
	var pes []byte
	for _, u := range c.units {
		s.first = append(s.first, len(s.packets))
		h := ts.PES{StreamID: id, DataAlignment: true, HasPTS: true, HasDTS: u.reorder != 0}
		pes = append(h.Append(pes[:0]), u.data...)
		if c.audio() {
			n := len(pes) - 6
			pes[4], pes[5] = byte(n>>8), byte(n)
		}
		for rest, start := pes, true; len(rest) > 0; start = false {
			hdr := ts.Header{PID: pid, UnitStart: start, RandomAccess: start && u.key, HasPCR: start && pcr}
			var p ts.Packet
			rest = rest[p.Fill(&hdr, rest):]
			if scrambled {
				scramble(&p)
			}
			s.packets = append(s.packets, p)
		}
	}
	s.first = append(s.first, len(s.packets))
	return s
}

// scramble makes the payload unreadable, with the even key by its header. It is no real cipher.
func scramble(p *ts.Packet) {
	p[3] |= 0x80
	x := uint32(0x9e3779b9)
	for i, b := range p.Payload() {
		x = x*1664525 + 1013904223
		p[ts.PacketSize-len(p.Payload())+i] = b ^ byte(x>>24)
	}
}

// before is the number of packets of all access units before n.
func (s *stream) before(n int64) int64 {
	loops, i := n/int64(len(s.clip.units)), n%int64(len(s.clip.units))
	return loops*int64(len(s.packets)) + int64(s.first[i])
}

// firstIn is the first access unit sent in a slot or later.
func (s *stream) firstIn(slot int64) int64 {
	from, frame := slot*slotTicks+int64(s.lead), int64(s.clip.frame)
	return (from + frame - 1) / frame
}

// most is the largest number of packets that one slot can hold.
func (s *stream) most() int {
	units := int(slotTicks+int64(s.clip.frame)-1) / int(s.clip.frame)
	most := 0
	for i := range s.clip.units {
		sum := 0
		for j := range units {
			k := (i + j) % len(s.clip.units)
			sum += s.first[k+1] - s.first[k]
		}
		most = max(most, sum)
	}
	return most
}

// A cursor walks through the packets of a stream.
type cursor struct {
	unit int64 // access unit
	i    int   // index of the unit in the clip
	k    int   // index into packets
	cc   uint8
}

// at is the first packet of access unit n.
func (s *stream) at(n int64) cursor {
	i := int(n % int64(len(s.clip.units)))
	return cursor{unit: n, i: i, k: s.first[i], cc: uint8(s.before(n)) & 0x0f}
}

// next moves c to the next packet.
func (s *stream) next(c *cursor) {
	c.k++
	c.cc++
	if c.k == s.first[c.i+1] {
		c.unit++
		c.i++
		if c.i == len(s.clip.units) {
			c.i, c.k = 0, 0
		}
	}
}

// put writes the packet at c into p; offset is what the program's clock is ahead of UTC.
func (s *stream) put(p *ts.Packet, c *cursor, pcr uint64, offset clock.Ticks, scrambled bool) {
	*p = s.packets[c.k]
	p.SetContinuity(c.cc)
	if c.k != s.first[c.i] {
		return
	}
	if s.pcr {
		p.SetPCR(pcr)
	}
	if scrambled {
		return // stamps that nobody can read
	}
	dts := clock.Ticks(c.unit)*s.clip.frame + offset
	pes := p.Payload()
	if r := s.clip.units[c.i].reorder; r != 0 {
		putStamp(pes[9:14], 3, (dts + r).PTS())
		putStamp(pes[14:19], 1, dts.PTS())
	} else {
		putStamp(pes[9:14], 2, dts.PTS())
	}
}

// putStamp writes a PTS or DTS field, H.222.0 §2.4.3.7.
func putStamp(b []byte, prefix byte, v clock.PTS) {
	b[0] = prefix<<4 | byte(v>>30&7)<<1 | 1
	b[1] = byte(v >> 22)
	b[2] = byte(v>>15)<<1 | 1
	b[3] = byte(v >> 7)
	b[4] = byte(v)<<1 | 1
}
