package chop

import (
	"errors"
	"fmt"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/es"
	"every.channel/ec/lib/ts"
)

// part is a run of canonical packets on its way out.
type part struct {
	chunk      *chunk
	id         uint64 // object id
	buf        []byte
	head       int           // bytes of PAT and PMT
	start, end int64         // packet positions; end is the position after the last packet
	endClock   clock.Ticks27 // steady clock when it ended
	pts, dts   clock.PTS
	duration   clock.Ticks // 0: not known
	rap        bool
	discont    bool
	last       bool // of its chunk: ends it
	tailed     bool // last, and what follows a clock reset goes on in the same group
}

// chunk is what its parts share. The cutter fills it in, settle decides it, emit writes it.
type chunk struct {
	group    int64
	synced   bool        // group is on broadcast time
	x        clock.Ticks // of its first access unit
	start    clock.PTS   // of its first access unit
	utc      clock.Ticks // broadcast UTC there, 90 kHz since 1970; meaningful when synced
	hours    int         // timeline
	edge     bool
	neighbor int // timeline across the edge
	identity Identity
	tail     bool // what followed a clock reset, up to the next random access point

	begin int64  // position of its first packet
	from  int64  // position of the random access point before, or of the reset; −1 not known
	cause string // what keeps it from being promoted whatever else comes

	parts  uint64 // ids given out so far
	bytes  int64
	broken string // why it is not promoted, "" as far as is known
	claim  bool   // the broadcast's, if its first part is
	damage damage
	patCC  uint8
	pmtCC  uint8
	layout *layout
}

// accessUnit is one whose role is not decided yet.
type accessUnit struct {
	active   bool
	pos      int64 // packet position
	offset   int   // in the current part's buf
	pts, dts clock.PTS
	find     es.Finder
}

// cutter turns packets into parts. One goroutine owns it.
type cutter struct {
	cfg     *Config
	d       clock.Ticks // chunk
	partD   clock.Ticks
	prog    program
	base    timebase
	file    *clockFile
	cont    ts.Continuity
	pos     int64 // of the packet being looked at
	barePos int64 // of the last PCR without payload
	stats   Stats

	seen      [ts.NumPIDs]int64         // position of the last good packet or whole table, of tracked PIDs
	seenClock [ts.NumPIDs]clock.Ticks27 // when
	awaited   []ts.PID                  // PIDs that must be seen again before an end is certain
	scrambled int64                     // packets, for the message when nothing comes out

	run  []byte // being looked at
	at   int    // in run, of the packet being looked at
	held int    // in run, of the first packet kept but not yet copied; −1 none

	au      accessUnit
	cur     *part // being filled; its chunk is nil before the first random access point
	tail    tail  // of the chunk before
	prevRAP struct {
		known bool
		pts   clock.PTS
		pos   int64
	}
	lastDTS  clock.PTS // of the access unit before, inside a chunk
	resetPos int64     // of a reset since the last random access point, −1 if none

	events    []taint // newest last
	mergeable bool    // the newest may take up a neighbour
	queue     []*part // cut, not yet settled
	ended     bool    // no more input
	started   bool    // a chunk was begun
	out       func(delivery)
	free      chan []byte
}

// packets takes a run of packets of the input. Those that are kept are copied as far as they lie together.
func (c *cutter) packets(run []byte, stride int) error {
	c.run, c.held = run, -1
	for c.at = 0; len(run)-c.at >= ts.PacketSize; c.at += stride {
		c.stats.Packets++
		keep, err := c.packet((*ts.Packet)(run[c.at:]))
		switch {
		case err != nil:
			c.copyHeld()
			return err
		case !keep:
			c.copyHeld()
		case c.cur == nil:
			c.stats.Leading++
		case c.held < 0:
			c.held = c.at
		}
		if c.held >= 0 && (stride != ts.PacketSize || len(c.cur.buf)+c.at+ts.PacketSize-c.held >= maxPart) {
			c.at += ts.PacketSize
			c.copyHeld()
			c.at -= ts.PacketSize
		}
	}
	c.at = min(c.at, len(run))
	c.copyHeld()
	return nil
}

