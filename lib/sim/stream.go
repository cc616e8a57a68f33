package sim

import (
	"sort"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// A stream is a clip as packets of one PID, repeated for ever. Each pass through it takes the same time and has the
// same packets, so that time stamps and continuity counters follow from the number of a PES packet alone.
type stream struct {
	pid       ts.PID
	audio     bool
	pcr       pcrPlaces
	scrambled bool        // nobody can read stamps
	lead      clock.Ticks // how long before its DTS an access unit is sent
	length    clock.Ticks // of a pass
	pes       []pesPacket
	packets   []packet // of one pass, with stamps, PCR and counters still to fill in
	first     []int    // index into packets of each PES packet; one more entry ends the last
	payloads  []int    // how many packets before each PES packet move the counter; one more entry for all
}

// pcrPlaces says which packets of a stream have room for a PCR.
type pcrPlaces uint8

const (
	pcrNowhere  pcrPlaces = iota
	pcrStarts             // the first of each PES packet, and all of them have one
	pcrAnywhere           // every second packet; the slot chooses
)

// A packet is one of a stream.
type packet struct {
	ts.Packet
	start bool // of a PES packet
	still bool // does not move the counter: a copy of the packet before, or without payload
	copy  bool
	pcr   bool // has room for a PCR
	field bool // has flags that can be set
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

// Adaptation field stuffing leaves so many bytes of payload in each stuffEvery-th packet; each bareEvery-th is
// followed by one without payload.
const (
	stuffEvery, stuffPayload = 6, 90
	bareEvery                = 9
)

func newStream(c *clip, pid ts.PID, pcr pcrPlaces, scrambled bool, h *Habits, pause Pause) *stream {
	s := &stream{pid: pid, audio: c.audio(), pcr: pcr, scrambled: scrambled, lead: videoLead}
	id := uint8(streamIDVideo)
	size := h.PESSize
	if s.audio {
		s.lead = audioLead
		id = streamIDAudio
		if c.codec == "ac3" {
			id = streamIDPrivate1
		}
		size = (size + 2) / 3
	}
	var pass []access
	pass, s.length = passOf(c, h, pause)
	s.pes = pesPackets(pass, h.PESUnits, size)
	var pes []byte
	payloads := 0
	for _, u := range s.pes {
		s.first = append(s.first, len(s.packets))
		s.payloads = append(s.payloads, payloads)
		head := ts.PES{StreamID: id, DataAlignment: u.aligned, HasPTS: u.begins, HasDTS: u.begins && u.reorder != 0}
		pes = head.Append(pes[:0])
		if n := len(pes) + len(u.data) - 6; s.audio || size > 0 {
			pes[4], pes[5] = byte(n>>8), byte(n)
		}
		if h.PESScrambled {
			pes[6] |= 0x20 // PES_scrambling_control, H.222.0 §2.4.3.7: user-defined
		}
		header := len(pes)
		pes = append(pes, u.data...)
		if h.PESScrambled {
			garble(pes[header:])
		}
		few := len(pes) < 5*(ts.PacketSize-4)
		for rest, i := pes, 0; len(rest) > 0; i++ {
			p := packet{start: i == 0}
			p.pcr = pcr == pcrStarts && p.start || pcr == pcrAnywhere && (few || i%2 == 0)
			hdr := ts.Header{PID: pid, UnitStart: p.start, RandomAccess: p.start && u.key, HasPCR: p.pcr}
			p.field = hdr.RandomAccess || hdr.HasPCR
			now := rest
			if h.StuffField && i%stuffEvery == stuffEvery-1 {
				now = rest[:min(len(rest), stuffPayload)]
			}
			rest = rest[p.Fill(&hdr, now):]
			if scrambled {
				scramble(&p.Packet)
			}
			s.packets = append(s.packets, p)
			payloads++
			if h.Duplicates > 0 && uint32(payloads)*2654435761>>8%uint32(h.Duplicates) == 0 {
				p.copy, p.still = true, true
				s.packets = append(s.packets, p)
			}
			if h.StuffBare && payloads%bareEvery == 0 {
				p := packet{still: true}
				p.Fill(&ts.Header{PID: pid}, nil)
				s.packets = append(s.packets, p)
			}
		}
	}
	s.first = append(s.first, len(s.packets))
	s.payloads = append(s.payloads, payloads)
	return s
}

// scramble makes the payload unreadable, with the even key by its header. It is no real cipher.
func scramble(p *ts.Packet) {
	p[3] |= 0x80
	garble(p[ts.PacketSize-len(p.Payload()):])
}

func garble(b []byte) {
	x := uint32(0x9e3779b9)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] ^= byte(x >> 24)
	}
}

