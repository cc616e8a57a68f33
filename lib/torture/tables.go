package torture

import (
	"time"

	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

const (
	tsid = 2065
	onid = 8468
)

// sections queues the packets of whole sections.
func (g *generator) sections(pid ts.PID, k kind, change bool, all ...[]byte) {
	cc := g.counters[pid]
	if cc == nil {
		cc = new(uint8)
		*cc = uint8(g.mux.IntN(16))
		g.counters[pid] = cc
	}
	for i, s := range all {
		rest := append([]byte{0}, s...)
		for first := true; len(rest) > 0; first = false {
			p := packet{kind: k, change: change && first, state: int16(max(len(g.out.states)-1, 0))}
			if k == kindIdentity {
				p.state = int16(len(g.out.titles) - 1)
			}
			f := field{disc: g.spec.H[hDisc] == 4 && (k == kindPAT || k == kindPMT)}
			room := 184
			if f.disc {
				room = 182
			}
			var body [184]byte
			n := copy(body[:room], rest)
			rest = rest[n:]
			for n < room { // sections are followed by stuffing bytes
				body[n] = 0xff
				n++
			}
			fill(&p.data, pid, first, *cc, &f, body[:room])
			*cc = (*cc + 1) & 15
			p.whole = i == len(all)-1 && len(rest) == 0
			g.queue = append(g.queue, p)
		}
	}
}

// psi plans all tables.
func (g *generator) psi() {
	h := &g.spec.H
	out := g.out
	jitter := h[hTableJitter] != 0
	add := func(first, every int64, f func(n int, now int64)) {
		n := 0
		g.tables = append(g.tables, &table{next: first, make: func(now int64) int64 {
			f(n, now)
			n++
			if jitter {
				return now + every/2 + g.mux.Int64N(every)
			}
			return now + every
		}})
	}
	const ms = second / 1000
	every := ms * int64(20+h[hTables])
	pat, pmt := int64(0), int64(3*ms)
	if h[hPMTFirst] != 0 {
		pat, pmt = every/2, 0
	}
	add(pat, every, func(int, int64) { g.sections(ts.PIDPAT, kindPAT, false, g.pat()...) })
	last := uint8(255)
	add(pmt, every, func(_ int, now int64) {
		p := g.pmt(now)
		if p.Next {
			g.sections(g.state().pmtPID, kindPMT, false, p.Append(nil))
			for i := range g.queue {
				g.queue[i].later = true
			}
			p = g.pmt(now)
		}
		change := last != 255 && p.Version != last && h[hPMTChange] > 1
		last = p.Version
		g.sections(g.state().pmtPID, kindPMT, change, p.Append(nil))
	})
	for _, o := range g.others {
		add(10*ms, every, func(int, int64) {
			g.sections(o.pmt, kindOther, false, psi.PMT{Program: o.number, PCRPID: o.s.pid, Streams: []psi.Stream{o.s.stream}}.Append(nil))
		})
	}
	trap := h[hTrap]
	// says notes what an SDT or VCT is about to say.
	says := func() title {
		t := g.title()
		if n := len(out.titles); n == 0 || out.titles[n-1] != t {
			out.titles = append(out.titles, t)
		}
		return t
	}
	addIdentity := func(first, every int64, f func(n int, now int64)) {
		add(first, every, f)
		g.tables[len(g.tables)-1].identity = true
	}
	if out.atsc {
		add(20*ms, 150*ms, func(int, int64) {
			m := psi.MGT{Tables: []psi.MGTTable{{Type: 0, PID: ts.PIDPSIP, Bytes: 100}, {Type: 0x100, PID: 0x1d00, Bytes: 200}}}
			g.sections(ts.PIDPSIP, kindSI, false, m.Append(nil))
		})
		vct := func(t title, channel uint16, next bool) []byte {
			v := psi.VCT{TSID: t.tsid, Version: uint8(max(len(out.titles), 1) & 31), Next: next}
			if next {
				v.TSID, v.Version = channel, (v.Version+1)&31
			}
			own := psi.VirtualChannel{ShortName: "TEST", Major: 5, Minor: 1, Modulation: 4, TSID: channel, Program: t.program, ServiceType: 2, SourceID: 1}
			if trap&1 != 0 {
				other := own
				other.TSID, other.Minor, other.SourceID = 4000, 2, 2
				v.Channels = append(v.Channels, other)
			}
			v.Channels = append(v.Channels, own)
			return v.Append(nil)
		}
		if h[hIdent] != 1 {
			addIdentity(70*ms, 400*ms, func(int, int64) {
				t := says()
				g.sections(ts.PIDPSIP, kindIdentity, false, vct(t, t.tsid, false))
			})
			if trap&2 != 0 {
				add(250*ms, 1300*ms, func(int, int64) {
					t := g.title()
					g.sections(ts.PIDPSIP, kindSI, false, vct(t, t.tsid+1, true))
				})
			}
		}
		add(90*ms, 500*ms, func(int, int64) { // EIT-0
			g.sections(0x1d00, kindSI, false, privateTable(psi.TableEIT, 1, noise(nil, g.mux, 250)))
		})
	} else {
		sdt := func(t title, other, next bool, name string, version int) []byte {
			s := psi.SDT{TSID: t.tsid, ONID: t.onid, Version: uint8(version & 31), Other: other, Next: next}
			if other {
				s.TSID, s.ONID = 77, 1
			}
			if next {
				s.ONID++
			}
			s.Services = []psi.Service{{ID: t.program, EITPF: true, Running: 4, Descriptors: psi.ServiceDescriptor(1, "P", name)}}
			for _, o := range g.others {
				s.Services = append(s.Services, psi.Service{ID: o.number, Running: 4, Descriptors: psi.ServiceDescriptor(1, "P", "other")})
			}
			return s.Append(nil)
		}
		if h[hIdent] != 1 {
			addIdentity(70*ms, second, func(n int, _ int64) {
				t := says()
				name, version := "A", len(out.titles)
				if trap&16 != 0 {
					version += n / 4
					name = []string{"A", "B"}[n/4%2]
				}
				g.sections(ts.PIDSDT, kindIdentity, false, sdt(t, false, false, name, version))
			})
			if trap&1 != 0 {
				add(30*ms, 700*ms, func(n int, _ int64) { g.sections(ts.PIDSDT, kindSI, false, sdt(g.title(), true, false, "X", n/3)) })
			}
			if trap&2 != 0 {
				add(250*ms, 1300*ms, func(n int, now int64) {
					g.sections(ts.PIDSDT, kindSI, false, sdt(g.title(), false, true, "next", 20+n/3))
				})
			}
		}
		add(90*ms, second, func(int, int64) {
			g.sections(ts.PIDEIT, kindSI, false, privateTable(psi.TableDVBEIT, out.program, noise(nil, g.mux, 250)))
			g.sections(ts.PIDNIT, kindSI, false, privateTable(psi.TableNIT, 5, []byte{0xf0, 0, 0xf0, 0}))
		})
	}
	g.timeTables()
}

// privateTable is a long section with any body.
func privateTable(id uint8, ext uint16, body []byte) []byte {
	n := len(body) + 9
	b := append([]byte{id, 0xf0 | byte(n>>8), byte(n), byte(ext >> 8), byte(ext), 0xc1, 0, 0}, body...)
	return appendCRC(b)
}

func appendCRC(b []byte) []byte {
	crc := psi.CRC32(b)
	return append(b, byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc))
}

