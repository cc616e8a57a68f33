package torture

import (
	"math"
	"math/rand/v2"

	"every.channel/ec/lib/ts"
)

const (
	wrap  = ts.PCRWrap
	never = math.MaxInt64
)

// program is another program of the multiplex.
type program struct {
	number uint16
	pmt    ts.PID
	s      *source
}

// step is a jump of the broadcast's clock.
type step struct {
	at   int64
	base int64 // the clock's value at time 0 from then on
	// counters start anew, too
	restart bool
}

// generator is a multiplexer.
type generator struct {
	spec    *Spec
	out     *Stream
	mux     *rand.Rand
	sources []*source
	others  []program
	length  int64
	ids     uint64

	seg      int16
	base     []int64 // clock at time 0, by seg
	ppm      int64
	steps    []step
	stepAt   []int64
	utc      int64 // Unix time at time 0, 27 MHz ticks
	leapAt   int64
	scramble [2]int64 // from, to
	changeAt int64    // of the PMT
	changes  []change
	titleNow bool // SDT or VCT follow a change at once
	epoch    int  // changes that were made
	ownPCR   ts.PID

	tables   []*table
	counters map[ts.PID]*uint8
	queue    []packet // sections on their way
	pcrEvery int64
	pcrDue   int64
	pcrLast  int64
	now      int64
	pmts     int // sent
}

// table is sent again and again. make queues its sections and tells when it is due again.
type table struct {
	next     int64
	make     func(now int64) (next int64)
	identity bool // SDT, VCT
}

func (g *generator) rng(what string) *rand.Rand {
	h := uint64(14695981039346656037)
	for i := range len(what) {
		h = (h ^ uint64(what[i])) * 1099511628211
	}
	return rand.New(rand.NewPCG(g.spec.Seed, h))
}

func (g *generator) nextID() uint64 {
	g.ids++
	return g.ids
}

// Generate makes the stream of a spec.
func Generate(spec *Spec) *Stream {
	h := &spec.H
	g := &generator{spec: spec, counters: map[ts.PID]*uint8{}}
	g.mux = g.rng("mux")
	g.out = &Stream{spec: spec, tracks: map[ts.PID]*track{}, program: uint16(1 + g.mux.IntN(2000)), atsc: h[hSystem] == 1,
		named: h[hIdent] == 0, patSecs: 1}
	if h[hPATSections] != 0 {
		g.out.patSecs = 2
	}
	g.length = int64(14+h[hLen]) * second
	g.ppm = []int64{0, 30, -30}[h[hDrift]]
	g.clocks()
	g.changeAt, g.leapAt = never, never
	if h[hPMTChange] != 0 {
		g.changeAt = g.length/3 + g.rng("change").Int64N(g.length/3)
	}
	if h[hLeap] != 0 {
		g.leapAt = g.length / 2
	}
	if h[hScrambled] != 0 {
		r := g.rng("scrambled")
		g.scramble[0] = g.length/4 + r.Int64N(g.length/3)
		g.scramble[1] = g.scramble[0] + r.Int64N(4*second)
	}
	g.moves()
	g.elementary()
	g.settle()
	g.psi()
	g.pcrEvery = second / 1000 * int64(20+h[hPCREvery])
	switch h[hPCR] { // at most 100 ms apart, H.222.0 §2.7.2
	case 0: // the next packet of video may take a while
		g.pcrEvery = min(g.pcrEvery, second/20)
	case 2:
		g.pcrEvery = min(g.pcrEvery, second*7/100)
	}
	g.run()
	for _, t := range g.out.cuts {
		g.out.longest = max(g.out.longest, t.longestGap())
	}
	g.out.tell()
	// A table is sent up to 100 ms late, and its time is that of the next PCR, up to 100 ms later.
	g.out.jitter = second/5 + second/1000*int64(h[hTimeJitter]) + second*int64(h[hLeap])
	if len(g.base) > 1 && h[hDisc] == 1 { // a small step is none where every PCR announces one
		g.out.jitter += second / 4
	}
	for k := 1; k < len(g.base); k++ { // nor is one that hides in the distance of access units or PCRs, if PCRs are lost
		if d := mod(g.base[k]-g.base[k-1]+wrap/2, wrap) - wrap/2; d > -g.apart() && d < second/4 {
			g.out.jitter += max(d, -d)
		}
	}
	g.out.base = g.base
	for _, b := range g.base {
		off := mod(g.utc-b+wrap/2, wrap) - wrap/2
		hour := 3600 * int64(second)
		edge := mod(off, hour) - hour/2
		g.out.edges = append(g.out.edges, min(max(edge, -edge), wrap/2-max(off, -off)))
	}
	return g.out
}

