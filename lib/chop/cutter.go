package chop

import (
	"slices"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// mark is the state when a packet of a PID, or a table, was heard last.
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
	pos   int64 // position of the packet being looked at
	sure  int64 // position of the last packet that is known not to be torn
	dark  int64 // unreadable packets so far: transport_error_indicator, lost sync
	stats Stats

	heard     [ts.NumPIDs]mark
	began     [ts.NumPIDs]int64 // position of the last PES packet that began on a kept PID
	pmtPos    int64             // position at which the PMT was heard last
	listed    int64             // position at which the PMT in force took effect: no earlier PMT counts for chunks from there on
	repeats   bool              // the PMT is sent again and again
	totHeard  bool
	tdtAlone  bool          // there is no TOT
	tdtTwice  bool          // two TDT came in succession since the last TOT
	tdtBefore bool          // the last table on that PID was a TDT, and none was lost since
	totLost   bool          // a TOT may have been lost
	siSince   clock.Ticks27 // since when sections are told apart from repetitions
	noTOT     clock.Ticks27 // since when no TOT came, and none may have been lost
	told      []said        // times that wait for the next PCR
	nextPos   int64         // position at which the PMT was heard that is not in force yet
	clockPos  int64         // position of the last PCR
	clockGap  bool          // packets of the PCR PID were lost since
	clockDark int64         // unreadable packets until then
	absent    bool          // the PAT does not list the program
	untold    bool          // decoding times have stepped since, and no PCR has told it
	flagPos   int64         // position of the last PCR with discontinuity_indicator in a packet with payload
	habit     bool          // the last two PCRs had discontinuity_indicator, so the indicator says nothing about a loss
	stepPos   int64         // position of the last step of the clock
	jumpPos   int64         // position of the last step that was long enough to show in a PCR
	stepFrom  int64         // the value of whole at that step
	stepTo    int64         // position at which the first chunk behind that step begins; 0: none has begun
	whole     int64         // position from which on no packet belonged to the chunk before the newest one
	scrambled int64         // scrambled packets, for the message when no chunk comes out
	pcrHeard  bool
	dtsHeard  bool
	firstDTS  clock.PTS   // while no PCR was heard
	sincePCR  clock.Ticks // how far decoding times have come since the last PCR

	run    []byte // the packets being looked at
	stride int    // bytes from one of them to the next
	at     int    // offset in run of the packet being looked at
	held   int    // offset in run of the first packet of the cut PID that is kept but not copied yet; −1: none

	health *health // nil: nobody measures

	au      accessUnit
	cur     *part // the part being filled; its chunk is nil before the first random access point
	tail    tail  // of the chunk before
	prevRAP struct {
		known bool
		pts   clock.PTS
	}
	reorder reordering
	proof   proof     // what proves where the next chunk starts
	lastDTS clock.PTS // decoding time of the access unit before, inside a chunk
	lastPos int64     // position at which that began

	events    []taint // newest last
	mergeable bool    // the newest may be joined with the next one
	queue     []*part // parts that are cut and not settled yet
	closed    int64   // the newest chunk that has ended
	chunks    int64   // begun
	cutParts  int64   // likewise
	promoted  []sent  // chunks that were promoted, for damage that is told afterwards
	ended     bool    // no more input
	out       func(delivery)
	free      *pool
}

// packets takes a run of packets of the input. Kept packets of the cut PID that lie together are copied at once.
func (c *cutter) packets(run []byte, stride int) error {
	c.run, c.held, c.stride = run, -1, stride
	if c.health != nil {
		c.health.fed = 0
		defer func() { c.health.feed(run, len(run), stride) }()
	}
	defer c.cont.Keep()
	if c.sure < c.pos {
		c.sure = c.pos
		c.settle()
	}
	for c.at = 0; len(run)-c.at >= ts.PacketSize; c.at += stride {
		if n := c.plain(stride); n > 0 {
			c.at += n - stride
			continue
		}
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
		case p.PID() != c.prog.cutPID:
			c.copyHeld()
			c.cur.others = appendBare(c.cur.others, p)
			c.bound()
		case p.HasAdaptation() && p.HasPCR():
			c.copyHeld()
			c.cur.buf = appendBare(c.cur.buf, p)
			c.bound()
		case c.held < 0:
			c.held = c.at
		}
		if c.held >= 0 && (stride != ts.PacketSize || c.cur.size()+c.at+ts.PacketSize-c.held >= maxPart) {
			c.at += ts.PacketSize
			c.copyHeld()
			c.at -= ts.PacketSize
		}
	}
	c.at = min(c.at, len(run))
	c.copyHeld()
	return nil
}

