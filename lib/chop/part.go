package chop

import (
	"every.channel/ec/lib/catalog"
	"slices"
	"sync"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// part is a run of canonical packets on its way out.
type part struct {
	chunk *chunk
	id    uint64 // object id
	buffers
	front      int   // offset in buf of the part's first byte; the room before it is for packets of other PIDs
	head       int   // offset in buf of the first packet of the cut PID
	start, end int64 // packet positions; end is the position after the last packet
	endClock   clock.Ticks27
	pts, dts   clock.PTS
	duration   clock.Ticks // 0: not known
	rap        bool
	step       bool            // the clock stepped just before the part, inside its chunk
	last       bool            // it is the last part of its chunk
	health     *catalog.Health // with the last part; nil: none is due
}

const (
	frontRoom  = 64 << 10  // for packets of other PIDs; if there are more, the part is moved to make room
	backRoom   = 320 << 10 // for all else, at first: 200 ms of 12 Mbit/s
	othersRoom = 32 << 10  // for packets of other PIDs, at first
)

// size is how many bytes a part has.
func (p *part) size() int { return len(p.buf) - p.front + len(p.others) }

// arrange puts the packets of other PIDs before those of the cut PID, PID after PID. So the order of bytes does not depend on how
// the PIDs were interleaved, which differs at a receiver that lost the first copy of a duplicate.
func (p *part) arrange() {
	n := len(p.others)
	if lack := n - p.front; lack > 0 {
		p.buf = slices.Insert(p.buf, 0, make([]byte, lack)...)
		p.front, p.head = p.front+lack, p.head+lack
		for i := range p.more {
			p.more[i] += lack
		}
	}
	for i, at := range p.more {
		if at < p.head {
			p.more[i] -= n
		}
	}
	copy(p.buf[p.front-n:], p.buf[p.front:p.head])
	p.front -= n
	appendByPID(p.buf[:p.head-n], p.others)
	p.others = p.others[:0]
}

// appendByPID appends packets PID after PID, and each PID's packets in their order.
func appendByPID(b, packets []byte) []byte {
	for pid, next := ts.PIDPAT, ts.PIDNull; ; pid, next = next, ts.PIDNull {
		for rest := packets; len(rest) > 0; rest = rest[ts.PacketSize:] {
			p := (*ts.Packet)(rest)
			switch at := p.PID(); {
			case at == pid:
				b = append(b, p[:]...)
			case at > pid:
				next = min(next, at)
			}
		}
		if next == ts.PIDNull {
			return b
		}
	}
}

// bytes returns the bytes of a part that is arranged.
func (p *part) bytes() []byte { return p.buf[p.front:] }

// buffers hold a part while it is put together.
type buffers struct {
	buf    []byte // room for PAT and PMT, the PCRs due before the first access unit, and the packets of the cut PID
	more   []int  // offsets in buf of more room for PAT and PMT
	others []byte // packets of other PIDs, in order of arrival
}

// pool keeps buffers to be used again. The last one comes first, because it is the most likely to be in a cache still.
type pool struct {
	mu   sync.Mutex
	free []buffers
}

// maxFree bounds the buffers in a pool.
const maxFree = 2 * ahead

// part makes a part that begins at a packet position.
func (l *pool) part(start int64) *part {
	p := &part{start: start, front: frontRoom, head: frontRoom}
	l.mu.Lock()
	if n := len(l.free); n > 0 {
		p.buffers = l.free[n-1]
		l.free = l.free[:n-1]
	}
	l.mu.Unlock()
	if p.buf == nil {
		p.buf, p.others = make([]byte, frontRoom+backRoom), make([]byte, 0, othersRoom)
	}
	p.buf, p.more, p.others = p.buf[:frontRoom], p.more[:0], p.others[:0]
	return p
}

// put takes back the buffers of a part.
func (l *pool) put(p *part) {
	l.mu.Lock()
	if len(l.free) < maxFree {
		l.free = append(l.free, p.buffers)
	}
	l.mu.Unlock()
	p.buffers = buffers{}
}

// chunk is what the parts of a chunk share. The cutter fills it in; settle decides whether it is promoted.
type chunk struct {
	seq      int64     // counts from 1
	start    clock.PTS // of its first access unit
	startDTS clock.PTS
	begin    int64 // position of its first packet
	beganAt  clock.Ticks27
	run      *run     // the clock on which it began; nil if there is none
	early    bool     // it began before a PCR of that clock was heard
	identity Identity // of the broadcast, when it began
	renamed  int      // the value of program.renamed when it began
	owned    bool     // identity is whose chunk it is, whatever is heard from now on
	layout   *layout
	clock    madeClock

	cause string // why it cannot be promoted, whatever else comes
	doubt string // why it is not certain that the broadcast's chunk starts at the same place

	parts    uint64 // how many ids were given out so far
	bytes    int64
	promoted bool // some of its parts were promoted
	named    bool
	name     naming
	broken   string // why it is not promoted; "" as long as nothing forbids it
}

// slot returns the cell of length d in which a decoding time falls, counted from the chunk's first access unit.
func (ch *chunk) slot(dts clock.PTS, d clock.Ticks) int64 {
	return clock.Bucket(dts.Sub(ch.startDTS), d)
}

// These are the intervals at which PCRs, PAT and PMT are made anew (docs/format/chunk.md, "Canonical TS").
const (
	pcrLead     = clock.Hz             // a PCR is this much before the DTS of the access unit behind it
	pcrEvery    = 40 * clock.Hz / 1e3  // apart
	tablesEvery = 300 * clock.Hz / 1e3 // this long after PAT and PMT, they stand again before the next PCR

	stepAhead = 10 * clock.Hz // an access unit that is decoded this much later is on another clock
	stepBack  = clock.Hz / 2  // and so is one that is decoded this much earlier
)

// madeClock is the state of a chunk's new PCRs, which are made from the decoding times of its access units.
type madeClock struct {
	some   bool
	last   clock.PTS // DTS of the last PCR
	tables clock.PTS // DTS where PAT and PMT stood last

	flagged bool // the multiplexer announced a step before the access unit that is due
}

// steps reports whether the clock steps before an access unit. An access unit a short time ahead may also follow a still picture,
// so such a step counts only if it was announced.
func (m *madeClock) steps(dts clock.PTS) bool {
	d := dts.Sub(m.last)
	return m.some && (stepped(d) || m.flagged && d >= clock.Hz)
}

// sparse reports whether an access unit is so far from the last PCR that more PCRs are due between them, on the same clock.
func (m *madeClock) sparse(dts clock.PTS) bool {
	return m.some && dts.Sub(m.last) >= 2*pcrEvery && !m.steps(dts)
}

// head notes that PAT and PMT stand at the head of the part that begins with an access unit, before the PCRs that are due there.
func (m *madeClock) head(dts clock.PTS) {
	m.tables = dts
	if m.sparse(dts) {
		m.tables = m.last.Add(pcrEvery)
	}
}

// insert puts the PCRs that are due before an access unit, and room for PAT and PMT, into the part at an offset.
func (p *part) insert(at int, dts clock.PTS) {
	m := &p.chunk.clock
	step := m.steps(dts)
	if m.some && !step && dts.Sub(m.last) < pcrEvery {
		return
	}
	rest, rooms := len(p.buf)-at, len(p.more)
	p.fill(dts)
	p.pcr(dts, step)
	m.some, m.last = true, dts
	if rest == 0 {
		return
	}
	b := p.buf
	made := len(b) - at - rest
	b = append(b, b[at:at+rest]...) // the new packets go before those that came since
	copy(b[at:], b[at+rest:at+rest+made])
	copy(b[at+made:], b[len(b)-rest:])
	p.buf = b[:len(b)-rest]
	for i := range p.more[rooms:] {
		p.more[rooms+i] -= rest
	}
}

// fill appends the PCRs that are due between the last PCR and that of an access unit far from it.
func (p *part) fill(dts clock.PTS) {
	m := &p.chunk.clock
	if !m.sparse(dts) {
		return
	}
	for next := m.last.Add(pcrEvery); dts.Sub(next) >= pcrEvery; next = next.Add(pcrEvery) {
		p.pcr(next, false)
	}
}

// pcr appends a PCR, and before it room for PAT and PMT if they are due.
func (p *part) pcr(dts clock.PTS, step bool) {
	m, l := &p.chunk.clock, p.chunk.layout
	if d := dts.Sub(m.tables); d >= tablesEvery || stepped(d) {
		m.tables = dts
		p.more = append(p.more, len(p.buf))
		p.buf = l.room(p.buf)
	}
	var packet ts.Packet
	packet.Fill(&ts.Header{PID: l.pcrPID, HasPCR: true, PCR: uint64(dts.Add(-pcrLead).PCR()), Discontinuity: step}, nil)
	p.buf = append(p.buf, packet[:]...)
}