// apart is how far access units of the cut PID may lie apart.
func (g *generator) apart() int64 {
	if g.spec.H[hCodec] == 3 {
		return second / 4
	}
	if g.spec.H[hStreams] == videoLeaves {
		return max(periods[g.spec.H[hFPS]], second/4)
	}
	return periods[g.spec.H[hFPS]]
}

// clocks draws the broadcast's clock, its steps and UTC.
func (g *generator) clocks() {
	h := &g.spec.H
	r := g.rng("clock")
	// Some time in 2026.
	g.utc = 1_767_225_600*second + r.Int64N(365*86400*second)
	base := r.Int64N(wrap)
	off := func(utcLess int64) int64 { return mod(g.utc-utcLess, wrap) } // the clock is UTC less so much
	hour := int64(r.IntN(25)-12)*3600*second + 1800*second
	switch h[hClock] {
	case 1:
		base = wrap - g.length/2
	case 2:
		base = off(hour + r.Int64N(2*second) - second)
	case 3:
		base = off(hour + r.Int64N(180*second) - 90*second)
	case 4:
		base = off(wrap/2 + r.Int64N(4*second) - 2*second)
	}
	g.base = []int64{base}
	third := g.length / 3
	at := third + r.Int64N(third/2)
	switch h[hStep] {
	case 1:
		away := r.Int64N(wrap)
		if r.IntN(3) == 0 { // a little away only
			away = mod(base+r.Int64N(20*second)-10*second, wrap)
		}
		g.steps = []step{{at: at, base: away}, {at: at + second + r.Int64N(7*second), base: base}}
	case 2:
		g.steps = []step{{at: at, base: mod(r.Int64N(2*second)-at, wrap), restart: true}}
	case 3:
		g.steps = []step{{at: at, base: mod(base-second/5-r.Int64N(10*second), wrap)}}
	case 4:
		g.steps = []step{{at: at, base: mod(base+second/20+r.Int64N(10*second), wrap)}}
	}
	for _, s := range g.steps {
		g.stepAt = append(g.stepAt, s.at)
	}
}

func mod(a, m int64) int64 { return (a%m + m) % m }

// clock is the broadcast's clock at a time, by the run of it that counts now.
func (g *generator) clock(t int64) uint64 {
	return uint64(mod(g.base[g.seg]+t+t/1_000_000*g.ppm, wrap))
}

// stamp is a PTS or DTS for a time.
func (g *generator) stamp(t int64) uint64 { return g.clock(t) / 300 }

// run multiplexes.
func (g *generator) run() {
	h := &g.spec.H
	g.out.packets = make([]packet, 0, 350*(g.length/second))
	slot := int64(0)
	if h[hCBR] != 0 {
		n := int64(len(g.tables)+8) * (g.length / (second / 5))
		for _, s := range g.sources {
			for i := range s.units {
				n += int64(len(s.units[i].body)+20)/170 + 1
			}
		}
		n += g.length / g.pcrEvery
		n += n * int64(h[hDup]) / 1000
		slot = g.length / (n * 15 / 10)
	}
	for _, s := range g.sources {
		s.next = never
		if len(s.units) > 0 && !g.waits(s) {
			s.next = s.units[0].start
		}
	}
	for g.now < g.length {
		const spacing = second / 20000
		var src *source
		var tab *table
		next := int64(never)
		due := int64(never) // the next change
		if g.epoch < len(g.changes) && len(g.queue) == 0 && g.idle() {
			if due = g.changes[g.epoch].at; g.now >= due {
				g.move()
			}
		}
		pcr := false
		if len(g.queue) > 0 {
			next = g.now
		} else {
			for _, s := range g.sources {
				if s.next < next {
					next, src = s.next, s
				}
			}
			for _, t := range g.tables {
				if t.next < next {
					next, src, tab = t.next, nil, t
				}
			}
			{
				due := g.pcrDue
				switch h[hPCR] {
				case 0: // a bare packet only where there would be none for 100 ms
					due = g.pcrLast + second*95/1000
				case 2:
					due += g.pcrEvery / 4
				}
				if len(g.steps) > 0 && h[hPCR] != 0 {
					due = min(due, g.steps[0].at)
				}
				if due < next || slot != 0 && due <= g.now+slot { // ahead of what waits
					next, src, tab, pcr = due, nil, nil, true
				}
			}
		}
		if next == never {
			return
		}
		if slot == 0 && due < next && due > g.now {
			g.now = due
			continue
		}
		if slot == 0 {
			g.now = max(g.now+spacing, next)
		} else {
			g.now += slot
			if g.now-next > second/5 {
				g.now -= slot / 2
			}
			if next > g.now {
				if tab == nil {
					var p packet
					p.data.SetNull()
					g.put(p)
					continue
				}
			}
		}
		switch {
		case len(g.queue) > 0:
			p := g.queue[0]
			g.queue = g.queue[1:]
			g.put(p)
		case pcr:
			g.barePCR()
		case tab != nil:
			tab.next = tab.make(g.now)
			g.now -= slot // nothing was sent yet
		default:
			g.send(src)
		}
	}
}