// plain takes packets, from the one being looked at on, that only continue the access unit of the cut PID, which are most of a
// stream. It returns how many bytes they are. It does for all of them at once what packet and packets would do for each.
func (c *cutter) plain(stride int) int {
	pid := c.prog.cutPID
	if stride != ts.PacketSize || c.cur == nil || c.au.wants() || c.prog.roles[pid]&(roleKeep|roleCut|roleTable|roleSI) != roleKeep|roleCut {
		return 0
	}
	m := &c.heard[pid]
	if m.pos == 0 || c.dark-m.dark >= 16 {
		return 0
	}
	held := 0
	if c.held >= 0 {
		held = c.at - c.held
	}
	run := c.run[c.at:]
	run = run[:max(0, min(len(run), maxPart-c.cur.size()-held-ts.PacketSize))]
	n := c.cont.Follow(pid, run)
	if n == 0 {
		return 0
	}
	if c.held < 0 {
		c.held = c.at
	}
	count := int64(n / ts.PacketSize)
	c.stats.Packets += count
	c.pos += count
	*m = mark{c.pos, c.dark, c.base.now}
	c.sure = max(c.sure, c.pos-1)
	if len(c.run)-c.at > n {
		c.sure = c.pos // another packet follows where it is due
	}
	return n
}

// copyHeld appends the held packets before the one being looked at to the current part.
func (c *cutter) copyHeld() {
	if c.held < 0 {
		return
	}
	held := c.run[c.held:c.at]
	c.held = -1
	c.cur.buf = append(c.cur.buf, held...)
	c.bound()
}

// bound cuts the current part if it has grown too big.
func (c *cutter) bound() {
	if c.cur.size() >= maxPart {
		c.overflow()
	}
}

// appendBare appends a packet without its PCR, because the PCR may differ between the copies of a duplicate
// (docs/format/chunk.md, "Canonical TS").
func appendBare(b []byte, p *ts.Packet) []byte {
	b = append(b, p[:]...)
	if p.HasAdaptation() && p.HasPCR() {
		(*ts.Packet)(b[len(b)-ts.PacketSize:]).TakePCR()
	}
	return b
}

