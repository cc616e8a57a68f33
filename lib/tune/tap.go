package tune

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// tap looks at the packets that were copied: it counts what is wrong and follows tables and clocks. It
// allocates nothing per packet, does no input or output, and its goroutine is the copying one.
type tap struct {
	framer     framer
	continuity ts.Continuity
	watched    [ts.NumPIDs]uint8 // what to do with a PID's packets
	sections   map[ts.PID]*psi.Assembler
	pat        psi.Sections
	versions   psi.Versions // other tables are repeated many times a second; only news are parsed
	clocks     map[ts.PID]clock.PCR

	record func(clock.Record) // nil: nobody wants them

	tuned    service
	patTSID  int
	tsid     int // of a VCT or SDT; −1: none seen
	onid     int
	pmtPID   map[ts.PID]bool
	programs map[uint16]*program
	lastUTC  time.Time // of the last DVB table that was recorded

	bytes, lost, tei        atomic.Int64
	pastLost, pastTEI, gaps atomic.Int64
	pastDatagrams           atomic.Int64
	heard                   atomic.Int64 // when data came last, Unix ns; 0: never
	mu                      sync.Mutex   // guards conn
	conn                    connection
}

type program struct {
	pcrPID        ts.PID
	hasPMT        bool
	name, channel string
}

// What watched holds.
const (
	wantSections = 1 << iota
	wantClock
)

func newTap() *tap {
	t := &tap{framer: framer{stride: ts.PacketSize}}
	t.reset()
	return t
}

// connect starts a new connection: nothing known of the last one holds.
func (t *tap) connect(c connection) {
	t.mu.Lock()
	t.conn = c
	t.mu.Unlock()
	t.reset()
	t.tuned = c.service
}

// disconnect ends a connection: there is no tuner to ask until the next one.
func (t *tap) disconnect() {
	t.mu.Lock()
	t.conn.signal, t.conn.report = nil, nil
	t.mu.Unlock()
}

func (t *tap) reset() {
	t.framer.reset()
	t.continuity = ts.Continuity{}
	t.watched = [ts.NumPIDs]uint8{}
	t.sections = map[ts.PID]*psi.Assembler{}
	t.pat, t.versions = psi.Sections{}, psi.Versions{}
	t.clocks = map[ts.PID]clock.PCR{}
	t.patTSID, t.tsid, t.onid = -1, -1, -1
	t.pmtPID = map[ts.PID]bool{}
	t.programs = map[uint16]*program{}
	t.lastUTC = time.Time{}
	for _, pid := range []ts.PID{ts.PIDPAT, ts.PIDPSIP, ts.PIDSDT, ts.PIDTDT} {
		t.watch(pid, wantSections)
	}
}

func (t *tap) watch(pid ts.PID, what uint8) {
	if pid >= ts.PIDNull {
		return
	}
	t.watched[pid] |= what
	if what == wantSections && t.sections[pid] == nil {
		t.sections[pid] = new(psi.Assembler)
	}
}

// snapshot is the current connection.
func (t *tap) snapshot() connection {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conn
}

// feed takes what was copied.
func (t *tap) feed(b []byte) {
	t.bytes.Add(int64(len(b)))
	before := t.continuity.TotalLost()
	tei := int64(0)
	t.framer.feed(b, func(p *ts.Packet) bool {
		if p.TransportError() {
			tei++
			return true
		}
		t.continuity.Check(p)
		if w := t.watched[p.PID()]; w != 0 {
			t.packet(p, w)
		}
		return true
	})
	t.tei.Add(tei)
	t.lost.Add(int64(t.continuity.TotalLost() - before))
}

func (t *tap) packet(p *ts.Packet, w uint8) {
	pid := p.PID()
	if w&wantClock != 0 {
		if pcr, ok := p.PCR(); ok {
			t.clocks[pid] = clock.PCR(pcr)
		}
	}
	if w&wantSections != 0 {
		t.sections[pid].Feed(p, func(s []byte) { t.section(pid, s) })
	}
}

