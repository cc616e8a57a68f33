package chop

import (
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// part is a run of canonical packets on its way out.
type part struct {
	chunk      *chunk
	id         uint64 // object id
	buf        []byte // room for PAT and PMT first
	start, end int64  // packet positions; end is the position after the last packet
	endClock   clock.Ticks27
	pts, dts   clock.PTS
	duration   clock.Ticks // 0: not known
	rap        bool
	last       bool // of its chunk: ends it
}

// chunk is what its parts share. The cutter fills it in, settle decides it.
type chunk struct {
	seq      int64     // counts from 1
	start    clock.PTS // of its first access unit
	startDTS clock.PTS
	begin    int64 // position of its first packet
	beganAt  clock.Ticks27
	run      *run     // the clock it began on; nil if there is none
	identity Identity // of the broadcast, when it began
	layout   *layout
	clock    madeClock

	cause string // what keeps it from being promoted whatever else comes
	doubt string // why it is not certain that it starts where the broadcast's chunk does

	parts  uint64 // ids given out so far
	bytes  int64
	named  bool
	name   naming
	broken string // why it is not promoted, "" as far as is known
}

// slot is the slot of --part that a decoding time falls in, reckoned from the chunk's first.
func (ch *chunk) slot(dts clock.PTS, d clock.Ticks) int64 {
	return clock.Bucket(dts.Sub(ch.startDTS), d)
}

// nothing is a null packet, and holds the place of a table.
var nothing = func() (p ts.Packet) { p.SetNull(); return p }()

// The PCR made anew (docs/format/chunk.md, "Canonical TS").
const (
	pcrLead  = clock.Hz            // a PCR is so much before the DTS of the access unit behind it
	pcrEvery = 40 * clock.Hz / 1e3 // apart

	stepAhead = 10 * clock.Hz // so far ahead the next access unit is decoded on another clock
	stepBack  = clock.Hz / 2  // so far back likewise
)

// madeClock makes the PCR of a chunk anew from the decoding times of its access units.
type madeClock struct {
	some bool
	last clock.PTS // DTS of the last PCR
}

// insert puts the PCRs that are due before an access unit into b at an offset.
func (m *madeClock) insert(b []byte, at int, pid ts.PID, dts clock.PTS) []byte {
	d := dts.Sub(m.last)
	step := m.some && stepped(d)
	if m.some && !step && d < pcrEvery {
		return b
	}
	rest := len(b) - at
	if !step {
		b = m.fill(b, pid, dts)
	}
	b = appendPCR(b, pid, dts, step)
	m.some, m.last = true, dts
	if made := len(b) - at - rest; rest > 0 { // they go before what came since
		b = append(b, b[at:at+rest]...)
		copy(b[at:], b[at+rest:at+rest+made])
		copy(b[at+made:], b[len(b)-rest:])
		b = b[:len(b)-rest]
	}
	return b
}

// fill appends the PCRs between the last one and that of an access unit that is far from it.
func (m *madeClock) fill(b []byte, pid ts.PID, dts clock.PTS) []byte {
	if d := dts.Sub(m.last); !m.some || d < 0 || d >= stepAhead {
		return b
	}
	for next := m.last.Add(pcrEvery); dts.Sub(next) >= pcrEvery; next = next.Add(pcrEvery) {
		b = appendPCR(b, pid, next, false)
	}
	return b
}

func appendPCR(b []byte, pid ts.PID, dts clock.PTS, stepped bool) []byte {
	var p ts.Packet
	p.Fill(&ts.Header{PID: pid, HasPCR: true, PCR: uint64(dts.Add(-pcrLead).PCR()), Discontinuity: stepped}, nil)
	return append(b, p[:]...)
}