func (g *generator) pat() (all [][]byte) {
	now := g.state()
	t := psi.PAT{TSID: now.tsid, Version: (2 + now.pat) & 31}
	if g.spec.H[hIdent] == 2 {
		t.TSID = 0
	}
	own := psi.Program{Number: now.program, PID: now.pmtPID}
	var others []psi.Program
	for _, o := range g.others {
		others = append(others, psi.Program{Number: o.number, PID: o.pmt})
	}
	switch g.spec.H[hPATSections] {
	case 0:
		t.Programs = append(others, own)
		return [][]byte{t.Append(nil)}
	case 1:
		others, t.Programs = []psi.Program{own}, others
	case 2:
		t.Programs = []psi.Program{own}
	}
	t.LastNumber = 1
	first := t.Append(nil)
	t.Number, t.Programs = 1, others
	return [][]byte{first, t.Append(nil)}
}

// timeTables plans STT, or TDT and TOT. A table names a whole second and is sent then or a little later.
func (g *generator) timeTables() {
	h := &g.spec.H
	r := g.rng("time")
	every := int64(1 + h[hTime])
	late := func() int64 {
		if h[hTimeJitter] == 0 {
			return 0
		}
		return r.Int64N(second / 1000 * int64(h[hTimeJitter]))
	}
	first := (g.utc/second+1)*second - g.utc // the first whole second
	tables := 0
	plan := func(offset int64, f func(utc int64, now int64)) {
		at := first + offset*second
		g.tables = append(g.tables, &table{next: at + late(), make: func(now int64) int64 {
			said := g.utc + at
			if tables++; h[hIllegal] == 3 && tables%6 == 4 {
				said += second * 3600 * (int64(tables)%9 - 5)
			}
			f(said, now)
			at += every * second
			return at + late()
		}})
	}
	seconds := func(utc int64) time.Time { return time.Unix(utc/second, 0).UTC() }
	leap := func(now int64) int64 {
		if now >= g.leapAt {
			return 1
		}
		return 0
	}
	switch {
	case g.out.atsc:
		n := 0
		plan(0, func(utc, now int64) {
			t := psi.STTAt(seconds(utc), 18) // GPS time runs on
			t.GPSUTCOffset += uint8(leap(now))
			if h[hDST] != 0 {
				t.DaylightSavings = 0xe000
				if now < g.length/2 {
					t.DaylightSavings = 0xe000 | 1<<8 | 2
				}
			}
			b := t.Append(nil)
			if n++; h[hTrap]&4 != 0 && n%3 == 2 {
				b[8] = 1 // protocol_version, A/65 §4.5
				b[9] ^= 0x55
				b = appendCRC(b[:len(b)-4])
				g.sections(ts.PIDPSIP, kindSI, false, b)
				return
			}
			g.sections(ts.PIDPSIP, kindTime, false, b)
		})
	default:
		plan(0, func(utc, now int64) {
			at := seconds(utc).Add(-time.Duration(leap(now)) * time.Second)
			if h[hIllegal] == 2 {
				at = at.Add(-3 * time.Hour)
			}
			g.sections(ts.PIDTDT, kindTime, false, psi.TDT{UTC: at}.Append(nil))
		})
		if h[hTOT] != 0 {
			n := 0
			plan(every/2, func(utc, now int64) {
				if n++; h[hTOT] == 2 && n%3 != 2 {
					return
				}
				at := seconds(utc).Add(-time.Duration(leap(now)) * time.Second)
				o := psi.TimeOffset{Country: "DEU", Offset: time.Hour, Change: at.Add(time.Hour), Next: 2 * time.Hour}
				if h[hDST] != 0 && now > g.length/2 {
					o.Offset, o.Next, o.Change = 2*time.Hour, time.Hour, at.Add(180*24*time.Hour)
				}
				t := psi.TOT{UTC: at}
				t.Descriptors = psi.AppendTimeOffset(t.Descriptors, o)
				g.sections(ts.PIDTDT, kindTime, false, t.Append(nil))
			})
		}
	}
}

