package sim

import (
	"fmt"
	"time"

	"every.channel/ec/lib/clock"
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
	fixed        []byte
	make         func(b []byte, at time.Time) []byte // unless fixed: the section at a time
}

// due tells whether t is sent in slot n.
func (t *table) due(n int64) bool { return n%t.every == t.phase }

// times is how often t was sent before slot n.
func (t *table) times(n int64) int64 { return (n - t.phase + t.every - 1) / t.every }

// slotAt is the time that the tables of slot n give: its start.
func slotAt(n int64) time.Time { return clock.Ticks(n * slotTicks).Time() }

// section appends the section that t has in slot n.
func (t *table) section(b []byte, n int64) []byte {
	if t.fixed != nil {
		return append(b, t.fixed...)
	}
	return t.make(b, slotAt(n))
}

// fillTables makes the table packets of a slot.
func (p *plan) fillTables(sl *slot) {
	sl.si = sl.si[:0]
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
		sl.scratch = t.section(sl.scratch[:0], sl.number)
		packetize(sl.scratch, t.pid, uint8(count), func(q *ts.Packet) {
			sl.si = append(sl.si, siPacket{t, *q})
		})
	}
}

// makeTables lists the tables of the multiplex: those at the head of a slot, then those in its middle.
func (p *plan) makeTables() error {
	m := p.mux
	add := func(t table) { p.tables = append(p.tables, t) }
	seconds := func(s int64) int64 { return s * int64(time.Second/slotTime) }

	p.vctSize = len(tvct(m))
	for i := range m.Services {
		packetize(pat(m, i), ts.PIDPAT, 0, func(q *ts.Packet) { p.pat = append(p.pat, *q) })
		p.eitSize += len(atscEIT(nil, m, 0, i, slotAt(1<<32)))
	}
	for _, half := range []bool{false, true} {
		add(table{pid: ts.PIDPAT, every: 1, half: half, service: allServices, pat: true, fixed: pat(m, allServices)})
		for i, s := range m.Services {
			add(table{pid: s.PID, every: 1, half: half, service: i, fixed: pmt(m, s)})
		}
		if half {
			break
		}
		if m.Standard == ATSC {
			// A/65 §7.2: STT 1 s, MGT 150 ms, VCT 400 ms, EIT-0 500 ms at most.
			if !m.NoTime {
				add(table{pid: ts.PIDPSIP, every: seconds(1), service: allServices, make: stt})
			}
			add(table{pid: ts.PIDPSIP, every: 1, service: allServices, make: p.mgt})
			add(table{pid: ts.PIDPSIP, every: 4, phase: 1, service: allServices, fixed: tvct(m)})
			for i := range eitBlocks {
				for j := range m.Services {
					add(table{pid: eitPID + ts.PID(i), every: 5 << i, phase: int64(2 + j%3), service: allServices,
						make: func(b []byte, at time.Time) []byte { return atscEIT(b, m, i, j, at) }})
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
				add(table{pid: ts.PIDTDT, every: tdtEvery, service: allServices, make: tdt})
				add(table{pid: ts.PIDTDT, every: tdtEvery, phase: tdtEvery / 2, service: allServices, make: tot})
			}
			add(table{pid: ts.PIDNIT, every: seconds(5), phase: 3, service: allServices, fixed: nit(m)})
			add(table{pid: ts.PIDSDT, every: seconds(1), phase: 4, service: allServices, fixed: sdt(m)})
			for j := range m.Services {
				for following := range 2 {
					add(table{pid: ts.PIDEIT, every: seconds(1), phase: int64(5 + (2*j+following)%5), service: allServices,
						make: func(b []byte, at time.Time) []byte { return dvbEIT(b, m, j, following, at) }})
				}
			}
		}
	}
	for i := range p.tables {
		t := &p.tables[i]
		n := len(t.section(nil, 1<<32))
		if n > 1021+3 {
			return fmt.Errorf("table on PID %#x is %d bytes long: too many services", t.pid, n)
		}
		t.packets = packetCount(n)
	}
	return nil
}

// pat is H.222.0 table 2-30, with one service or all.
func pat(m *Mux, service int) []byte {
	b := header(nil, 0x00, 0xb0, m.TSID, 0)
	if service == allServices && m.Standard == DVB {
		b = u16(u16(b, 0), 0xe000|uint16(ts.PIDNIT))
	}
	for i, s := range m.Services {
		if service == allServices || service == i {
			b = u16(u16(b, s.Program), 0xe000|uint16(s.PID))
		}
	}
	return seal(b)
}

// pmt is H.222.0 table 2-33.
func pmt(m *Mux, s Service) []byte {
	b := header(nil, 0x02, 0xb0, s.Program, 0)
	b = u16(b, 0xe000|uint16(s.pcrPID()))
	b = loop(b, 0xf0, func(b []byte) []byte {
		if s.Scrambled {
			b = append(b, 0x09, 4, 0x0b, 0x00, 0xe0|0x1f, 0xf0) // CA_descriptor, §2.6.16
		}
		return b
	})
	for _, e := range []struct {
		name string
		pid  ts.PID
	}{{s.Video, s.videoPID()}, {s.Audio, s.audioPID()}} {
		if e.name == "" {
			continue
		}
		c, err := loadClip(e.name)
		if err != nil {
			continue // newPlan has reported it
		}
		kind, descriptors := streamType(m.Standard, c.codec)
		if c.audio() {
			descriptors += "\x0a\x04eng\x00" // ISO_639_language_descriptor, §2.6.18
		}
		b = u16(append(b, kind), 0xe000|uint16(e.pid))
		b = loop(b, 0xf0, func(b []byte) []byte { return append(b, descriptors...) })
	}
	return seal(b)
}

// streamType is a codec's stream_type and the descriptors that go with it.
func streamType(std Standard, codec string) (kind byte, descriptors string) {
	switch codec {
	case "mpeg2video":
		return 0x02, ""
	case "h264":
		return 0x1b, ""
	case "aac":
		return 0x0f, ""
	case "mp2":
		return 0x03, ""
	case "ac3":
		if std == DVB {
			return 0x06, "\x6a\x01\x00" // AC-3_descriptor, EN 300 468 annex D
		}
		return 0x81, "\x05\x04AC-3" + "\x81\x03\x08\x18\x05" // registration and AC-3_audio_stream_descriptor, A/52 annex A
	}
	return 0x06, ""
}
