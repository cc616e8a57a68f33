package sim

import (
	"fmt"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// A table is sent in every slot whose number is phase modulo every.
type table struct {
	pid          ts.PID
	every, phase int64
	half         bool // in the middle of the slot, not at its head
	service      int  // goes only with this service; allServices: with any
	pat          bool // is the PAT: a service alone gets one of its own
	packets      int  // each time; a table's length never changes, or counters would not follow from UTC

	// make appends the section at a time. It stays the same while at/lasts does; lasts 0 is for ever.
	make  func(b []byte, at time.Time) []byte
	lasts time.Duration
}

// due tells whether t is sent in slot n.
func (t *table) due(n int64) bool { return n%t.every == t.phase }

// times is how often t was sent before slot n.
func (t *table) times(n int64) int64 { return (n - t.phase + t.every - 1) / t.every }

// slotAt is the time that the tables of slot n give: its start.
func slotAt(n int64) time.Time { return clock.Ticks(n * slotTicks).Time() }

// made is a section that a reader keeps while it stays the same.
type made struct {
	section []byte
	epoch   int64 // at/lasts, plus one: 0 is nothing kept
}

// section is what t sends in slot n.
func (t *table) section(kept *made, n int64) []byte {
	at, epoch := slotAt(n), int64(1)
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
	for i := range p.tables {
		t := &p.tables[i]
		if !t.due(sl.number) {
			continue
		}
		count := int64(0) // packets on this PID before
		for j := range p.tables {
			if u := &p.tables[j]; u.pid == t.pid {
				count += u.times(sl.number) * int64(u.packets)
				if j < i && u.due(sl.number) {
					count += int64(u.packets)
				}
			}
		}
		cc := uint8(count) & 0x0f
		sl.packets = psi.AppendPackets(sl.packets, t.pid, &cc, t.section(&sl.made[i], sl.number))
		for range t.packets {
			sl.tables = append(sl.tables, t)
		}
	}
}

// makeTables lists the tables of the multiplex: those at the head of a slot, then those in its middle.
func (p *plan) makeTables() error {
	m := p.mux
	add := func(t table) { p.tables = append(p.tables, t) }
	seconds := func(s int64) int64 { return s * int64(time.Second/slotTime) }

	fixed := func(section []byte) func([]byte, time.Time) []byte {
		return func(b []byte, _ time.Time) []byte { return append(b, section...) }
	}
	p.vctSize = len(tvct(m))
	for i := range m.Services {
		var cc uint8
		p.pat = append(p.pat, ts.Packet(psi.AppendPackets(nil, ts.PIDPAT, &cc, pat(m, i))))
		p.eitSize += len(atscEIT(nil, m, 0, i, slotAt(1<<32)))
	}
	for _, half := range []bool{false, true} {
		add(table{pid: ts.PIDPAT, every: 1, half: half, service: allServices, pat: true, make: fixed(pat(m, allServices))})
		for i, s := range m.Services {
			add(table{pid: s.PID, every: 1, half: half, service: i, make: fixed(pmt(m, s, p.codec(s.Video), p.codec(s.Audio)))})
		}
		if half {
			break
		}
		if m.Standard == ATSC {
			// A/65 §7.2: STT 1 s, MGT 150 ms, VCT 400 ms, EIT-0 500 ms at most.
			if !m.NoTime {
				add(table{pid: ts.PIDPSIP, every: seconds(1), service: allServices, make: stt, lasts: time.Second})
			}
			add(table{pid: ts.PIDPSIP, every: 1, service: allServices, make: p.mgt, lasts: blockTime})
			add(table{pid: ts.PIDPSIP, every: 4, phase: 1, service: allServices, make: fixed(tvct(m))})
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
				add(table{pid: ts.PIDTDT, every: tdtEvery, service: allServices, make: tdt, lasts: time.Second})
				add(table{pid: ts.PIDTDT, every: tdtEvery, phase: tdtEvery / 2, service: allServices, make: tot, lasts: time.Second})
			}
			add(table{pid: ts.PIDNIT, every: seconds(5), phase: 3, service: allServices, make: fixed(nit(m))})
			add(table{pid: ts.PIDSDT, every: seconds(1), phase: 4, service: allServices, make: fixed(sdt(m))})
			for j := range m.Services {
				for following := range 2 {
					add(table{pid: ts.PIDEIT, every: seconds(1), phase: int64(5 + (2*j+following)%5), service: allServices,
						make: func(b []byte, at time.Time) []byte { return dvbEIT(b, m, j, following, at) }, lasts: eventTime})
				}
			}
		}
	}
	for i := range p.tables {
		t := &p.tables[i]
		n := len(t.make(nil, slotAt(1<<32)))
		if n > maxSection {
			return fmt.Errorf("table on PID %#x is %d bytes long: too many services", t.pid, n)
		}
		var cc uint8
		t.packets = len(psi.AppendPackets(nil, t.pid, &cc, make([]byte, n))) / ts.PacketSize
	}
	return nil
}

// maxSection is the longest section of a table of H.222.0, §2.4.4.
const maxSection = 1024

// pat lists one service or all.
func pat(m *Mux, service int) []byte {
	t := psi.PAT{TSID: m.TSID}
	if service == allServices && m.Standard == DVB {
		t.NIT = ts.PIDNIT
	}
	for i, s := range m.Services {
		if service == allServices || service == i {
			t.Programs = append(t.Programs, psi.Program{Number: s.Program, PID: s.PID})
		}
	}
	return t.Append(nil)
}

// pmt describes a service; codecs are those of its clips, "" where it has none.
func pmt(m *Mux, s Service, video, audio string) []byte {
	t := psi.PMT{Program: s.Program, PCRPID: s.pcrPID()}
	if s.Scrambled {
		t.Descriptors = psi.AppendDescriptor(nil, psi.TagCA, []byte{0x0b, 0x00, 0xff, 0xf0}) // H.222.0 §2.6.16
	}
	if video != "" {
		t.Streams = append(t.Streams, describe(m.Standard, video, s.videoPID()))
	}
	if audio != "" {
		e := describe(m.Standard, audio, s.audioPID())
		e.Descriptors = append(e.Descriptors, psi.LanguageDescriptor("eng")...)
		t.Streams = append(t.Streams, e)
	}
	return t.Append(nil)
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