// copyHeld appends the packets that are held before the one being looked at to the current part.
func (c *cutter) copyHeld() {
	if c.held < 0 {
		return
	}
	held := c.run[c.held:c.at]
	c.held = -1
	c.cur.buf = append(c.cur.buf, held...)
	if len(c.cur.buf) >= maxPart {
		c.overflow()
	}
}

// packet looks at the next packet and reports whether to keep it.
func (c *cutter) packet(p *ts.Packet) (keep bool, err error) {
	c.pos++
	if p.TransportError() {
		// Its PID may be wrong too, so it counts for all.
		c.taint(taint{from: c.pos, to: c.pos, kind: taintTEI})
		return false, nil
	}
	pid := p.PID()
	role := c.prog.roles[pid]
	if role&roleKeep == 0 {
		if role == 0 {
			return false, nil
		}
		return false, c.table(p, pid, role)
	}
	if c.cont.Check(p) == ts.Gap {
		c.taint(taint{from: c.seen[pid], to: c.pos, kind: taintContinuity})
		if role&rolePCR != 0 {
			c.base.gap = true
		}
	}
	if p.Scrambled() {
		c.scrambled++
		c.taint(taint{from: c.pos, to: c.pos, kind: taintScrambled})
	}
	if role&rolePCR != 0 && p.HasAdaptation() {
		if pcr, ok := p.PCR(); ok {
			c.clock(clock.PCR(pcr), p.Discontinuity(), !p.HasPayload())
		}
	}
	c.seen[pid], c.seenClock[pid] = c.pos, c.base.now
	if role&(rolePMT|rolePAT|roleSI) != 0 { // a PID that is elementary stream and table at once
		if err := c.table(p, pid, role); err != nil {
			return false, err
		}
	}
	if role&roleCut != 0 && (c.au.active || p.UnitStart()) {
		c.copyHeld()
		c.cutPacket(p)
	}
	if role&roleTail != 0 && c.prog.roles[pid]&roleTail != 0 {
		c.copyHeld()
		return !c.toTail(p), nil
	}
	return true, nil
}

// overflow cuts a part that has grown beyond what an object may hold: a stream without access units.
func (c *cutter) overflow() {
	c.closeTail()
	ch := c.cur.chunk
	c.au.active = false
	if ch == nil {
		c.stats.Leading += int64(len(c.cur.buf) / ts.PacketSize)
		c.recycle(c.cur.buf)
		c.cur = nil
		return
	}
	ch.cause = catalog.ReasonOversize
	pts, dts := c.cur.pts, c.cur.dts
	c.closePart(c.pos, 0, false)
	c.openPart(ch, c.pos)
	c.cur.pts, c.cur.dts = pts, dts
	c.settle()
}

// table takes a packet of PAT, PMT or SI.
func (c *cutter) table(p *ts.Packet, pid ts.PID, role uint8) error {
	pr := &c.prog
	pr.feed(p)
	if pr.err != nil {
		return pr.err
	}
	if pr.patWhole {
		c.tableSeen(ts.PIDPAT, pr.patChanged)
		pr.patWhole, pr.patChanged = false, false
	}
	if pr.pmtWhole {
		changed := pr.pmtChanged
		c.tableSeen(pr.pmtPID, changed)
		pr.pmtWhole, pr.pmtChanged = false, false
		if changed || c.awaited == nil {
			c.programChanged()
		}
	}
	if !pr.utc.IsZero() {
		if c.base.have && c.cfg.Clock != ClockFile {
			c.base.set(pr.utc)
		}
		pr.utc = time.Time{}
	}
	return nil
}

// tableSeen notes that PAT or PMT was heard whole. Where it had changed since it was heard last is not known
// to every receiver, so what lies between is nobody's to promote. A lost repetition of a table that did not
// change leaves no trace in the canonical TS and is no damage.
func (c *cutter) tableSeen(pid ts.PID, changed bool) {
	if changed {
		c.taint(taint{from: c.seen[pid], to: c.pos, kind: taintPSI})
	}
	c.seen[pid], c.seenClock[pid] = c.pos, c.base.now
}

