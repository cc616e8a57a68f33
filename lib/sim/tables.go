package sim

import (
	"fmt"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// A table is sent in every slot whose number is phase modulo every, unless late says that it comes later.
type table struct {
	pid          ts.PID
	every, phase int64
	half         bool  // in the middle of the slot, not at its head
	service      int   // goes only with this service; allServices: with any
	pat          bool  // is the PAT: a service alone gets one of its own
	number       uint8 // section_number, of the PAT
	pes          bool  // is no section but a PES packet with a PTS
	packets      int   // each time; a table's length never changes, or counters would not follow from UTC
	late         int64 // slots by which it is late at most, each time by another number

	// make appends the section at a time. It stays the same while at/lasts does; lasts 0 is for ever.
	make  func(b []byte, at time.Time) []byte
	lasts time.Duration
}

// delay is how many slots the k-th sending of t is late.
func (t *table) delay(k int64) int64 {
	if t.late == 0 {
		return 0
	}
	x := uint64(k)*0x9e3779b97f4a7c15 + uint64(t.phase)
	return int64((x ^ x>>29) * 0xbf58476d1ce4e5b9 >> 33 % uint64(t.late+1))
}

// due tells whether t is sent in slot n. A delay of an interval or more does not move it further, only what it says.
func (t *table) due(n int64) bool { return (n-t.phase)%t.every == t.delay((n-t.phase)/t.every)%t.every }

// times is how often t was sent before slot n.
func (t *table) times(n int64) int64 {
	k := (n - 1 - t.phase) / t.every // the last that may have been
	if t.phase+k*t.every+t.delay(k)%t.every < n {
		k++
	}
	return k
}

// made is a section that a reader keeps while it stays the same.
type made struct {
	section []byte
	epoch   int64 // at/lasts, plus one: 0 is nothing kept
}

// section is what t sends in slot n.
func (p *plan) section(t *table, kept *made, n int64) []byte {
	at, epoch := p.slotUTC(n-t.delay((n-t.phase)/t.every)), int64(1)
	if t.lasts > 0 {
		epoch = at.Unix()/int64(t.lasts/time.Second) + 1
	}
	if kept.epoch != epoch {
		kept.section, kept.epoch = t.make(kept.section[:0], at), epoch
	}
	return kept.section
}

// fillTables makes the table packets of a slot.
func (p *plan) fillTables(sl *slot) {
	sl.tables, sl.packets = sl.tables[:0], sl.packets[:0]
	base, counted := p.mux.counted(sl.number)
	for i := range p.tables {
		t := &p.tables[i]
		if !t.due(sl.number) {
			continue
		}
		count := int64(0) // packets on this PID before
		for j := range p.tables {
			if u := &p.tables[j]; u.pid == t.pid {
				count += u.times(sl.number) * int64(u.packets)
				if counted {
					count -= u.times(base) * int64(u.packets)
				}
				if j < i && u.due(sl.number) {
					count += int64(u.packets)
				}
			}
		}
		cc := uint8(count) & 0x0f
		section := p.section(t, &sl.made[i], sl.number)
		if t.pes {
			pts := clock.Ticks(sl.number*slotTicks) + sl.offset + audioLead
			putStamp(section[9:14], 2, pts.PTS())
			sl.packets = appendPES(sl.packets, t.pid, cc, section)
		} else {
			sl.packets = psi.AppendPackets(sl.packets, t.pid, &cc, section)
		}
		for range t.packets {
			sl.tables = append(sl.tables, t)
		}
	}
}

// appendPES appends the packets of a PES packet.
func appendPES(b []byte, pid ts.PID, cc uint8, pes []byte) []byte {
	for start := true; len(pes) > 0; start, cc = false, cc+1 {
		var p ts.Packet
		pes = pes[p.Fill(&ts.Header{PID: pid, UnitStart: start, Continuity: cc & 0x0f}, pes):]
		b = append(b, p[:]...)
	}
	return b
}

// makeTables lists the tables of the multiplex: those at the head of a slot, then those in its middle.
func (p *plan) makeTables() error {
	m := p.mux
	add := func(t table) { p.tables = append(p.tables, t) }
	seconds := func(s int64) int64 { return s * int64(time.Second/slotTime) }

	h := &m.Habits
	fixed := func(section []byte) func([]byte, time.Time) []byte {
		return func(b []byte, _ time.Time) []byte { return append(b, section...) }
	}
	slots := func(d time.Duration) int64 { return int64(d / slotTime) }
	sample := p.slotUTC(1 << 32)
	p.vctSize = len(p.vct(nil, sample))
	for i := range m.Services {
		var cc uint8
		alone := []ts.Packet{ts.Packet(psi.AppendPackets(nil, ts.PIDPAT, &cc, pat(m, i, 0)))}
		if h.PATSections {
			alone = append(alone, ts.Packet(psi.AppendPackets(nil, ts.PIDPAT, &cc, pat(m, i, 1))))
		}
		p.pat = append(p.pat, alone)
		p.eitSize += len(atscEIT(nil, m, 0, i, sample))
	}
	patEvery := max(slots(h.TablesEvery), 1)
	for _, half := range []bool{false, true} {
		if half && h.TablesEvery > 0 {
			break
		}
		for number := range uint8(len(p.pat[0])) {
			add(table{pid: ts.PIDPAT, every: patEvery, half: half, service: allServices, pat: true, number: number,
				make: fixed(pat(m, allServices, number))})
		}
		for i, s := range m.Services {
			t := table{pid: s.PID, every: patEvery, half: half, service: i, lasts: h.pmtLasts()}
			t.make = func(b []byte, at time.Time) []byte { return p.pmt(b, i, at) }
			add(t)
		}
		if half {
			break
		}
		if m.Standard == ATSC {
			// A/65 §7.2: STT 1 s, MGT 150 ms, VCT 400 ms, EIT-0 500 ms at most.
			if !m.NoTime {
				add(table{pid: ts.PIDPSIP, every: seconds(1), service: allServices, make: p.stt, lasts: time.Second, late: slots(h.TimeJitter)})
				if h.STTProtocol {
					add(table{pid: ts.PIDPSIP, every: seconds(1), phase: 5, service: allServices, make: p.otherSTT, lasts: time.Second})
				}
			}
			add(table{pid: ts.PIDPSIP, every: 1, service: allServices, make: p.mgt, lasts: blockTime})
			add(table{pid: ts.PIDPSIP, every: 4, phase: 1, service: allServices, make: p.vct, lasts: h.Rename})
			if h.Next {
				add(table{pid: ts.PIDPSIP, every: 4, phase: 3, service: allServices, make: fixed(nextVCT(m))})
			}
			for i := range eitBlocks {
				for j := range m.Services {
					add(table{pid: eitPID + ts.PID(i), every: 4 << i, phase: int64(2+j) % 4, service: allServices,
						make: func(b []byte, at time.Time) []byte { return atscEIT(b, m, i, j, at) }, lasts: blockTime})
				}
			}
		} else {
			// EN 300 468 §5.1.4 and TS 101 211 §4.4: NIT 10 s, SDT 2 s, EIT p/f 2 s, TDT and TOT 30 s at most.
			tdtEvery := int64(m.TDTEvery / slotTime)
			if m.TDTEvery == 0 {
				tdtEvery = seconds(10)
			}
			if tdtEvery < 1 || tdtEvery > seconds(30) {
				return fmt.Errorf("TDT every %s: want 100ms to 30s", m.TDTEvery)
			}
			if !m.NoTime {
				for _, t := range []struct {
					make  func(b []byte, at time.Time) []byte
					phase int64
					left  bool
				}{{p.tdt, 0, h.NoTDT}, {p.tot, tdtEvery / 2, h.NoTOT}} {
					if !t.left {
						add(table{pid: ts.PIDTDT, every: tdtEvery, phase: t.phase, service: allServices, make: t.make, lasts: time.Second,
							late: slots(h.TimeJitter)})
					}
				}
			}
			add(table{pid: ts.PIDNIT, every: seconds(5), phase: 3, service: allServices, make: fixed(nit(m))})
			add(table{pid: ts.PIDSDT, every: seconds(1), phase: 4, service: allServices, make: p.sdt, lasts: h.Rename})
			if h.Next {
				add(table{pid: ts.PIDSDT, every: seconds(1), phase: 9, service: allServices, make: fixed(nextSDT(m))})
			}
			for j := range m.Services {
				for following := range 2 {
					add(table{pid: ts.PIDEIT, every: seconds(1), phase: int64(5 + (2*j+following)%5), service: allServices,
						make: func(b []byte, at time.Time) []byte { return dvbEIT(b, m, j, following, at) }, lasts: eventTime})
				}
			}
		}
	}
	p.addSparse()
	for i := range p.tables {
		t := &p.tables[i]
		n := len(t.make(nil, sample))
		if n > maxSection {
			return fmt.Errorf("table on PID %#x is %d bytes long: too many services", t.pid, n)
		}
		if t.pes {
			t.packets = len(appendPES(nil, t.pid, 0, make([]byte, n))) / ts.PacketSize
			continue
		}
		var cc uint8
		t.packets = len(psi.AppendPackets(nil, t.pid, &cc, make([]byte, n))) / ts.PacketSize
		// What a table becomes later must not be longer by a packet.
		for _, later := range []time.Duration{h.PMTChange, h.PMTVersion, h.Rename} {
			if n := len(t.make(nil, sample.Add(later))); len(psi.AppendPackets(nil, t.pid, &cc, make([]byte, n)))/ts.PacketSize != t.packets {
				return fmt.Errorf("table on PID %#x changes its length", t.pid)
			}
		}
	}
	return nil
}

// maxSection is the longest section of a table of H.222.0, §2.4.4.
const maxSection = 1024

// turns is how often a thing that changes at each UTC multiple of every has changed; 0 when it never does.
func turns(every time.Duration, at time.Time) int64 {
	if every < time.Second {
		return 0
	}
	return at.Unix() / int64(every/time.Second)
}

// pmtLasts is how long a PMT stays the same at least.
func (h *Habits) pmtLasts() time.Duration {
	if h.PMTChange > 0 && h.PMTVersion > 0 {
		return time.Second
	}
	return h.PMTChange + h.PMTVersion
}

// pat lists one service or all. Where it has two sections, the first service is in the last of them.
func pat(m *Mux, service int, number uint8) []byte {
	t := psi.PAT{TSID: m.TSID, Number: number}
	if m.Habits.PATSections {
		t.LastNumber = 1
	}
	if service == allServices && m.Standard == DVB && number == 0 {
		t.NIT = ts.PIDNIT
	}
	for i, s := range m.Services {
		if m.Habits.PATSections && uint8(1-i%2) != number {
			continue
		}
		if service == allServices || service == i {
			t.Programs = append(t.Programs, psi.Program{Number: s.Program, PID: s.PID})
		}
	}
	return t.Append(nil)
}

// pmt describes service i.
func (p *plan) pmt(b []byte, i int, at time.Time) []byte {
	m, h, s := p.mux, &p.mux.Habits, &p.services[i]
	change, version := turns(h.PMTChange, at), turns(h.PMTVersion, at)
	t := psi.PMT{Program: s.Program, PCRPID: s.clock, Version: uint8((change + version) & 0x1f)}
	if s.Scrambled {
		t.Descriptors = psi.AppendDescriptor(nil, psi.TagCA, []byte{0x0b, 0x00, 0xff, 0xf0}) // H.222.0 §2.6.16
	}
	if s.Video != "" {
		t.Streams = append(t.Streams, describe(m.Standard, p.codec(s.Video), s.video))
	}
	language := "eng"
	if change%2 == 1 {
		language = "deu"
	}
	audio := func(pid ts.PID, language string) {
		e := describe(m.Standard, p.codec(s.Audio), pid)
		e.Descriptors = append(e.Descriptors, psi.LanguageDescriptor(language)...)
		t.Streams = append(t.Streams, e)
	}
	if s.Audio != "" {
		audio(s.audio, language)
		if h.SecondAudio {
			audio(s.second, "spa")
		}
		if h.SilentAudio {
			audio(s.PID+afterSilent, "fra")
		}
	}
	t.Streams = append(t.Streams, p.sparse(i)...)
	if change%2 == 1 {
		t.Streams = append(t.Streams, psi.Stream{Type: psi.TypeMetadata, PID: s.PID + afterAdded})
	}
	return t.Append(b)
}

// describe gives a codec's stream_type and the descriptors that go with it.
func describe(std Standard, codec string, pid ts.PID) psi.Stream {
	e := psi.Stream{PID: pid, Type: psi.TypePrivate}
	switch codec {
	case "mpeg2video":
		e.Type = psi.TypeMPEG2Video
	case "h264":
		e.Type = psi.TypeH264
	case "aac":
		e.Type = psi.TypeAAC
	case "mp2":
		e.Type = psi.TypeMPEG1Audio
	case "ac3":
		if std == DVB {
			e.Descriptors = psi.AppendDescriptor(nil, psi.TagAC3, []byte{0}) // EN 300 468 annex D
			break
		}
		e.Type = psi.TypeAC3 // A/52 annex A
		e.Descriptors = psi.AppendDescriptor(nil, psi.TagRegistration, []byte("AC-3"))
		e.Descriptors = psi.AppendDescriptor(e.Descriptors, psi.TagATSCAC3, []byte{0x08, 0x18, 0x05})
	}
	return e
}
