package probe

import (
	"sync"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// What a PID carries, as far as it is known.
const (
	kindUnknown uint8 = iota
	kindPSI           // sections
	kindPES           // an elementary stream in PES packets
)

// pidState is what is counted for one PID.
type pidState struct {
	packets   int64
	scrambled int64
	gaps      int64
	lost      int64
	dups      int64
	resets    int64

	kind    uint8
	timed   bool // video or audio: PTS and presence are due
	hasPTS  bool
	silent  bool
	seen    int64         // packets at the last look
	seenAt  clock.Ticks27 // stream time then
	ptsAt   clock.Ticks27
	lastPTS clock.PTS
	pts     int64 // PES packets with PTS
	sect    *sections
	pcr     *pcrStats
}

// sections is what is kept for a PID with tables.
type sections struct {
	psi.Assembler
	at     clock.Ticks27 // of the last section of the table that is due here
	had    bool
	due    uint8 // its table id
	tables map[uint8]int64
	bad    int // checksum errors already counted
}

// analyzer takes packets and counts.
type analyzer struct {
	cfg Config

	mu     sync.Mutex // guards all below: a report may be due while packets are awaited
	out    *lines
	stride int

	packets int64
	null    int64
	tei     int64
	damage  int64 // gaps, losses of sync, TEI: what makes positions unreliable
	skipped int64 // bytes that were no packets
	p1      Priority1
	p2      Priority2
	base    timebase
	cc      ts.Continuity
	pids    [ts.NumPIDs]pidState

	pat         bool
	patSections psi.Sections
	tsid        uint16
	onid        int // −1: not known
	cat         bool
	programs    map[uint16]*program
	labels      map[uint16]label
	versions    psi.Versions
	leap        uint8 // GPS_UTC_offset of the last STT
	time        timeStats
	pidCheck    clock.Ticks27
	patAt       clock.Ticks27 // of the last packet on PID 0
	patHad      bool

	start    time.Time // of the first data
	arrived  time.Time // of the data at hand
	minDelay time.Duration
	maxDelay time.Duration
	delays   int64
}

type program struct {
	number  uint16
	pid     ts.PID
	listed  bool // in the current PAT
	pmt     *psi.PMT
	changes int
}

// label is what people call a program.
type label struct{ name, provider, channel string }

// timeStats is what the time tables said.
type timeStats struct {
	tables      map[string]int64
	first, last time.Time
	implausible int64
	offset      time.Duration // of UTC to stream time at the first table
	low, high   time.Duration // how far later ones are off
	jumps       int64         // of the time base when it was set
	set         bool
}

func newAnalyzer(cfg Config, out *lines) *analyzer {
	a := &analyzer{cfg: cfg, out: out, onid: -1, programs: map[uint16]*program{}, labels: map[uint16]label{}}
	a.time.tables = map[string]int64{}
	a.cc.Lend()
	for _, pid := range []ts.PID{ts.PIDPAT, ts.PIDCAT, ts.PIDNIT, ts.PIDSDT, ts.PIDEIT, ts.PIDTDT, ts.PIDPSIP} {
		a.follow(pid, 0xff)
	}
	a.pids[ts.PIDPAT].sect.due = psi.TablePAT
	return a
}

// follow makes pid one with sections; due is the table that must come regularly, 0xff for none.
func (a *analyzer) follow(pid ts.PID, due uint8) {
	st := &a.pids[pid&(ts.NumPIDs-1)]
	if st.sect == nil {
		st.sect = &sections{tables: map[uint8]int64{}}
	}
	st.kind, st.sect.due = kindPSI, due
}

// packet is the hot path: a few counters for each packet, more only where a unit starts or a table is.
func (a *analyzer) packet(p *ts.Packet) {
	n := a.packets
	a.packets++
	if p.TransportError() {
		a.p2.Transport++
		a.tei++
		a.damage++
		return
	}
	pid := p.PID()
	st := &a.pids[pid]
	st.packets++
	if pid == ts.PIDNull {
		a.null++
		return
	}
	if p.Scrambled() {
		a.scrambled(pid, st)
	}
	switch a.cc.Check(p) {
	case ts.Gap:
		st.gaps++
		st.lost += int64(a.cc.Lost())
		a.p1.Continuity++
		a.damage++
	case ts.Duplicate:
		st.dups++
	}
	if p.Discontinuity() {
		st.resets++
	}
	if p.HasAdaptation() {
		if v, ok := p.PCR(); ok {
			a.pcr(pid, st, point{clock.PCR(v), n, a.damage}, p.Discontinuity())
		}
	}
	switch st.kind {
	case kindPES:
		if p.UnitStart() && !p.Scrambled() {
			a.pes(p, st, n)
		}
	case kindPSI:
		a.table(p, pid, st, n)
	}
}

func (a *analyzer) scrambled(pid ts.PID, st *pidState) {
	st.scrambled++
	if st.kind != kindPSI {
		return
	}
	switch {
	case pid == ts.PIDPAT:
		a.p1.PAT++
		a.p1.PAT2++
	case st.sect.due == psi.TablePMT:
		a.p1.PMT++
	}
}

func (a *analyzer) pcr(pid ts.PID, st *pidState, p point, announced bool) {
	if st.pcr == nil {
		st.pcr = new(pcrStats)
	}
	s := st.pcr
	d, r := s.discontinuity, s.repetition
	step, ok := s.add(p, announced)
	a.p2.PCRDiscontinuity += s.discontinuity - d
	a.p2.PCRRepetition += s.repetition - r
	a.base.add(pid, p, step, ok)
	if pid != a.base.pid {
		return
	}
	if !a.arrived.IsZero() {
		delay := a.arrived.Sub(a.start) - a.base.elapsed.Duration()
		if a.delays == 0 {
			a.minDelay, a.maxDelay = delay, delay
		}
		a.delays++
		a.minDelay, a.maxDelay = min(a.minDelay, delay), max(a.maxDelay, delay)
	}
	if a.base.elapsed-a.pidCheck >= 1000*ms {
		a.pidCheck = a.base.elapsed
		a.presence()
	}
}

// presence counts a PID_error for every audio and video PID of a program that has been silent too long.
func (a *analyzer) presence() {
	now := a.base.elapsed
	for _, pr := range a.programs {
		if !pr.listed || pr.pmt == nil {
			continue
		}
		for _, s := range pr.pmt.Streams {
			st := &a.pids[s.PID]
			if !st.timed {
				continue
			}
			if st.packets != st.seen {
				st.seen, st.seenAt, st.silent = st.packets, now, false
				continue
			}
			if !st.silent && now-st.seenAt > pidLimit {
				st.silent = true
				a.p1.PID++
			}
		}
	}
}

// pes looks at the head of a PES packet.
func (a *analyzer) pes(p *ts.Packet, st *pidState, n int64) {
	h, err := ts.ParsePES(p.Payload())
	if !h.HasPTS || err == ts.ErrPES {
		return
	}
	st.pts++
	now := a.base.at(n)
	if st.hasPTS && st.timed && now-st.ptsAt > ptsLimit {
		a.p2.PTS++
	}
	st.hasPTS, st.ptsAt, st.lastPTS = true, now, clock.PTS(h.PTS)
}

// lost takes bytes that were no packets.
func (a *analyzer) lostSync(e *ts.SyncError, stride int) {
	a.skipped += e.Skipped
	if e.Offset == 0 {
		return // whoever joins in the middle of a packet has lost nothing
	}
	a.damage++
	if e.Skipped == int64(stride) {
		a.p1.SyncByte++ // one packet with another first byte: below the hysteresis of two
		return
	}
	a.p1.SyncByte++
	a.p1.SyncLoss++
}