// programChanged takes up a new PMT: other PIDs, perhaps another codec.
func (c *cutter) programChanged() {
	pr := &c.prog
	c.awaited = append(c.awaited[:0], ts.PIDPAT, pr.pmtPID)
	for pid, role := range pr.roles {
		if role&roleKeep != 0 {
			c.awaited = append(c.awaited, ts.PID(pid))
			if c.seen[pid] == 0 {
				c.seen[pid], c.seenClock[pid] = c.pos, c.base.now
			}
		}
	}
	c.copyHeld()
	c.closeTail()
	if c.au.active {
		c.au.active = false
		if c.cur != nil && c.cur.chunk == nil {
			c.recycle(c.cur.buf)
			c.cur = nil
		}
	}
}

// clock takes a PCR of the program.
func (c *cutter) clock(pcr clock.PCR, flagged, bare bool) {
	reset, late := c.base.tick(pcr, flagged, bare)
	if late {
		c.taint(taint{from: c.barePos, to: c.pos, kind: taintContinuity})
	}
	if bare {
		c.barePos = c.pos
	}
	if reset {
		if !flagged {
			// It may be the reception that jumped.
			c.taint(taint{from: c.pos, to: c.pos, kind: taintClock})
		}
		c.reset()
	}
	if !c.base.known {
		c.seek(pcr.PTS())
	}
}

// seek looks for broadcast time where the tables do not give it.
func (c *cutter) seek(p clock.PTS) {
	switch c.cfg.Clock {
	case ClockHost:
		c.base.set(c.cfg.Now())
	case ClockFile:
		program := c.prog.number
		if c.cfg.Broadcast.Known() {
			program = c.cfg.Broadcast.Program
		}
		err := c.file.more()
		var records []clock.Record
		if err == nil {
			records, err = c.file.of(program)
		}
		if err != nil {
			c.prog.err = err
			return
		}
		if r, ok := nearest(records, p); ok {
			c.base.ref, c.base.known = r.Reference(), true
			c.base.set(c.base.ref.At(p))
			c.prog.recorded = identityIn(records)
		}
	}
}

// reset closes the group where the clock was reset. What follows up to the next random access point goes on
// under the same group, source-scoped.
func (c *cutter) reset() {
	c.copyHeld()
	c.closeTail()
	c.resetPos = c.pos
	c.prevRAP.known = false
	c.au.active = false
	if c.cur == nil {
		return
	}
	ch := c.cur.chunk
	if ch == nil {
		c.recycle(c.cur.buf)
		c.cur = nil
		return
	}
	if c.cur.start == c.pos || len(c.cur.buf) == 0 {
		return
	}
	c.cur.tailed = true
	c.closePart(c.pos, 0, true)
	tail := &chunk{group: ch.group, synced: ch.synced, x: ch.x, start: ch.start, utc: ch.utc, hours: ch.hours, edge: ch.edge,
		identity: ch.identity, layout: ch.layout, tail: true, begin: c.pos, from: -1, cause: catalog.ReasonDiscontinuity, parts: ch.parts, patCC: ch.patCC, pmtCC: ch.pmtCC}
	c.openPart(tail, c.pos)
	c.cur.discont = true
}

// cutPacket looks at a packet of the PID that cuts: it may start an access unit, or say more about one.
func (c *cutter) cutPacket(p *ts.Packet) {
	payload := p.Payload()
	if p.UnitStart() {
		if c.au.active {
			c.decide(true)
		}
		if p.Scrambled() {
			return
		}
		pes, err := ts.ParsePES(payload)
		if err != nil && !errors.Is(err, ts.ErrPESShort) || !pes.HasPTS {
			return
		}
		au := &c.au
		au.active, au.pos, au.offset = true, c.pos, 0
		au.pts, au.dts = clock.PTS(pes.PTS), clock.PTS(pes.PTS)
		if pes.HasDTS {
			au.dts = clock.PTS(pes.DTS)
		}
		c.tailTime(au.dts)
		au.find.Begin(c.prog.codec, p.RandomAccess())
		if !pes.DataAlignment {
			au.find.Several()
		}
		if err == nil {
			au.find.Feed(payload[min(pes.HeaderLen, len(payload)):])
		}
		if c.cur == nil {
			c.cur = &part{buf: c.buffer(), start: c.pos}
		}
		au.offset = len(c.cur.buf)
		if c.prog.pmt.PCRPID == ts.PIDNull {
			c.clock(au.dts.PCR(), false, false) // no PCR: decoding times are the only clock there is
		}
	} else if c.au.active {
		c.au.find.Feed(payload)
	}
	if c.au.active {
		c.decide(false)
	}
}

