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

// accessUnit is one whose role is not decided yet.
type accessUnit struct {
	active   bool   // it is not decided what it is
	begins   bool   // the header of its PES packet is not whole
	flagged  bool   // discontinuity_indicator came with a PCR since the one before began
	torn     bool   // the one before goes on in its PES packet
	cut      bool   // its start code may stand in the PES packet before
	header   []byte // what there is of it
	pos      int64  // packet position
	offset   int    // in the current part's buf
	pts, dts clock.PTS
	random   bool // random_access_indicator
	finder   es.Finder
}

// mark is what was known when a packet of a PID, or a table, was heard last.
type mark struct {
	pos  int64         // packet position, 0 if never
	dark int64         // unreadable packets until then
	at   clock.Ticks27 // steady clock
}

// cutter turns packets into parts. One goroutine owns it.
type cutter struct {
	cfg   *Config
	grid  clock.Grid  // chunks
	partD clock.Ticks // parts
	prog  program
	base  timebase
	file  *clockFile
	cont  ts.Continuity
	pos   int64 // of the packet being looked at
	sure  int64 // of the last packet that is known not to be torn
	dark  int64 // unreadable packets so far: transport_error_indicator, lost sync
	stats Stats

	heard     [ts.NumPIDs]mark
	before    map[ts.PID]earlier // until the PMT is known
	totHeard  bool
	tdtAlone  bool   // two TDT came in succession: there is no TOT
	tdtLost   bool   // packets of that PID were lost, and there may have been one
	told      []said // times for which a PCR is awaited
	tdtBefore bool   // the last table on that PID was a TDT, and none was lost since
	nextPos   int64  // position where the PMT was heard that is not in force yet
	clockPos  int64  // position of the last PCR
	flagPos   int64  // position of the last PCR with discontinuity_indicator in a packet with payload
	stepPos   int64  // position of the last step of the clock
	scrambled int64  // packets, for the message when nothing comes out
	pcrHeard  bool
	dtsHeard  bool
	firstDTS  clock.PTS // while no PCR was heard

	run  []byte // being looked at
	at   int    // in run, of the packet being looked at
	held int    // in run, of the first packet kept but not yet copied; −1 none

	au      accessUnit
	cur     *part // being filled; its chunk is nil before the first random access point
	tail    tail  // of the chunk before
	prevRAP struct {
		known bool
		pts   clock.PTS
	}
	proof   proof     // of where the next chunk starts
	lastDTS clock.PTS // of the access unit before, inside a chunk

	events    []taint // newest last
	mergeable bool    // the newest may take up a neighbour
	queue     []*part // cut, not yet settled
	closed    int64   // the newest chunk that has an end of its own
	chunks    int64   // begun
	cutParts  int64   // likewise
	promoted  []sent  // chunks that went out under the broadcast's name, for what is told late
	ended     bool    // no more input
	out       func(delivery)
	free      chan []byte
}

// proof is what was heard since the last loss on the cut PID: it tells whether a random access point starts a chunk at every receiver.
type proof struct {
	rap   bool // a random access point was heard
	step  bool // the clock stepped, so that access units prove nothing
	au    bool // an access unit was heard
	dts   clock.PTS
	began bool // something was lost before; else the stream began
}