func (g *generator) put(p packet) {
	p.at, p.seg = g.now, g.seg
	g.out.packets = append(g.out.packets, p)
}

// field is what an adaptation field holds beside stuffing.
type field struct {
	disc, rai, priority bool
	pcr                 bool
	opcr                bool
	splice              bool
	private             []byte
	stuffing            int
	clock               uint64
}

// fill builds a packet and returns how much of payload it took. H.222.0 §2.4.3.4.
func fill(p *ts.Packet, pid ts.PID, start bool, cc uint8, f *field, payload []byte) int {
	p.SetHeader(pid, start, cc)
	var space [ts.PacketSize]byte
	af := space[:0]
	flags := byte(0)
	set := func(on bool, bit byte) bool {
		if on {
			flags |= bit
		}
		return on
	}
	set(f.disc, 0x80)
	set(f.rai, 0x40)
	set(f.priority, 0x20)
	af = append(af, 0)
	appendPCR := func(v uint64) {
		b, e := v/300, v%300
		af = append(af, byte(b>>25), byte(b>>17), byte(b>>9), byte(b>>1), byte(b<<7)|0x7e|byte(e>>8), byte(e))
	}
	if set(f.pcr, 0x10) {
		appendPCR(f.clock)
	}
	if set(f.opcr, 0x08) {
		appendPCR((f.clock + 12345) % wrap)
	}
	if set(f.splice, 0x04) {
		af = append(af, 0x7f)
	}
	if set(len(f.private) > 0, 0x02) {
		af = append(append(af, byte(len(f.private))), f.private...)
	}
	af[0] = flags
	for range f.stuffing {
		af = append(af, 0xff)
	}
	if flags == 0 && f.stuffing == 0 {
		af = af[:0]
	}
	room := ts.PacketSize - 4
	if len(af) > 0 {
		room -= 1 + len(af)
	}
	n := min(len(payload), max(room, 0))
	if n < room { // fill up
		if len(af) == 0 {
			room-- // adaptation_field_length
			if n < room {
				af = append(af, 0)
				room--
			}
			p[3] |= 0x20
		}
		for ; n < room; room-- {
			af = append(af, 0xff)
		}
	}
	at := 4
	if len(af) > 0 || p[3]&0x20 != 0 {
		p[3] |= 0x20
		p[4] = byte(len(af))
		copy(p[5:], af)
		at = 5 + len(af)
	}
	if len(payload) == 0 {
		p[3] &^= 0x10
	}
	copy(p[at:], payload[:n])
	return n
}

// copy sends the packet of a source again.
func (g *generator) copy(s *source) {
	p := *s.again
	s.again = nil
	p.copy, p.change = true, false
	if p.pcr {
		p.data.SetPCR(g.clock(g.now))
	}
	g.put(p)
	s.next = g.now + s.gap
	if len(s.rest) == 0 {
		g.after(s)
	}
}

