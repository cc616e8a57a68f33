package chop

import (
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
	front      int   // offset in buf of its first byte; before it there is room for others
	head       int   // offset in buf of the first packet of the cut PID
	start, end int64 // packet positions; end is the position after the last packet
	endClock   clock.Ticks27
	pts, dts   clock.PTS
	duration   clock.Ticks // 0: not known
	rap        bool
	step       bool // the clock stepped just before, in the middle of its chunk
	last       bool // of its chunk: ends it
}

const (
	frontRoom  = 64 << 10  // for packets of other PIDs; where they are more, the part is moved for them
	backRoom   = 320 << 10 // for the rest, at first: 200 ms of 12 Mbit/s
	othersRoom = 32 << 10  // for packets of other PIDs, at first
)

// size is how many bytes a part has.
func (p *part) size() int { return len(p.buf) - p.front + len(p.others) }

// arrange puts the packets of other PIDs where they belong: before those of the cut PID, PID after PID. So the order of bytes does not depend on
// how PIDs are interleaved, which is another where the first copy of a duplicate is lost.
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

// appendByPID appends packets PID after PID, each PID's in their order.
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

// bytes are those of a part that is arranged.
func (p *part) bytes() []byte { return p.buf[p.front:] }

// buffers are what a part is put together in.
type buffers struct {
	buf    []byte // room for PAT and PMT, what is due before the first access unit, the packets of the cut PID
	more   []int  // offsets in it of more room for PAT and PMT
	others []byte // packets of other PIDs, in order of arrival
}

// pool keeps buffers that may be used again, the last one first: it is the most likely to be in a cache still.
type pool struct {
	mu   sync.Mutex
	free []buffers
}

// maxFree bounds what a pool keeps.
const maxFree = 2 * ahead

// part makes a part from a packet position on.
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

// chunk is what its parts share. The cutter fills it in, settle decides it.
type chunk struct {
	seq      int64     // counts from 1
	start    clock.PTS // of its first access unit
	startDTS clock.PTS
	begin    int64 // position of its first packet
	beganAt  clock.Ticks27
	run      *run     // the clock it began on; nil if there is none
	identity Identity // of the broadcast, when it began
	renamed  int      // program.renamed then
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

// What is made anew (docs/format/chunk.md, "Canonical TS").
const (
	pcrLead     = clock.Hz             // a PCR is so much before the DTS of the access unit behind it
	pcrEvery    = 40 * clock.Hz / 1e3  // apart
	tablesEvery = 300 * clock.Hz / 1e3 // after PAT and PMT they stand before the next PCR again

	stepAhead = 10 * clock.Hz // so far ahead the next access unit is decoded on another clock
	stepBack  = clock.Hz / 2  // so far back likewise
)

// madeClock is what the PCR of a chunk, made anew from the decoding times of its access units, has come to.
type madeClock struct {
	some   bool
	last   clock.PTS // DTS of the last PCR
	tables clock.PTS // DTS where PAT and PMT stood last

	flagged bool // the multiplexer announced a step before the access unit that is due
}

// steps reports whether the clock steps before an access unit. A short way ahead it may as well be a still picture, unless it was announced.
func (m *madeClock) steps(dts clock.PTS) bool {
	d := dts.Sub(m.last)
	return m.some && (stepped(d) || m.flagged && d >= clock.Hz)
}

// sparse reports whether an access unit is so far from the last PCR that more are due between, but on the same clock.
func (m *madeClock) sparse(dts clock.PTS) bool {
	return m.some && dts.Sub(m.last) >= 2*pcrEvery && !m.steps(dts)
}

// head notes that PAT and PMT stand at the head of the part that begins with an access unit, before what is due before that.
func (m *madeClock) head(dts clock.PTS) {
	m.tables = dts
	if m.sparse(dts) {
		m.tables = m.last.Add(pcrEvery)
	}
}

// insert puts what is due before an access unit into the part at an offset: PCRs, and room for PAT and PMT.
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
	b = append(b, b[at:at+rest]...) // what was made goes before what came since
	copy(b[at:], b[at+rest:at+rest+made])
	copy(b[at+made:], b[len(b)-rest:])
	p.buf = b[:len(b)-rest]
	for i := range p.more[rooms:] {
		p.more[rooms+i] -= rest
	}
}

// fill appends what is due between the last PCR and that of an access unit that is far from it.
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