func (t *tap) section(pid ts.PID, s []byte) {
	if s[0] == psi.TablePAT {
		if pid == ts.PIDPAT {
			t.association(s)
		}
		return
	}
	if !t.versions.New(uint16(pid), s) {
		return
	}
	switch s[0] {
	case psi.TablePMT:
		if pmt, err := psi.ParsePMT(s); err == nil && t.pmtPID[pid] && !pmt.Next {
			if p := t.programs[pmt.Program]; p != nil {
				p.pcrPID, p.hasPMT = pmt.PCRPID, true
				t.watch(pmt.PCRPID, wantClock)
			}
		}
	case psi.TableTVCT, psi.TableCVCT:
		if vct, err := psi.ParseVCT(s); err == nil && pid == ts.PIDPSIP && !vct.Next {
			t.tsid = int(vct.TSID)
			for number, p := range t.programs {
				if c, ok := vct.Of(number); ok {
					p.name, p.channel = c.ShortName, c.Channel()
				}
			}
		}
	case psi.TableSDT:
		if sdt, err := psi.ParseSDT(s); err == nil && pid == ts.PIDSDT && !sdt.Next {
			t.tsid, t.onid = int(sdt.TSID), int(sdt.ONID)
			for _, service := range sdt.Services {
				if p := t.programs[service.ID]; p != nil {
					_, _, p.name = service.Name()
				}
			}
		}
	case psi.TableSTT:
		if utc, ok := psi.TableUTC(s); ok && pid == ts.PIDPSIP {
			t.time(utc, clock.ATSC)
		}
	case psi.TableTDT, psi.TableTOT:
		// TDT and TOT often come together and say the same.
		if utc, ok := psi.TableUTC(s); ok && pid == ts.PIDTDT && !utc.Equal(t.lastUTC) {
			t.lastUTC = utc
			t.time(utc, clock.DVB)
		}
	}
}

// association takes a section of the PAT, and acts when a whole one says something new.
func (t *tap) association(section []byte) {
	if _, changed := t.pat.Add(section); !changed {
		return
	}
	listed := map[uint16]bool{}
	known := true
	for _, section := range t.pat.All() {
		pat, err := psi.ParsePAT(section)
		if err != nil {
			continue
		}
		if t.patTSID != int(pat.TSID) {
			// Another multiplex: what the old one said of itself no longer holds.
			t.programs, t.pmtPID, t.tsid, t.onid = map[uint16]*program{}, map[ts.PID]bool{}, -1, -1
			t.patTSID = int(pat.TSID)
		}
		for _, p := range pat.Programs {
			listed[p.Number] = true
			if t.programs[p.Number] == nil {
				t.programs[p.Number] = new(program)
				known = false
			}
			t.pmtPID[p.PID] = true
			t.watch(p.PID, wantSections)
		}
	}
	if !known {
		t.versions = psi.Versions{} // tables that came before speak of the new programs too
	}
	maps.DeleteFunc(t.programs, func(number uint16, _ *program) bool { return !listed[number] })
}

// time makes a record for every program whose clock is known.
func (t *tap) time(utc time.Time, system clock.System) {
	if t.record == nil {
		return
	}
	for _, number := range slices.Sorted(maps.Keys(t.programs)) {
		p := t.programs[number]
		pcr, running := t.clocks[p.pcrPID]
		if !p.hasPMT || !running {
			continue
		}
		r := clock.Record{UTC: utc, PCR: pcr, System: system, TSID: t.patTSID, ONID: -1, Program: int(number),
			Name: p.name, Channel: p.channel}
		if t.tsid >= 0 {
			r.TSID = t.tsid
		}
		if system == clock.DVB {
			r.ONID = t.onid
		}
		// A device may number the only program of the stream that it makes as it likes; the lineup has the
		// broadcast's own numbers. With others beside it, the lineup speaks of the one that has its number.
		if t.tuned.tuned && (len(t.programs) == 1 || int(number) == t.tuned.program) {
			r.Program, r.Name, r.Channel = t.tuned.program, t.tuned.name, t.tuned.channel
			if t.tuned.tsid >= 0 {
				r.TSID = t.tuned.tsid
			}
			if system == clock.DVB && t.tuned.onid >= 0 {
				r.ONID = t.tuned.onid
			}
		}
		t.record(r)
	}
}