// packet looks at the next packet and reports whether to keep it.
func (c *cutter) packet(p *ts.Packet) (keep bool, err error) {
	c.pos++
	if p.TransportError() {
		c.dark++ // the counter of its PID will tell whether a kept packet is lost
		c.doubtTold()
		return false, nil
	}
	pid := p.PID()
	role := c.prog.roles[pid]
	if role&(roleKeep|rolePCR) == 0 {
		if role&(roleTable|roleSI) == 0 {
			if c.tastes(role) {
				return c.foretaste(p, pid, c.cont.Check(p)), nil
			}
			c.unlisted(p, pid)
			return false, nil
		}
		return false, c.table(p, pid)
	}
	m := &c.heard[pid]
	before := *m
	ev := c.cont.Check(p)
	if role&rolePCR != 0 {
		if ev == ts.Gap {
			c.clockGap = true
			c.doubtTold()
		}
		if pcr, ok := p.PCR(); ok {
			if !c.pcrHeard {
				c.pcrHeard, c.base.have = true, false
			}
			c.clock(clock.PCR(pcr), p.Discontinuity(), c.clockGap || c.dark > c.clockDark, ev == ts.Jump)
			c.clockGap = false
		}
	}
	if role&(roleTable|roleSI) != 0 { // a PID with tables and other packets
		if err := c.table(p, pid); err != nil {
			return false, err
		}
	}
	if role&roleKeep == 0 {
		switch {
		case c.tastes(role):
			return c.foretaste(p, pid, ev), nil
		case p.HasPayload() && role&(roleTable|roleSI) == 0: // a later PMT may list the PID
			c.parted(p, pid, ev)
			*m = mark{c.pos, c.dark, c.base.now}
		}
		return false, nil
	}
	if !p.HasPayload() {
		// A packet without payload carries nothing, and no counter shows its loss. If it alone announces a jump of the counter,
		// players must get it: it goes out with the chunk that the jump damages and with no other, because a receiver that lost
		// packets before does not know of the jump.
		if ev == ts.Gap {
			c.lost(p, pid, before.pos, false)
		}
		if ev != ts.Jump {
			return false, nil
		}
		return c.announces(p, pid, c.lost(p, pid, before.pos, true)), nil
	}
	*m = mark{c.pos, c.dark, c.base.now}
	c.missing(p, pid, before, ev)
	if ev == ts.Duplicate {
		return false, nil
	}
	if p.UnitStart() {
		c.began[pid] = c.pos
	}
	if role&rolePCR != 0 && p.Discontinuity() && p.HasPCR() {
		c.flagPos = c.pos
	}
	if p.Scrambled() || p.UnitStart() && scrambledPES(p.Payload()) {
		if c.scrambled++; c.scrambled == 1 {
			c.cfg.Log.Warn("scrambled packets: chunks that have some go out under the source's name, not the broadcast's", "program", c.prog.number, "pid", pid)
		}
		c.event(taint{from: c.pos, to: c.pos, pid: pid, kind: taintScrambled})
	}
	if role&roleCut != 0 && (c.au.wants() || p.UnitStart()) {
		c.copyHeld()
		c.cutPacket(p)
	}
	if role&roleTail != 0 && c.prog.roles[pid]&roleTail != 0 {
		c.copyHeld()
		taken := c.toTail(p)
		if c.tail.open == 0 {
			c.settle() // this packet may have been what the chunk before waited for
		}
		return !taken, nil
	}
	return c.prog.roles[pid]&roleKeep != 0, nil
}

// announces takes a packet without payload that announces a jump of the counter; packets before position to may be missing. It
// reports whether to keep the packet, behind all others.
func (c *cutter) announces(p *ts.Packet, pid ts.PID, to int64) (keep bool) {
	switch {
	case c.prog.roles[pid]&roleTail != 0:
		if last := c.tail.part; last != nil && last.chunk.begin < to {
			c.toTail(p)
		}
		return false
	case c.cur == nil || c.cur.chunk == nil || c.cur.chunk.begin >= to:
		return false
	case pid == c.prog.cutPID || !c.au.active && !c.au.begins || c.au.pos < to:
		return true
	}
	// The pending access unit may begin the next chunk, which is not damaged.
	c.cur.others = slices.Insert(c.cur.others, c.au.others, appendBare(nil, p)...)
	c.au.others += ts.PacketSize
	c.bound()
	return false
}

// tastes reports whether a packet of a PID with a role may belong to the next chunk, of which the first access unit may be pending.
func (c *cutter) tastes(role uint16) bool {
	return role&roleNext != 0 && (c.au.active || c.au.begins)
}

// foretaste takes a packet of a PID that belongs to the next chunk and not to this one. The pending access unit may turn out to
// be the next chunk's first.
func (c *cutter) foretaste(p *ts.Packet, pid ts.PID, ev ts.Event) (keep bool) {
	m := &c.heard[pid]
	before := *m
	if !p.HasPayload() {
		return false
	}
	*m = mark{c.pos, c.dark, c.base.now}
	c.missing(p, pid, before, ev)
	if p.UnitStart() && ev != ts.Duplicate {
		c.began[pid] = c.pos
	}
	return ev != ts.Duplicate
}