// split is the pass that PES packet n is in, and its place there.
func (s *stream) split(n int64) (pass int64, i int) {
	return n / int64(len(s.pes)), int(n % int64(len(s.pes)))
}

// before is the number of packets of all PES packets before n.
func (s *stream) before(n int64) int64 {
	pass, i := s.split(n)
	return pass*int64(len(s.packets)) + int64(s.first[i])
}

// moves is how often the counter moved before PES packet n.
func (s *stream) moves(n int64) int64 {
	pass, i := s.split(n)
	return pass*int64(s.payloads[len(s.pes)]) + int64(s.payloads[i])
}

// firstIn is the first PES packet sent in a slot or later.
func (s *stream) firstIn(slot int64) int64 {
	from := clock.Ticks(slot*slotTicks) + s.lead
	pass, in := int64(from/s.length), from%s.length
	i := sort.Search(len(s.pes), func(i int) bool { return s.pes[i].at >= in })
	return pass*int64(len(s.pes)) + int64(i)
}

// most is the largest number of packets that one slot can hold.
func (s *stream) most() int {
	most := 0
	for i, p := range s.pes {
		sum := 0
		for n := int64(i); ; n++ {
			pass, j := s.split(n)
			if clock.Ticks(pass)*s.length+s.pes[j].at >= p.at+clock.Ticks(slotTicks) {
				break
			}
			sum += s.first[j+1] - s.first[j]
		}
		most = max(most, sum)
	}
	return most
}

// A cursor walks through the packets of a stream.
type cursor struct {
	pass int64
	i    int   // index of the PES packet in the pass
	k    int   // index into packets
	cc   uint8 // of the next packet that moves it
}

// at is the first packet of PES packet n, when the counter was 0 at PES packet base.
func (s *stream) at(n, base int64) cursor {
	pass, i := s.split(n)
	return cursor{pass: pass, i: i, k: s.first[i], cc: uint8(s.moves(n)-s.moves(base)) & 0x0f}
}

// next moves c to the next packet.
func (s *stream) next(c *cursor) {
	if !s.packets[c.k].still {
		c.cc++
	}
	c.k++
	if c.k == s.first[c.i+1] {
		c.i++
		if c.i == len(s.pes) {
			c.pass++
			c.i, c.k = 0, 0
		}
	}
}

// What a slot says of a packet.
const (
	markPCR           = 1 << iota // carries a PCR
	markDiscontinuity             // has discontinuity_indicator
)

// put writes the packet at c into p; offset is what the program's clock is ahead of UTC.
func (s *stream) put(p *ts.Packet, c *cursor, mark uint8, pcr uint64, offset clock.Ticks) {
	from := &s.packets[c.k]
	*p = from.Packet
	cc := c.cc
	if from.still {
		cc--
	}
	p.SetContinuity(cc)
	if from.pcr {
		if s.pcr == pcrStarts || mark&markPCR != 0 {
			p.SetPCR(pcr)
		} else {
			p[5] &^= 0x10 // PCR_flag; its place is stuffing
			for i := 6; i < 12; i++ {
				p[i] = 0xff
			}
		}
	}
	if mark&markDiscontinuity != 0 {
		p[5] |= 0x80
	}
	u := &s.pes[c.i]
	if !from.start || s.scrambled || !u.begins {
		return
	}
	dts := clock.Ticks(c.pass)*s.length + u.stamp + offset
	pes := p.Payload()
	if r := u.reorder; r != 0 {
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
