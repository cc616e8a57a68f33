package torture

import (
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// unit is a PES packet or a section that waits to be sent.
type unit struct {
	start, end int64 // when its packets are sent
	pts, dts   int64 // 27 MHz
	hasPTS     bool
	hasDTS     bool
	bounded    bool // PES_packet_length is set
	aligned    bool
	section    bool
	rai        bool
	body       []byte
	aus        []accessUnit // at: offset in body
	part       int          // of video: changes that were before it, of those that video takes part in
	after      int          // it is sent after so many changes
}

// source sends the units of one elementary PID.
type source struct {
	pid      ts.PID
	kind     kind
	streamID uint8
	stream   psi.Stream // as the PMT says
	from     int64      // before that it is not in the PMT
	leaves   bool       // it goes away for a while
	home     *source    // of a stream that has moved here
	turns    []int      // changes that it takes part in
	units    []unit
	track    *track

	cc      uint8
	next    int64
	n       int    // of units
	rest    []byte // of the unit in hand
	opening bool   // the next packet starts a unit
	gap     int64  // between packets
	again   *packet
	forgot  bool // the counter starts anew with the next payload
	sent    bool
	secret  bool // the unit in hand is scrambled
}

// frame periods in 27 MHz ticks, by hFPS.
var periods = []int64{1080000, 1125000, 900900, 540000, 450450, second, 3 * second}

// coded is an access unit of video before it goes into PES packets.
type coded struct {
	body     []byte
	pts, dts int64
	rap      bool
	second   bool // second field of a pair
	part     int  // as in unit
	start    int64
	end      int64
}

const videoDelay = second * 6 / 10 // from sending to decoding

// video makes the pictures of the stream in decoding order.
func (g *generator) video(r *rand.Rand, s *source) []coded {
	h := &g.spec.H
	period := periods[h[hFPS]]
	fields := h[hFields] != 0
	small := h[hFPS] == 3 || h[hFPS] == 4
	var all []coded
	t := videoDelay + r.Int64N(second/3) // decoding time of the next picture
	first, codec := true, h[hCodec]
	var steps []int64 // where video starts anew
	if h[hStepGOP] != 0 {
		steps = append(steps, g.stepAt...)
	}
	var turns []int64
	for _, e := range g.turns(s) {
		turns = append(turns, g.changes[e-1].at)
	}
	steps = append(steps, turns...)
	slices.Sort(steps)
	part := 0
	emit := func(p picture, shown int64) {
		p.size = 40 + r.IntN(260)
		switch {
		case p.kind == 'I':
			p.size = 500 + r.IntN(1500)
		case p.kind == 'B':
			p.size = 20 + r.IntN(150)
		}
		if small {
			p.size /= 2
		}
		n := 1
		if fields {
			n = 2
		}
		for f := range n {
			q := p
			q.id = g.nextID()
			if fields {
				q.field = 1 + f
				q.size /= 2
				if f == 1 {
					q.rap, q.idr, q.sets = false, false, false
					if q.kind == 'I' {
						q.kind = 'P'
					}
				}
			}
			c := coded{dts: t + int64(f)*period/2, pts: shown + int64(f)*period/2, rap: q.rap, second: f == 1}
			c.part = part
			switch codec {
			case 0:
				c.body = h264(nil, r, &q, fields)
			case 1:
				c.body = mpeg2(nil, r, &q)
			default:
				c.body = hevc(nil, r, &q)
			}
			c.start = c.dts - videoDelay
			c.end = c.start + min(period/int64(n), second/10)*9/10
			all = append(all, c)
		}
		t += period
	}
	for t-videoDelay < g.length {
		want := int64(0)
		switch h[hGOP] {
		case 0:
			want = second / 2
		case 1:
			want = second
		case 2:
			want = second * 24 / 10
		case 3:
			want = second * 4
		default:
			want = second/5 + r.Int64N(3*second)
		}
		n := max(int(want/period), 1)
		m := h[hReorder] + 1
		open := h[hOpen] == 1 || h[hOpen] == 2 && r.IntN(2) == 0
		refresh := h[hOpen] == 3 && !first
		if first {
			open = false
		}
		if len(steps) > 0 && t-videoDelay >= steps[0] {
			open, refresh = false, false
		}
		late := int64(0)
		if m > 1 {
			late = period
		}
		base := t
		number := 0
		pic := func(kind byte, order int, rap bool, leading bool) {
			if len(steps) > 0 && t-videoDelay >= steps[0] && !rap {
				return // video starts anew
			}
			p := picture{kind: kind, order: order, rap: rap, leading: leading, number: number}
			p.sets = rap || h[hSets] != 0
			p.idr = rap && !open && !refresh
			if refresh && rap {
				p.kind, p.refresh = 'P', true
			}
			number++
			emit(p, base+int64(order)*period+late)
		}
		for len(steps) > 0 && t-videoDelay >= steps[0] {
			steps = steps[1:]
		}
		for len(turns) > part && t-videoDelay >= turns[part] {
			part++
			codec = g.place(s, g.turns(s)[part-1]).codec
		}
		switch {
		case m == 1 || n < m+1:
			for i := range n {
				k := byte('P')
				if i == 0 {
					k = 'I'
				}
				pic(k, i, i == 0, false)
			}
		case open: // shown before the I picture: B pictures that need the GOP before
			for a := 0; a*m < n; a++ {
				k := byte('P')
				if a == 0 {
					k = 'I'
				}
				pic(k, (a+1)*m-1, a == 0, false)
				for i := range m - 1 {
					pic('B', a*m+i, false, a == 0)
				}
			}
		default:
			pic('I', 0, true, false)
			for a := 0; 1+(a+1)*m <= n; a++ {
				pic('P', (a+1)*m, false, false)
				for i := range m - 1 {
					pic('B', a*m+1+i, false, false)
				}
			}
		}
		first = false
	}
	return all
}

// videoUnits puts pictures into PES packets.
func (g *generator) videoUnits(r *rand.Rand, all []coded) (units []unit) {
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].part == all[0].part {
			n++
		}
		from := len(units)
		units = append(units, g.packUnits(r, all[:n])...)
		for i := range units[from:] {
			units[from+i].part = all[0].part
		}
		all = all[n:]
	}
	return units
}