// decide settles what the pending access unit is, if its bytes tell or no more will come.
func (c *cutter) decide(last bool) {
	au := &c.au
	v := au.find.Feed(nil)
	if last {
		v = au.find.End()
	}
	if v == es.Undecided {
		return
	}
	au.active = false
	if c.cur == nil {
		return
	}
	if v == es.RandomAccess && c.startsChunk(au) {
		c.startChunk(au)
	} else if ch := c.cur.chunk; ch == nil {
		// Before the first random access point nothing can be decoded.
		c.stats.Leading += int64(len(c.cur.buf) / ts.PacketSize)
		c.recycle(c.cur.buf)
		c.cur = nil
	} else if ch.slot(au.dts, c.partD) != ch.slot(c.lastDTS, c.partD) {
		c.split(au, ch, v == es.RandomAccess)
	}
	c.lastDTS = au.dts
	if v == es.RandomAccess {
		c.prevRAP.known, c.prevRAP.pts, c.prevRAP.pos = true, au.pts, au.pos
		c.resetPos = -1
	}
	c.settle()
}

// slot is the bucket of --part a decoding time falls in. It is reckoned from the chunk's own x, so nothing
// heard inside the chunk can move a cut.
func (ch *chunk) slot(dts clock.PTS, d clock.Ticks) int64 {
	return clock.Bucket(ch.x+dts.Sub(ch.start), d)
}

// extend is x of an access unit. Without broadcast time k is 0.
func (c *cutter) extend(p clock.PTS) clock.Ticks {
	if !c.base.known {
		return clock.Ticks(p)
	}
	return clock.Extend(p, c.base.ref.At(p))
}

// startsChunk is the rule: the bucket differs from the previous random access point's, both on the clock as
// it is known now. It has no other memory.
func (c *cutter) startsChunk(au *accessUnit) bool {
	if !c.prevRAP.known || c.cur.chunk == nil || c.cur.chunk.tail {
		return true
	}
	x := c.extend(au.pts)
	prev := x + c.prevRAP.pts.Sub(au.pts)
	return clock.Bucket(x, c.d) != clock.Bucket(prev, c.d)
}

func (c *cutter) startChunk(au *accessUnit) {
	c.closeTail()
	if c.cfg.Clock == ClockFile && !c.prog.recorded.Known() {
		c.seek(au.pts) // a DVB receiver may have heard the time before the network
	}
	x := c.extend(au.pts)
	ch := &chunk{group: clock.Bucket(x, c.d), synced: c.base.known, x: x, start: au.pts, begin: au.pos, from: -1, identity: c.prog.identity()}
	if ch.synced {
		utc := c.base.ref.At(au.pts)
		ch.utc = clock.TicksAt(utc)
		ch.hours, ch.edge = clock.Timeline(utc, x)
		if t := c.cfg.Timeline; ch.edge && t != nil && ch.near(*t) {
			ch.hours, ch.edge = *t, false
		}
		ch.neighbor = clock.Neighbor(utc, x)
	}
	switch {
	case c.prevRAP.known:
		ch.from = c.prevRAP.pos
	case c.resetPos >= 0:
		ch.from = c.resetPos
	}
	ch.layout = c.prog.layout(ch.identity, au.find.Name())
	c.mergeable, c.started = false, true
	discont := c.resetPos >= 0
	c.split(au, ch, true)
	c.cur.discont = discont
}