// pmt is the table of the program at a time.
func (g *generator) pmt(now int64) psi.PMT {
	h := &g.spec.H
	t := psi.PMT{Program: g.state().program, Version: 3 + g.state().pmt, PCRPID: g.out.pcrPID}
	g.pmts++
	if h[hTrap]&2 != 0 && g.pmts%7 == 3 { // what may come
		t.Next, t.Version = true, 9
		t.Streams = []psi.Stream{{Type: psi.TypeMPEG1Audio, PID: 0x1abc}}
		return t
	}
	changed := now >= g.changeAt
	if changed {
		t.Version++
	}
	for _, s := range g.sources {
		if s.kind == kindOther || s.from > now || !g.listed(s) {
			continue
		}
		e := s.stream
		if s.kind == kindVideo {
			stream := s
			if s.home != nil {
				stream = s.home
			}
			e.Type = videoTypes[g.place(stream, g.epoch).codec]
		}
		if changed && h[hPMTChange] == 3 && s.kind == kindAudio {
			e.Descriptors = psi.LanguageDescriptor("qaa")
			if d, ok := s.stream.Descriptors.Find(psi.TagAC3); ok {
				e.Descriptors = append(psi.AppendDescriptor(nil, psi.TagAC3, d), e.Descriptors...)
			}
		}
		t.Streams = append(t.Streams, e)
	}
	return t
}