// packUnits does so with pictures between which nothing changes.
func (g *generator) packUnits(r *rand.Rand, all []coded) (units []unit) {
	h := &g.spec.H
	limit := func(u *unit) { u.bounded = h[hPESLen] != 0 }
	stamp := func(u *unit, c *coded) {
		u.pts, u.dts, u.hasPTS, u.hasDTS = c.pts, c.dts, true, c.pts != c.dts
	}
	if h[hPES] == 3 {
		// Cut anywhere, but not inside the first bytes of an access unit more often than chance has it.
		var stream []byte
		offs := make([]int, len(all)+1)
		for i := range all {
			offs[i] = len(stream)
			stream = append(stream, all[i].body...)
		}
		offs[len(all)] = len(stream)
		for at, i := 0, 0; at < len(stream); {
			end := min(at+200+r.IntN(1300), len(stream))
			u := unit{body: stream[at:end], start: -1, rai: false}
			limit(&u)
			for j := i; j > 0 && offs[j] > at; j-- { // the access unit that goes on here
				u.start = all[j-1].start + (all[j-1].end-all[j-1].start)*int64(at-offs[j-1])/int64(offs[j]-offs[j-1])
				break
			}
			k := i
			for ; k < len(all) && offs[k] < end; k++ {
				if !u.hasPTS {
					stamp(&u, &all[k])
					if u.start < 0 {
						u.start = all[k].start
					}
				}
				u.rai = u.rai || all[k].rap
				u.aus = append(u.aus, accessUnit{offs[k] - at, all[k].rap, all[k].pts, all[k].dts})
			}
			last := max(k-1, 0)
			u.end = all[last].start + (all[last].end-all[last].start)*int64(end-offs[last])/int64(offs[last+1]-offs[last])
			i, at = k, end
			units = append(units, u)
		}
		return units
	}
	for i := 0; i < len(all); {
		n := 1
		if h[hPES] != 0 {
			n = 1 + r.IntN(4)
		}
		if h[hFields] == 1 {
			n *= 2
		}
		u := unit{start: all[i].start, aligned: h[hPES] < 2}
		limit(&u)
		stamp(&u, &all[i])
		for j := range n {
			if i >= len(all) || j > 0 && all[i].rap && h[hPES] == 1 {
				break
			}
			c := &all[i]
			u.aus = append(u.aus, accessUnit{len(u.body), c.rap, c.pts, c.dts})
			u.body = append(u.body, c.body...)
			u.end = c.end
			u.rai = u.rai || c.rap
			i++
		}
		units = append(units, u)
	}
	return units
}

// newSource adds an elementary stream.
func (g *generator) newSource(pid ts.PID, k kind, id uint8, kindOf psi.StreamType, d psi.Descriptors) *source {
	s := &source{pid: pid, kind: k, streamID: id, stream: psi.Stream{Type: kindOf, PID: pid, Descriptors: d}}
	s.cc = uint8(g.mux.IntN(16))
	if k != kindOther {
		s.track = &track{pid: pid, kind: k}
		g.out.tracks[pid] = s.track
		g.out.order = append(g.out.order, s.track)
	}
	g.sources = append(g.sources, s)
	return s
}