// packets takes a run of packets of the input. Those that are kept are copied as far as they lie together.
func (c *cutter) packets(run []byte, stride int) error {
	c.run, c.held = run, -1
	if c.sure < c.pos {
		c.sure = c.pos
		c.settle()
	}
	for c.at = 0; len(run)-c.at >= ts.PacketSize; c.at += stride {
		c.stats.Packets++
		p := (*ts.Packet)(run[c.at:])
		if len(run)-c.at > stride {
			c.sure = c.pos + 1 // another packet follows where it is due
		}
		keep, err := c.packet(p)
		switch {
		case err != nil:
			c.copyHeld()
			return err
		case !keep:
			c.copyHeld()
		case c.cur == nil:
			c.stats.Leading++
		case p.HasAdaptation() && p.HasPCR():
			// What may differ between the copies of a duplicate does not go out (docs/format/chunk.md, "Canonical TS").
			c.copyHeld()
			c.cur.buf = append(c.cur.buf, p[:]...)
			(*ts.Packet)(c.cur.buf[len(c.cur.buf)-ts.PacketSize:]).TakePCR()
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
		c.dark++ // counters tell whether that matters
		return false, nil
	}
	pid := p.PID()
	role := c.prog.roles[pid]
	if role&(roleKeep|rolePCR) == 0 {
		if role&(roleTable|roleSI) == 0 {
			if role&roleNext != 0 && (c.au.active || c.au.begins) {
				return c.foretaste(p, pid), nil
			}
			c.unlisted(p, pid)
			return false, nil
		}
		return false, c.table(p, pid)
	}
	m := &c.heard[pid]
	before := *m
	ev := c.cont.Check(p)
	if role&rolePCR != 0 && p.HasAdaptation() {
		if pcr, ok := p.PCR(); ok {
			if !c.pcrHeard {
				c.pcrHeard, c.base.have = true, false
			}
			c.clock(clock.PCR(pcr), p.Discontinuity(), ev == ts.Gap || c.dark > before.dark, ev == ts.Jump)
		}
	}
	if role&(roleTable|roleSI) != 0 { // a PID that is more than one thing
		if err := c.table(p, pid); err != nil {
			return false, err
		}
	}
	if role&roleKeep == 0 {
		return false, nil
	}
	if !p.HasPayload() {
		// It carries nothing and no counter shows its loss; but a jump of the counter that it alone announces must reach the player.
		if ev == ts.Jump {
			c.lost(pid, before.pos, true)
		}
		return ev == ts.Jump, nil
	}
	*m = mark{c.pos, c.dark, c.base.now}
	if before.pos > 0 {
		switch {
		case ev == ts.Gap || ev == ts.Jump:
			c.lost(pid, before.pos, ev == ts.Jump)
		case c.dark-before.dark >= 16:
			c.event(taint{from: before.pos, to: c.pos, pid: pid, kind: taintTEI}) // so many may hide from a counter of four bits
		}
	}
	if ev == ts.Duplicate {
		return false, nil
	}
	if role&rolePCR != 0 && p.Discontinuity() && p.HasPCR() {
		c.flagPos = c.pos
	}
	if p.Scrambled() || p.UnitStart() && scrambledPES(p.Payload()) {
		if c.scrambled++; c.scrambled == 1 {
			c.cfg.Log.Warn("scrambled: what is, is not promoted", "program", c.prog.number, "pid", pid)
		}
		c.event(taint{from: c.pos, to: c.pos, pid: pid, kind: taintScrambled})
	}
	if role&roleCut != 0 && (c.au.active || c.au.begins || p.UnitStart()) {
		c.copyHeld()
		c.cutPacket(p)
	}
	if role&roleTail != 0 && c.prog.roles[pid]&roleTail != 0 {
		c.copyHeld()
		taken := c.toTail(p)
		if c.tail.open == 0 {
			c.settle() // this may have been what the chunk before waited for
		}
		return !taken, nil
	}
	return c.prog.roles[pid]&roleKeep != 0, nil
}

// foretaste takes a packet of a PID that the next chunk has and this one has not: the pending access unit may be the next chunk's first.
func (c *cutter) foretaste(p *ts.Packet, pid ts.PID) (keep bool) {
	m := &c.heard[pid]
	before := *m
	ev := c.cont.Check(p)
	if !p.HasPayload() {
		return false
	}
	*m = mark{c.pos, c.dark, c.base.now}
	if before.pos > 0 && (ev == ts.Gap || ev == ts.Jump) {
		c.lost(pid, before.pos, ev == ts.Jump)
	}
	return ev != ts.Duplicate
}

// unlisted takes a packet that no PMT heard so far is about. Another PMT may be, and then a loss should show. Before the first one it may be
// a PMT that came before the PAT, or an access unit that proves where the first chunk starts.
func (c *cutter) unlisted(p *ts.Packet, pid ts.PID) {
	if pid == ts.PIDNull {
		return
	}
	ev := c.cont.Check(p)
	if !p.HasPayload() {
		return
	}
	c.heard[pid] = mark{c.pos, c.dark, c.base.now}
	if c.prog.inForce {
		return
	}
	if !c.prog.patKnown {
		c.prog.foreshadow(p, pid)
	}
	if ev != ts.Ok || p.UnitStart() {
		delete(c.before, pid)
	}
	if !p.UnitStart() || p.Scrambled() {
		return
	}
	if pes, err := ts.ParsePES(p.Payload()); err == nil && pes.HasPTS && pes.DataAlignment {
		c.before[pid] = earlier{clock.PTS(pes.DTS), c.dark}
	}
}

// earlier is the last access unit that came before the PMT, in a PES packet of its own.
type earlier struct {
	dts  clock.PTS
	dark int64
}

// lost notes that packets of a kept PID are missing. Where the program's clock steps its counters may jump, too (H.222.0 §2.4.3.5): what is
// missing then is missing before the step.
func (c *cutter) lost(pid ts.PID, from int64, announced bool) {
	to := c.pos
	if announced && c.stepPos > from {
		to = c.stepPos
	}
	c.event(taint{from: from, to: to, pid: pid, kind: taintContinuity})
}

// scrambledPES reports whether a PES packet's payload is scrambled: PES_scrambling_control, H.222.0 §2.4.3.7.
func scrambledPES(b []byte) bool {
	return len(b) > 6 && b[0] == 0 && b[1] == 0 && b[2] == 1 && b[6]&0xc0 == 0x80 && b[6]&0x30 != 0
}

// event takes an event of one PID.
func (c *cutter) event(t taint) {
	if t.pid == c.prog.cutPID || t.kind == taintSync {
		c.proof = proof{began: true}
		c.au.active, c.au.begins = false, false // what is left of it shows nothing
	}
	c.taint(t)
	c.tellLate(t)
}

// unreadable takes note of bytes that are no packets.
func (c *cutter) unreadable(bytes int64) {
	c.dark += (bytes + ts.PacketSize - 1) / ts.PacketSize
	c.event(taint{from: c.pos - 1, to: c.pos + 1, pid: ts.PIDNull, kind: taintSync}) // the packet before may be torn, too
}

// overflow cuts a part that has grown beyond what an object may hold: a stream without access units.
func (c *cutter) overflow() {
	c.closeTail()
	ch := c.cur.chunk
	c.au.active, c.au.begins = false, false
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
func (c *cutter) table(p *ts.Packet, pid ts.PID) error {
	pr := &c.prog
	role := pr.roles[pid]
	lost := false
	if role&(roleKeep|rolePCR) == 0 {
		ev := c.cont.Check(p)
		lost = ev == ts.Gap || ev == ts.Jump
	}
	if pid == ts.PIDTDT && lost {
		c.tdtBefore, c.tdtLost = false, true
	}
	if lost || c.dark-c.heard[pid].dark >= 16 {
		c.heard[pid].dark = -1 // until the table is heard whole
	}
	pr.feed(p, pid)
	if pr.err != nil {
		return pr.err
	}
	if pr.patWhole {
		c.tableSeen(ts.PIDPAT, pr.patChanged)
		pr.patWhole, pr.patChanged = false, false
	}
	if pr.pmtWhole {
		c.tableSeen(pr.pmtPID, pr.pmtChanged)
		pr.pmtWhole, pr.pmtChanged = false, false
		c.programHeard()
	}
	if !pr.utc.IsZero() {
		c.timeHeard(pr.utcKind, pr.utc)
		pr.utc = time.Time{}
	}
	return nil
}

// said is the time that a table gave.
type said struct {
	kind table
	utc  time.Time
}

// timeHeard takes the time of a table. It is tied to the next PCR, not to the last one: where PCRs are lost, that only makes it later, and the
// greatest offset counts.
func (c *cutter) timeHeard(kind table, utc time.Time) {
	switch kind {
	case tableTDT:
		c.tdtAlone = c.tdtAlone || c.tdtBefore
		c.tdtBefore = true
	case tableTOT:
		c.tdtAlone, c.tdtBefore = false, false
	}
	if c.cfg.Clock != ClockFile && len(c.told) < heard {
		c.told = append(c.told, said{kind, utc})
	}
}

// tableSeen notes that PAT or PMT was heard whole. If it has changed and packets of it were lost, where it changed is not known: a chunk
// that began in between may have begun with the other. A lost repetition of a table that did not change is no damage.
func (c *cutter) tableSeen(pid ts.PID, changed bool) {
	m := &c.heard[pid]
	if changed && (m.dark < 0 || c.base.now-m.at > tableSilence) {
		c.taint(taint{from: m.pos, to: c.pos, pid: pid, kind: taintPSI})
	}
	*m = mark{c.pos, c.dark, c.base.now}
}

// tableSilence is how long PAT and PMT may stay away without a doubt that some were lost: TR 101 290 §5.2.1 allows 500 ms.
const tableSilence = second

// programHeard takes up a PMT: at once before the first chunk, and when another PID is to be cut; else the next chunk begins with it.
func (c *cutter) programHeard() {
	pr := &c.prog
	if pr.next == nil {
		return
	}
	if pid, codec := cutOf(pr.next); pr.inForce && pid == pr.cutPID && c.cur != nil && c.cur.chunk != nil {
		if pr.fresh {
			pr.codec = codec // the random access point that the new PMT waits for is of this codec
			pr.announce()
			pr.fresh, c.nextPos = false, c.pos
		}
		return
	}
	c.copyHeld()
	c.closeTail()
	c.au.active, c.au.begins = false, false
	c.prevRAP.known = false
	c.proof = proof{began: c.proof.began}
	if c.cur != nil && c.cur.chunk != nil {
		c.cur.chunk.cause = catalog.ReasonCut
		c.closePart(c.pos, 0, true)
	}
	if c.cur != nil {
		c.recycle(c.cur.buf)
		c.cur = nil
	}
	c.applyProgram()
	c.settle()
}

// applyProgram puts the PMT in force that was heard last.
func (c *cutter) applyProgram() {
	if !c.prog.apply() {
		return
	}
	if e, ok := c.before[c.prog.cutPID]; ok && e.dark == c.dark {
		c.proof.au, c.proof.dts = true, e.dts
	}
	c.before = nil
	for _, pid := range c.prog.awaited {
		if c.heard[pid].pos == 0 {
			c.heard[pid].at = c.base.now // it may be listed and never sent: that is to be seen
		}
	}
}

// pcrPatience is how long, by decoding times, a PCR is waited for.
const pcrPatience = 2 * clock.Hz

// clockless reports whether decoding times are the only clock there is: the PMT names no PCR_PID, or no PCR comes on it.
func (c *cutter) clockless(dts clock.PTS) bool {
	switch {
	case c.pcrHeard:
		return false
	case c.prog.pmt.PCRPID == ts.PIDNull || c.base.have:
		return true
	case !c.dtsHeard:
		c.dtsHeard, c.firstDTS = true, dts
	}
	if d := dts.Sub(c.firstDTS); d < pcrPatience && d > -pcrPatience {
		return false
	}
	c.cfg.Log.Warn("no PCR comes, decoding times stand in for it", "program", c.prog.number, "pcr_pid", c.prog.pmt.PCRPID)
	return true
}

// clock takes a PCR of the program, or what stands for one.
func (c *cutter) clock(pcr clock.PCR, flagged, gap, jump bool) {
	switch c.base.tick(pcr, flagged, gap, jump) {
	case stepFlag:
		c.proof.step = true
		c.stepPos = c.pos
	case stepSilent:
		c.stepPos = c.pos
		c.proof = proof{began: true, step: true}
		c.taint(taint{from: c.clockPos, to: c.pos, pid: c.prog.pmt.PCRPID, kind: taintClock})
	}
	for _, t := range c.told {
		if c.stepPos != c.pos { // else it is of the clock before
			c.totHeard = c.totHeard || t.kind == tableTOT
			c.base.run.add(t.kind, clock.Reference{UTC: t.utc, PCR: pcr})
		}
	}
	c.told = c.told[:0]
	c.clockPos = c.pos
}

// cutPacket looks at a packet of the PID that cuts: it may start an access unit, or say more about one.
func (c *cutter) cutPacket(p *ts.Packet) {
	au := &c.au
	payload := p.Payload()
	switch {
	case p.Scrambled():
		au.active, au.begins = false, false
	case p.UnitStart() && stamped(payload):
		au.torn, au.cut = false, false
		if au.active {
			c.decide(au.finder.End())
			au.torn, au.cut = au.finder.Torn(), au.finder.Zeros()
		}
		au.flagged = c.flagPos > au.pos
		au.active, au.begins, au.header = false, true, au.header[:0]
		au.pos, au.random, au.offset = c.pos, p.RandomAccess(), 0
		if c.cur != nil {
			au.offset = len(c.cur.buf)
		}
		c.beginUnit(payload)
	case au.begins:
		c.beginUnit(payload)
	case p.UnitStart(): // without a PTS it goes on with what has begun before
		if pes, err := ts.ParsePES(payload); err == nil {
			c.feedUnit(payload[pes.HeaderLen:])
		}
	default:
		c.feedUnit(payload)
	}
}

// stamped reports whether the PES packet that begins with b has a PTS, or may have one.
func stamped(b []byte) bool { return len(b) < 8 || b[7]>>6 != 0 } // PTS_DTS_flags, H.222.0 §2.4.3.6

// feedUnit takes more of the elementary stream of the pending access unit.
func (c *cutter) feedUnit(b []byte) {
	if !c.au.active {
		return
	}
	if v := c.au.finder.Feed(b); v != es.Undecided {
		c.decide(v)
	}
}

// maxPESHeader is the longest header of a PES packet, H.222.0 §2.4.3.6.
const maxPESHeader = 9 + 255

// beginUnit takes the payload of a packet in which the header of a PES packet stands or goes on.
func (c *cutter) beginUnit(payload []byte) {
	au := &c.au
	if len(au.header) > 0 {
		au.header = append(au.header, payload...)
		payload = au.header
	}
	if c.cur == nil { // so that the packets of the access unit are kept
		c.cur = &part{buf: c.buffer(), start: au.pos}
	}
	pes, err := ts.ParsePES(payload)
	if errors.Is(err, ts.ErrPESShort) && len(payload) < maxPESHeader {
		if len(au.header) == 0 {
			au.header = append(au.header, payload...)
		}
		return
	}
	au.begins = false
	if err != nil || !pes.HasPTS {
		return
	}
	au.pts, au.dts = clock.PTS(pes.PTS), clock.PTS(pes.PTS)
	if pes.HasDTS {
		au.dts = clock.PTS(pes.DTS)
	}
	if c.clockless(au.dts) {
		c.clock(au.dts.PCR(), false, false, false)
	}
	c.tailTime(au.dts)
	au.active = true
	au.finder.Begin(c.prog.codec, au.random)
	if !pes.DataAlignment {
		au.finder.Several()
	}
	if au.torn {
		au.finder.Rest()
	} else if au.cut {
		au.finder.Cut()
	}
	c.feedUnit(payload[pes.HeaderLen:])
}

// decide takes what the pending access unit is.
func (c *cutter) decide(v es.Verdict) {
	au := &c.au
	au.active = false
	if c.cur == nil {
		return
	}
	rap := v == es.RandomAccess
	ch := c.cur.chunk
	if stepped(au.dts.Sub(c.lastDTS)) {
		c.prevRAP.known = false
	}
	if ch != nil {
		ch.clock.flagged = au.flagged
	}
	starts := rap && (ch == nil || !c.prevRAP.known || !c.grid.Same(au.pts, c.prevRAP.pts))
	if c.prog.next != nil && ch != nil {
		c.window(au, starts && c.nextPos < au.pos)
	}
	if starts {
		c.startChunk(au)
	} else if ch == nil {
		// Before the first random access point nothing can be decoded.
		c.stats.Leading += int64(len(c.cur.buf) / ts.PacketSize)
		c.recycle(c.cur.buf)
		c.cur = nil
	} else if ch.slot(au.dts, c.partD) != ch.slot(c.lastDTS, c.partD) {
		c.split(au, ch, rap)
	} else {
		c.cur.insert(au.offset, au.dts)
	}
	c.lastDTS = au.dts
	if !c.proof.au {
		c.proof.au, c.proof.dts = true, au.dts
	}
	if rap {
		c.prevRAP.known, c.prevRAP.pts = true, au.pts
		c.proof.rap = true
	}
	c.settle()
}

// stepped reports whether the clock steps between two access units whose decoding times are so far apart.
func stepped(d clock.Ticks) bool { return d < -stepBack || d >= stepAhead }

// window leaves of the packets since an access unit began what its chunk has: while a PMT waits for the next chunk, that is not known before.
func (c *cutter) window(au *accessUnit, next bool) {
	if next {
		c.applyProgram()
	}
	b := c.cur.buf[au.offset:]
	left := b[:0]
	for ; len(b) > 0; b = b[ts.PacketSize:] {
		if p := (*ts.Packet)(b); c.prog.roles[p.PID()]&roleKeep != 0 {
			left = append(left, p[:]...)
		}
	}
	c.cur.buf = c.cur.buf[:au.offset+len(left)]
}

// proven reports whether a random access point starts a chunk at every receiver: the one before it was heard, or must lie in
// another bucket, because an access unit before it was decoded so early.
func (c *cutter) proven(au *accessUnit) bool {
	if c.proof.rap || c.proof.step || !c.proof.au {
		return c.proof.rap
	}
	d := au.dts.Sub(c.proof.dts)
	return d > clock.Ticks(int64(au.pts)%int64(c.grid)) && d < clock.Wrap/4
}

func (c *cutter) startChunk(au *accessUnit) {
	c.closeTail()
	c.chunks++
	ch := &chunk{seq: c.chunks, start: au.pts, startDTS: au.dts, begin: au.pos, beganAt: c.base.now, run: c.base.of(au.dts), identity: c.prog.identity(), renamed: c.prog.renamed}
	if !c.proven(au) {
		ch.doubt = catalog.ReasonUnsure
		if !c.proof.began {
			ch.doubt = catalog.ReasonFirst
		}
	}
	ch.layout = c.prog.layout(au.finder.Name())
	c.mergeable = false
	c.split(au, ch, true)
}

// split ends the current part before the access unit and goes on in a new one, of the same chunk or of another.
func (c *cutter) split(au *accessUnit, ch *chunk, rap bool) {
	old := c.cur
	moved := old.buf[au.offset:]
	old.buf = old.buf[:au.offset]
	leading := old.chunk == nil
	c.openPart(ch, au.pos)
	next := c.cur
	next.pts, next.dts, next.rap = au.pts, au.dts, rap
	next.step = ch == old.chunk && stepped(au.dts.Sub(c.lastDTS))
	ch.clock.head(au.dts)
	next.insert(len(next.buf), au.dts)
	starts := ch != old.chunk
	if !leading {
		c.cur = old
		if starts {
			c.closed = old.chunk.seq
			old.closeClock(au.dts)
		}
		c.closePart(au.pos, au.dts.Sub(old.dts), starts)
		c.cur = next
	}
	switch {
	case !starts:
		next.buf = append(next.buf, moved...)
	case leading:
		c.openTail(nil, au.dts, moved)
	default:
		c.openTail(old, au.dts, moved)
	}
	if leading {
		c.recycle(old.buf)
	}
}

// closeClock appends what is due between a chunk's last PCR and the next chunk's first. If the clock steps between them, a PCR of the new
// clock announces it here (H.222.0 §2.4.3.5): the next chunk must not depend on what was before it.
func (p *part) closeClock(dts clock.PTS) {
	m := &p.chunk.clock
	step := m.steps(dts)
	if !step && !m.sparse(dts) {
		return
	}
	p.buf = p.buf[:len(p.buf):len(p.buf)] // what was moved lies behind, and is still to be read
	p.fill(dts)
	if step {
		p.pcr(dts.Add(-pcrEvery), true)
	}
}

// openPart starts a part at a packet position, with room for PAT and PMT at its head.
func (c *cutter) openPart(ch *chunk, pos int64) {
	c.cur = &part{chunk: ch, id: ch.parts, start: pos, buf: ch.layout.room(c.buffer())}
	ch.parts++
	c.cutParts++
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
		c.decide(es.NotRandomAccess) // its end is missing
	}
	c.pos++
	c.closeTail()
	if c.cur != nil && c.cur.chunk != nil {
		if c.cur.chunk.cause == "" {
			c.cur.chunk.cause = catalog.ReasonCut
		}
		c.closePart(c.pos, 0, true)
	}
	c.ended, c.sure = true, c.pos
	c.settle()
	switch {
	case c.prog.err != nil:
		return c.prog.err
	case c.chunks > 0:
		return nil
	}
	return c.why()
}

// why says why there is no chunk.
func (c *cutter) why() *InputError {
	pr := &c.prog
	switch {
	case !pr.patKnown:
		return &InputError{Err: errors.New("no PAT: the stream names no program")}
	case !pr.inForce:
		if a := pr.assemblers[pr.pmtPID]; a != nil && a.CRCErrors() > 0 {
			return &InputError{Err: fmt.Errorf("no whole PMT of program %d on PID %d: %d sections do not verify", pr.number, pr.pmtPID, a.CRCErrors())}
		}
		return &InputError{Err: fmt.Errorf("no PMT of program %d on PID %d", pr.number, pr.pmtPID)}
	case pr.cutPID == ts.PIDNull:
		return &InputError{Err: fmt.Errorf("program %d has neither video nor audio", pr.number)}
	case c.scrambled > 0:
		return &InputError{Err: fmt.Errorf("program %d is scrambled: %d packets", pr.number, c.scrambled), Tip: scrambledTip}
	case c.heard[pr.cutPID].pos == 0:
		return &InputError{Err: fmt.Errorf("nothing comes on PID %d, where program %d has its %s", pr.cutPID, pr.number, pr.codec)}
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