// unlisted takes a packet of a PID that no PMT heard so far lists. A later PMT may list the PID, and then a loss must show.
// Before the first PAT the packet may also be a PMT.
func (c *cutter) unlisted(p *ts.Packet, pid ts.PID) {
	if pid == ts.PIDNull {
		return
	}
	ev := c.cont.Check(p)
	if !p.HasPayload() {
		return
	}
	c.parted(p, pid, ev)
	c.heard[pid] = mark{c.pos, c.dark, c.base.now}
	if !c.prog.patKnown {
		c.prog.foreshadow(p, pid)
	}
}

// parted looks, at the first packet with payload of a PID that the PMT in force does not list but an earlier one did, whether chunks of that
// time lack packets. Later packets tell nothing of those chunks: the PID may belong to another program by then.
func (c *cutter) parted(p *ts.Packet, pid ts.PID, ev ts.Event) {
	before, role := c.heard[pid], &c.prog.roles[pid]
	if *role&roleWas == 0 {
		return
	}
	*role &^= roleWas
	t := taint{from: min(before.pos, c.listed-1), to: c.listed - 1, pid: pid, kind: taintContinuity}
	switch {
	case before.pos == 0:
		return
	case ev == ts.Jump && *role&roleNext != 0: // the clock may have stepped
		c.missing(p, pid, before, ev)
		return
	case ev == ts.Gap: // a jump may also begin another program's stream
		c.doubt()
	case c.dark-before.dark >= 16:
		t.kind = taintTEI
	default:
		return
	}
	c.event(t)
}

// missing looks whether packets are missing before a packet with payload, and before it the PID was heard last.
func (c *cutter) missing(p *ts.Packet, pid ts.PID, before mark, ev ts.Event) {
	switch {
	case before.pos == 0:
	case ev == ts.Gap || ev == ts.Jump:
		c.lost(p, pid, before.pos, ev == ts.Jump)
	case c.dark-before.dark >= 16:
		c.event(taint{from: before.pos, to: c.pos, pid: pid, kind: taintTEI}) // so many lost packets can hide from a counter of four bits
	}
}

// lost notes that packets of a kept PID are missing, or seem to be. Where the program's clock steps, counters may jump too, at an
// access point (H.222.0 §2.4.3.5). Then the missing packets, if there are any, are from before the step, or the last packets of
// the old clock, which may come behind the PCR that steps. Chunks that had ended before the step are not held up by them. lost
// returns the position up to which packets may be missing.
func (c *cutter) lost(p *ts.Packet, pid ts.PID, from int64, announced bool) (to int64) {
	t := taint{from: from, to: c.pos, pid: pid, kind: taintContinuity}
	anew := announced && (p.UnitStart() || !p.HasPayload()) && c.stepPos > c.began[pid] // a PES packet of the old clock may go on behind the step
	if anew {
		switch {
		case from < c.stepPos:
			t.to = c.stepPos
		case c.stepTo > 0:
			t.to = c.stepTo - 1
			t.from = min(from, t.to)
		case (c.au.active || c.au.begins) && c.au.pos >= c.stepPos: // it may begin the first chunk behind the step
			t.to = c.au.pos - 1
			t.from = min(from, t.to)
		}
		if from < c.stepFrom {
			c.event(taint{from: from, to: c.stepFrom, pid: pid, kind: taintContinuity, late: true})
			t.from = c.stepFrom
		}
	}
	if !anew {
		c.doubt()
	}
	c.event(t)
	if pid == c.prog.cutPID && anew && !c.habit {
		c.proof.anew = true
	}
	if announced && c.habit && !anew && p.UnitStart() { // no PCR tells whether counters start anew here
		c.stepPos, c.stepFrom, c.stepTo = c.pos, c.whole, 0
	}
	return t.to
}

// scrambledPES reports whether a PES packet's payload is scrambled: PES_scrambling_control, H.222.0 §2.4.3.7.
func scrambledPES(b []byte) bool {
	return len(b) > 6 && b[0] == 0 && b[1] == 0 && b[2] == 1 && b[6]&0xc0 == 0x80 && b[6]&0x30 != 0
}