// near reports whether a timeline the user chose is one of those the edge lies between.
func (ch *chunk) near(hours int) bool {
	d := ch.hours - hours
	return d >= -1 && d <= 1 || d >= 2*clock.MaxTimeline-1 || d <= 1-2*clock.MaxTimeline
}

// split ends the current part before the access unit and goes on in a new one, of the same chunk or of another.
func (c *cutter) split(au *accessUnit, ch *chunk, rap bool) {
	old := c.cur
	moved := old.buf[au.offset:]
	old.buf = old.buf[:au.offset]
	dropped := old.chunk == nil || au.offset == old.head // nothing but tables: a reset and a random access point in one packet
	c.cur = nil
	c.openPart(ch, au.pos)
	next := c.cur
	next.pts, next.dts, next.rap = au.pts, au.dts, rap
	starts := ch != old.chunk
	if !dropped {
		c.cur = old
		c.closePart(au.pos, au.dts.Sub(old.dts), starts)
		c.cur = next
	}
	switch {
	case !starts:
		next.buf = append(next.buf, moved...)
	case dropped:
		c.openTail(nil, au.dts, moved)
	default:
		c.openTail(old, au.dts, moved)
	}
	if dropped {
		c.recycle(old.buf)
	}
}

// openPart starts a part at a packet position, with PAT and PMT at its head.
func (c *cutter) openPart(ch *chunk, pos int64) {
	p := &part{chunk: ch, id: ch.parts, start: pos}
	ch.parts++
	p.buf = c.prog.layout(ch.identity, ch.layout.video).appendTables(c.buffer(), &ch.patCC, &ch.pmtCC)
	p.head = len(p.buf)
	c.cur = p
}

// closePart ends the current part before the packet at pos and queues it.
func (c *cutter) closePart(pos int64, duration clock.Ticks, last bool) {
	p := c.cur
	c.cur = nil
	p.end, p.endClock, p.last = pos, c.base.now, last
	if duration > 0 {
		p.duration = duration
	}
	p.chunk.bytes += int64(len(p.buf))
	if p.chunk.bytes > maxChunk && p.chunk.cause == "" {
		p.chunk.cause = catalog.ReasonOversize
	}
	c.queue = append(c.queue, p)
}

// finish ends the stream: the last chunk has no end of its own.
func (c *cutter) finish() error {
	if c.au.active {
		c.decide(true)
	}
	c.pos++
	c.closeTail()
	if c.cur != nil && c.cur.chunk != nil {
		if c.cur.chunk.cause == "" {
			c.cur.chunk.cause = catalog.ReasonCut
		}
		c.closePart(c.pos, 0, true)
	}
	c.ended = true
	c.settle()
	pr := &c.prog
	switch {
	case pr.err != nil:
		return pr.err
	case c.started:
		return nil
	case pr.patSection == nil:
		return &InputError{Err: errors.New("no PAT: the stream names no program")}
	case !pr.known():
		if a := pr.assemblers[pr.pmtPID]; a != nil && a.CRCErrors() > 0 {
			return &InputError{Err: fmt.Errorf("no whole PMT of program %d on PID %d: %d sections do not verify", pr.number, pr.pmtPID, a.CRCErrors())}
		}
		return &InputError{Err: fmt.Errorf("no PMT of program %d on PID %d", pr.number, pr.pmtPID)}
	case pr.cutPID == ts.PIDNull:
		return &InputError{Err: fmt.Errorf("program %d has neither video nor audio", pr.number)}
	case c.scrambled > 0:
		return &InputError{Err: fmt.Errorf("program %d is scrambled: %d packets", pr.number, c.scrambled), Tip: scrambledTip}
	}
	return &InputError{Err: fmt.Errorf("program %d has no random access point on PID %d", pr.number, pr.cutPID),
		Tip: "the stream may be shorter than one group of pictures"}
}

// buffer takes a part buffer that was given back, or makes one.
func (c *cutter) buffer() []byte {
	select {
	case b := <-c.free:
		return b[:0]
	default:
		return make([]byte, 0, 64<<10)
	}
}

func (c *cutter) recycle(b []byte) {
	select {
	case c.free <- b:
	default:
	}
}