// audioUnits fills an audio PID between two times, but for a pause.
func (g *generator) audioUnits(s *source, r *rand.Rand, from, to, pause, resume int64) {
	h := &g.spec.H
	const delay = second * 4 / 10
	phase := r.Int64N(second / 50)
	for t := from + delay + phase; t-delay < to; {
		u := unit{start: t - delay, pts: t, dts: t, hasPTS: true, bounded: true, aligned: true}
		for range 1 + h[hAudioFrames] {
			u.aus = append(u.aus, accessUnit{len(u.body), true, t, t})
			var d int64
			u.body, d = audioFrame(u.body, r, h[hAudioCodec], g.nextID())
			t += d
		}
		u.end = t - delay - second/200
		if u.start < pause || u.start >= resume {
			s.units = append(s.units, u)
		}
	}
}

// sparseUnits fills a PID that is heard now and then.
func (g *generator) sparseUnits(s *source, r *rand.Rand, section bool) {
	every := int64(1+g.spec.H[hSparseEvery]) * second
	for t := r.Int64N(every); t < g.length; t += every/2 + r.Int64N(every) {
		u := unit{start: t, end: t + second/50, pts: t + second/2, dts: t + second/2, hasPTS: true, bounded: true, section: section}
		n := 20 + r.IntN(400)
		if section {
			u.body = g.spliceInfo(r, s.stream.Type)
		} else {
			u.body = append(u.body, 0x20, 0x00, 0x0f)
			u.body = noise(appendID(u.body, g.nextID()), r, n)
		}
		s.units = append(s.units, u)
	}
}

// spliceInfo is a private section, with splice_info_section's table_id on a SCTE 35 PID.
func (g *generator) spliceInfo(r *rand.Rand, t psi.StreamType) []byte {
	b := []byte{0xfc, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xf0, 0x05, 0x06, 0xfe} // time_signal
	if t != psi.TypeSCTE35 {
		b = []byte{0x80, 0x30, 0}
	}
	b = appendID(b, g.nextID())
	b = noise(b, r, 10+r.IntN(60))
	b[2] = byte(len(b) + 4 - 3)
	crc := psi.CRC32(b)
	return append(b, byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc))
}

// lookalike is a section that would be a table of the other system, had it come on a PID that is not a stream's.
func (g *generator) lookalike(pid ts.PID, r *rand.Rand) []byte {
	at := time.Unix(g.utc/second+r.Int64N(1<<20), 0).UTC()
	switch pid {
	case ts.PIDSDT:
		return psi.SDT{TSID: 99, ONID: 98, Version: uint8(r.IntN(32)), Services: []psi.Service{{ID: g.out.program, Running: 4,
			Descriptors: psi.ServiceDescriptor(1, "", string(noise(nil, r, 9)))}}}.Append(nil)
	case ts.PIDTDT:
		t := psi.TOT{UTC: at}
		t.Descriptors = psi.AppendDescriptor(nil, 0x99, appendID(nil, g.nextID()))
		return t.Append(nil)
	}
	if r.IntN(2) == 0 {
		return psi.STTAt(at, 18).Append(nil)
	}
	v := psi.VCT{TSID: 97, Version: uint8(r.IntN(32))}
	v.Channels = []psi.VirtualChannel{{ShortName: "NO", Major: 5, Minor: uint16(r.IntN(900)), Modulation: 4, TSID: 97, Program: g.out.program, ServiceType: 2, SourceID: uint16(r.IntN(9999))}}
	return v.Append(nil)
}