// event notes an event on one PID.
func (c *cutter) event(t taint) {
	if t.pid == c.prog.cutPID || t.kind == taintSync {
		c.proof = proof{began: true}
		c.dropUnit()
	}
	c.taint(t)
	c.tellLate(t)
}

// unreadable notes bytes that are no packets.
func (c *cutter) unreadable(bytes int64) {
	c.dark += (bytes + ts.PacketSize - 1) / ts.PacketSize
	c.doubt()
	c.event(taint{from: c.pos - 1, to: c.pos + 1, pid: ts.PIDNull, kind: taintSync}) // the packet before these bytes may be torn, too
}

// overflow cuts a part that has grown beyond what an object may hold, which happens in a stream without access units.
func (c *cutter) overflow() {
	c.closeTail()
	ch := c.cur.chunk
	c.au.active, c.au.begins = false, false
	if ch == nil {
		c.dropLeading()
		return
	}
	ch.cause = catalog.ReasonOversize
	pts, dts := c.cur.pts, c.cur.dts
	c.closePart(c.pos, 0, false)
	c.openPart(ch, c.pos)
	c.cur.pts, c.cur.dts = pts, dts
	c.settle()
}

// split ends the current part before the pending access unit, and goes on in a new part of the same chunk or of another.
func (c *cutter) split(au *accessUnit, ch *chunk, rap bool) {
	old := c.cur
	moved, others := old.buf[au.offset:], old.others[au.others:]
	old.buf, old.others = old.buf[:au.offset], old.others[:au.others]
	leading := old.chunk == nil
	c.openPart(ch, au.pos)
	next := c.cur
	next.pts, next.dts, next.rap = au.pts, au.dts, rap
	next.step = ch == old.chunk && stepped(au.dts.Sub(c.lastDTS))
	ch.clock.head(au.dts)
	next.insert(len(next.buf), au.dts)
	next.head = len(next.buf)
	next.buf = append(next.buf, moved...)
	starts := ch != old.chunk
	if !leading {
		c.cur = old
		if starts {
			c.closed = old.chunk.seq
			old.closeClock(au.dts)
		}
		// Damage up to the place where the access unit was recognized counts for this part, because only there it was decided
		// that the part ends here.
		c.closePart(c.pos, au.dts.Sub(old.dts), starts)
		if starts {
			c.whole = c.pos
		}
		c.cur = next
	}
	switch {
	case !starts:
		next.others = append(next.others, others...)
	case leading:
		c.openTail(nil, au.dts, others)
		c.free.put(old)
	default:
		c.openTail(old, au.dts, others)
	}
}

// closeClock appends the PCRs, and PAT and PMT, that are due between a chunk's last PCR and the next chunk's first. If the clock
// steps between the two, a PCR of the new clock announces the step here (H.222.0 §2.4.3.5), because the next chunk must not
// depend on anything before it.
func (p *part) closeClock(dts clock.PTS) {
	m := &p.chunk.clock
	step := m.steps(dts)
	if !step && !m.sparse(dts) {
		return
	}
	p.fill(dts)
	if step {
		p.pcr(dts.Add(-pcrEvery), true)
	}
}

// openPart starts a part at a packet position, with room for PAT and PMT at its head.
func (c *cutter) openPart(ch *chunk, pos int64) {
	p := c.free.part(pos)
	p.chunk, p.id = ch, ch.parts
	p.buf = ch.layout.room(p.buf)
	p.head = len(p.buf)
	c.cur = p
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
	if last && c.health != nil { // here and not when the chunk is settled, which also depends on how bytes arrive
		c.health.feed(c.run, min(c.at+c.stride, len(c.run)), c.stride)
		p.health = c.health.due()
	}
	p.chunk.bytes += int64(p.size())
	if p.chunk.bytes > maxChunk && p.chunk.cause == "" {
		p.chunk.cause = catalog.ReasonOversize
	}
	c.queue = append(c.queue, p)
}