// send sends the next packet of a source.
func (g *generator) send(s *source) {
	h := &g.spec.H
	if s.again != nil {
		g.copy(s)
		return
	}
	if len(s.rest) == 0 {
		g.open(s)
	}
	if h[hStuff]&2 != 0 && s.kind != kindOther && s.kind != kindSparse && g.mux.IntN(25) == 0 {
		var f field
		g.extras(&f, true)
		p := packet{kind: s.kind}
		fill(&p.data, s.pid, false, (s.cc-1)&15, &f, nil)
		g.put(p)
		return // the unit stays due
	}
	u := &s.units[s.n]
	p := packet{kind: s.kind}
	var f field
	f.rai = s.opening && s.kind == kindVideo && (h[hRAI] == 0 && u.rai || h[hRAI] == 2)
	if s.kind == kindAudio {
		f.rai = s.opening && h[hRAI] == 2
	}
	isPCR := s.pid == g.out.pcrPID
	restart := s.opening && len(g.steps) > 0 && g.steps[0].restart && g.now >= g.steps[0].at
	if isPCR && (h[hPCR] == 0 || h[hPCR] == 2) && (g.now >= g.pcrDue || restart) {
		g.clocked(&f, false, s.opening)
		p.pcr = true
	}
	if s.kind != kindOther {
		if h[hDisc] == 2 && !s.sent || h[hDisc] == 3 && !isPCR && g.mux.IntN(20) == 0 {
			f.disc = true
		}
		if s.forgot && s.opening { // a counter jumps at an access point, H.222.0 §2.4.3.5
			s.forgot = false
			s.cc = uint8(g.mux.IntN(16))
			p.jump = h[hIllegal] != 1
			if p.jump && h[hDisc] == 5 && !isPCR {
				bare := packet{kind: s.kind, announces: true}
				fill(&bare.data, s.pid, false, (s.cc-1)&15, &field{disc: true}, nil)
				g.put(bare)
			} else {
				f.disc = f.disc || p.jump
			}
		}
		g.extras(&f, false)
	}
	if s.opening && s.rest == nil {
		g.write(s, u)
	}
	n := fill(&p.data, s.pid, s.opening, s.cc, &f, s.rest)
	if v := h[hScrambled]; g.now >= g.scramble[0] && g.now < g.scramble[1] && (v == 1 && s.kind == kindVideo || v == 3 && s.kind == kindAudio) {
		p.data[3] |= 0x80 // transport_scrambling_control
		p.scrambled = true
	}
	p.scrambled = p.scrambled || s.secret
	s.cc = (s.cc + 1) & 15
	s.sent = true
	if t := s.track; t != nil {
		p.unit, p.local = true, int32(len(t.starts))
		t.starts = append(t.starts, int32(len(t.bytes)))
		t.index = append(t.index, int32(len(g.out.packets)))
		t.bytes = append(t.bytes, s.rest[:n]...)
	}
	s.rest = s.rest[n:]
	s.opening = false
	g.put(p)
	s.next += s.gap
	if h[hDup] > 0 && s.kind != kindOther && g.mux.IntN(1000) < h[hDup] {
		s.again = &packet{data: p.data, kind: p.kind, unit: p.unit, local: p.local, pcr: p.pcr, jump: p.jump, scrambled: p.scrambled}
		s.next = 0 // at once
		if h[hDupApart] != 0 {
			s.next = g.now + g.mux.Int64N(second/100)
		}
		return
	}
	if len(s.rest) == 0 {
		g.after(s)
	}
}

// after makes the unit that follows due.
func (g *generator) after(s *source) {
	s.n++
	s.rest, s.opening = nil, false
	if s.n >= len(s.units) || g.waits(s) {
		s.next = never
		return
	}
	s.next = max(s.units[s.n].start, g.now)
}

// open takes up a unit.
func (g *generator) open(s *source) {
	s.opening = true
	u := &s.units[s.n]
	s.rest = nil
	packets := int64(len(u.body)+20)/176 + 1
	s.gap = max(u.end-max(u.start, g.now), 0) / packets
}

// write makes the bytes of a unit, now that it is known which clock it is stamped with.
func (g *generator) write(s *source, u *unit) {
	if u.section {
		s.rest = append([]byte{0}, u.body...) // pointer_field
	} else {
		pes := ts.PES{StreamID: s.streamID, HasPTS: u.hasPTS, HasDTS: u.hasDTS, PTS: g.stamp(u.pts), DTS: g.stamp(u.dts), DataAlignment: u.aligned}
		head := pes.Append(nil)
		if n := len(head) + len(u.body) - 6; u.bounded && n < 1<<16 {
			head[4], head[5] = byte(n>>8), byte(n)
		}
		s.secret = g.spec.H[hScrambled] == 2 && s.kind == kindVideo && g.now >= g.scramble[0] && g.now < g.scramble[1]
		if s.secret {
			head[6] |= 0x20 // PES_scrambling_control
		}
		s.rest = append(head, u.body...)
	}
	if t := s.track; t != nil {
		t.units = append(t.units, len(t.bytes))
		for _, a := range u.aus {
			t.aus = append(t.aus, accessUnit{len(t.bytes) + len(s.rest) - len(u.body) + a.at, a.rap, a.shown, a.decoded})
		}
	}
}