// elementary makes all elementary streams of the program.
func (g *generator) elementary() {
	h := &g.spec.H
	base := ts.PID(0x100 + 0x10*g.mux.IntN(0x100))
	g.out.pmtPID, base = base, base+1
	var video *source
	if h[hCodec] != 3 {
		video = g.newSource(base, kindVideo, 0xe0, videoTypes[h[hCodec]], nil)
		video.leaves = h[hStreams] == videoLeaves
		r := g.rng("video")
		video.units = g.videoUnits(r, g.video(r, video))
	}
	base++
	audio := func(d psi.Descriptors) *source {
		kinds := []psi.StreamType{psi.TypeMPEG1Audio, psi.TypeAC3, psi.TypeAAC}
		k, id := kinds[h[hAudioCodec]], uint8(0xc0)
		if h[hAudioCodec] == 1 {
			id = 0xbd
			if h[hSystem] == 0 {
				k = psi.TypePrivate
				d = append(psi.AppendDescriptor(nil, psi.TagAC3, []byte{0}), d...)
			}
		}
		base++
		return g.newSource(base, kindAudio, id, k, d)
	}
	n := h[hAudio] + 1
	if h[hAudio] == 3 {
		n = 0
	}
	for i := range n {
		s := audio(psi.LanguageDescriptor([]string{"eng", "fra", "deu"}[i]))
		pause, resume := g.length, g.length
		if h[hAudioStop] != 0 && i == n-1 && (i > 0 || video != nil) {
			pause = g.length / 3
			resume = pause + second*3/2 + g.rng("pause").Int64N(5*second)
		}
		g.audioUnits(s, g.rng("audio"+string(rune('0'+i))), 0, g.length, pause, resume)
		s.leaves = h[hStreams] == audioLeaves && i == n-1
	}
	if h[hAudioDead] != 0 {
		audio(psi.LanguageDescriptor("und"))
	}
	if h[hPMTChange] == 2 {
		s := audio(psi.LanguageDescriptor("spa"))
		s.from = g.changeAt
		g.audioUnits(s, g.rng("added"), g.changeAt+second/5, g.length, g.length, g.length)
	}
	for bit, f := range []func() (*source, bool){
		func() (*source, bool) {
			return g.newSource(base, kindSparse, 0, psi.TypeSCTE35, nil), true
		},
		func() (*source, bool) {
			return g.newSource(base, kindSparse, 0xbd, psi.TypePrivate, psi.AppendDescriptor(nil, psi.TagSubtitling, []byte("eng\x10\x00\x01\x00\x01"))), false
		},
		func() (*source, bool) {
			return g.newSource(base, kindSparse, 0xbd, psi.TypePrivate, psi.AppendDescriptor(nil, psi.TagTeletext, []byte("eng\x09\x00"))), false
		},
		func() (*source, bool) { return g.newSource(base, kindSparse, 0, psi.TypeSections, nil), true },
	} {
		base++
		if h[hSparse]&(1<<bit) == 0 {
			continue
		}
		s, section := f()
		g.sparseUnits(s, g.rng("sparse"+string(rune('0'+bit))), section)
	}
	if h[hTrap]&8 != 0 { // the other system's tables are no tables here: the PMT says that this is a stream
		pid := ts.PIDPSIP
		if g.out.atsc {
			pid = []ts.PID{ts.PIDSDT, ts.PIDTDT}[g.spec.Seed%2]
		}
		s := g.newSource(pid, kindSparse, 0, psi.TypeSections, nil)
		r := g.rng("trap")
		for t := int64(second / 9); t < g.length; t += second/2 + r.Int64N(second) {
			s.units = append(s.units, unit{start: t, end: t + second/50, section: true, body: g.lookalike(pid, r)})
		}
	}
	if h[hPCR] == 3 {
		g.ownPCR = base + 1
		base++
	}
	for i := range h[hPrograms] {
		base += 2
		s := g.newSource(base, kindOther, 0xe0, psi.TypeMPEG2Video, nil)
		g.others = append(g.others, program{g.out.program + uint16(100+i), base + 1, s})
		r := g.rng("other" + string(rune('0'+i)))
		for t := int64(0); t < g.length; t += second / 10 {
			s.units = append(s.units, unit{start: t, end: t + second/20, pts: t + second, hasPTS: true, body: noise(nil, r, 150+r.IntN(200))})
		}
		base++
	}
	g.spread()
}

// longestGap is the longest distance of random access points; where PES packets hold several access units, of those that are
// the first to commence in theirs, because that is where it must be possible to cut.
func (t *track) longestGap() (longest int64) {
	var shown []int64
	for i, a := range t.aus {
		if i == 0 || i == len(t.aus)-1 || t.opens(i) {
			shown = append(shown, a.shown)
		}
	}
	sort.Slice(shown, func(i, j int) bool { return shown[i] < shown[j] })
	for i := 1; i < len(shown); i++ {
		longest = max(longest, shown[i]-shown[i-1])
	}
	return longest
}

// opens tells whether access unit i is a random access point and the first to commence in its PES packet.
func (t *track) opens(i int) bool {
	return t.aus[i].rap && (i == 0 || t.unit(i) != t.unit(i-1))
}

// shows tells whether access unit i is a random access point that its PES packet shows: where PES packets are cut anywhere, one may end before the
// first slice.
func (t *track) shows(i int) bool {
	const most = 256 // bytes before the first slice
	end := len(t.bytes)
	if k := sort.SearchInts(t.units, t.aus[i].at+1); k < len(t.units) {
		end = t.units[k]
	}
	return t.aus[i].rap && (t.aus[i].at+most <= end || i+1 < len(t.aus) && t.aus[i+1].at <= end)
}

// unit is the offset of the PES packet in which access unit i commences.
func (t *track) unit(i int) int { return t.units[sort.SearchInts(t.units, t.aus[i].at+1)-1] }
