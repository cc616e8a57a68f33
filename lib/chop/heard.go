package chop

import (
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// table takes a packet of PAT, PMT or SI.
func (c *cutter) table(p *ts.Packet, pid ts.PID) error {
	pr := &c.prog
	role := pr.roles[pid]
	lost := false
	if role&(roleKeep|rolePCR) == 0 {
		ev := c.cont.Check(p)
		lost = ev == ts.Gap || ev == ts.Jump
	}
	if pid == ts.PIDTDT && lost && !c.alone() {
		c.tdtBefore, c.totLost, c.noTOT = false, true, c.base.now
	}
	switch {
	case role&roleTable == 0: // this PID may turn out to carry a stream
		c.heard[pid] = mark{c.pos, c.dark, c.base.now}
	case lost || c.dark-c.heard[pid].dark >= 16:
		c.heard[pid].dark = tableTorn
	}
	if c.base.now-c.siSince >= siAgain {
		c.siSince, pr.versions = c.base.now, psi.Versions{}
	}
	was, number := pr.pmtPID, pr.number
	pr.feed(p, pid)
	if pr.err != nil {
		return pr.err
	}
	if pr.gone != c.absent { // nobody knows what the program's clock and counters do while it is away
		c.absent = pr.gone
		c.stepPos, c.stepFrom, c.stepTo = c.pos, c.whole, 0
		if !c.absent {
			c.base.begin()
			c.doubtTold()
		}
	}
	if pr.patWhole {
		if pr.patChanged && (pr.pmtPID != was || pr.number != number) { // no counter shows whether the first PMT of that kind was lost
			m := mark{c.pos, tableMoved, c.base.now}
			if c.tableLost(ts.PIDPAT) {
				m.pos, m.dark = c.heard[was].pos, tableTorn
			}
			c.heard[pr.pmtPID] = m
		}
		c.tableSeen(ts.PIDPAT, pr.patChanged)
		c.own()
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

// siAgain is after how long the si track has all sections again, so that a reader need not go further back.
const siAgain = 10 * 60 * second

// said is a time that a table told and that is not tied to a PCR yet.
type said struct {
	kind  table
	utc   time.Time
	doubt bool // no PCR was heard before it, PCRs were lost before it, or packets since
}

// timeHeard takes the time of a table. The time is tied to the next PCR and not to the last one. If PCRs are lost, this only
// makes the time late, and late times do no harm because the greatest offset counts.
func (c *cutter) timeHeard(kind table, utc time.Time) {
	switch kind {
	case tableTDT:
		c.tdtTwice = c.tdtTwice || c.tdtBefore
		c.tdtBefore = true
	case tableTOT:
		c.tdtAlone, c.tdtTwice, c.tdtBefore, c.noTOT = false, false, false, c.base.now
	}
	if c.cfg.Clock != ClockFile && len(c.told) < heard {
		c.told = append(c.told, said{kind, utc, !c.base.have || c.untold})
	}
}

// These stand in the place of mark.dark.
const (
	tableTorn  = -1 // something was lost until the table is heard whole
	tableMoved = -2 // something may be lost: the PAT says that the table is another, or elsewhere
)

// tableLost reports whether packets of PAT or PMT may have been lost since it was heard whole.
func (c *cutter) tableLost(pid ts.PID) bool {
	m := &c.heard[pid]
	return m.dark < 0 || c.base.now-m.at > tableSilence
}

// tableSeen notes that PAT or PMT was heard whole. If it has changed and packets of it were lost, the place of the change is not
// known: a chunk that began in between may have begun with the other table. A lost repetition of a table that did not change is
// no damage.
func (c *cutter) tableSeen(pid ts.PID, changed bool) {
	m := &c.heard[pid]
	if changed && c.tableLost(pid) {
		t := taint{from: m.pos, to: c.pos, pid: pid, kind: taintPSI}
		if pid != ts.PIDPAT && m.dark != tableMoved && c.prog.recuts() {
			t.through, t.pid = true, c.prog.cutPID // as if access units were lost
			c.event(t)
		} else {
			c.taint(t)
		}
	}
	if pid != ts.PIDPAT {
		c.pmtPos = c.pos
	}
	c.repeats = c.repeats || pid != ts.PIDPAT && m.pos > 0 && c.base.now-m.at < dormant
	*m = mark{c.pos, c.dark, c.base.now}
}

// tableSilence is how long PAT and PMT may stay away without the suspicion that some were lost: TR 101 290 §5.2.1 allows 500 ms.
const tableSilence = second

// programHeard takes up a new PMT: with the next chunk, also if that may be the first one and its access unit is pending, or at
// once if there is neither a chunk nor an access unit, or if chunks are to be cut on another PID. Only then what was heard on the
// cut PID proves nothing any more.
func (c *cutter) programHeard() {
	pr := &c.prog
	if pr.next == nil {
		return
	}
	if pid, codec := cutOf(pr.next); pr.inForce && pid == pr.cutPID {
		switch {
		case c.cur == nil:
			c.applyProgram(c.pos)
			pr.left = nil // no chunk goes on
		case pr.fresh:
			pr.codec = codec // the random access point at which the new PMT takes effect is of this codec
			pr.announce()
			pr.fresh, c.nextPos = false, c.pos
		}
		return
	}
	c.copyHeld()
	c.closeTail()
	c.dropUnit()
	c.prevRAP.known = false
	c.lastPos = 0 // decoding times of another PID do not go on from those before
	c.proof, c.reorder = proof{began: c.proof.began}, reordering{}
	if c.cur != nil && c.cur.chunk != nil {
		c.cur.chunk.cause = catalog.ReasonCut
		c.closed = c.cur.chunk.seq
		c.closePart(c.pos, 0, true)
	}
	if c.cur != nil {
		c.free.put(c.cur)
		c.cur = nil
	}
	c.applyProgram(c.pos)
	pr.left = nil
	c.settle()
}

// applyProgram puts the last PMT that was heard in force, from a position on.
func (c *cutter) applyProgram(from int64) {
	if !c.prog.apply() {
		return
	}
	c.listed = from
	if c.prog.pmt.PCRPID == ts.PIDNull && c.pcrHeard {
		c.pcrHeard, c.clockGap = false, true // the last PCR may be long ago
		c.doubtTold()
	}
	for _, pid := range c.prog.awaited {
		if c.heard[pid].pos == 0 {
			c.heard[pid].at = c.base.now // the PMT may list a PID that is never sent; its silence is measured from now
		}
	}
}

// pcrPatience is how long, by decoding times, a PCR is waited for.
const pcrPatience = 2 * clock.Hz

// clockless reports whether decoding times are the only clock of the program: the PMT names no PCR_PID, or no PCR comes on it.
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

// unclocked lets time pass by decoding times while no PCR comes any more, so that nobody waits for ever for a PID that is silent.
func (c *cutter) unclocked(dts clock.PTS) {
	if c.lastPos < c.clockPos {
		c.sincePCR = 0
		return
	}
	if d := dts.Sub(c.lastDTS); d > 0 && !stepped(d) {
		if c.sincePCR += d; c.sincePCR > pcrPatience {
			c.base.now += d.Ticks27()
		}
	}
}

// doubt notes that packets were lost. Since the last PCR the clock may have stepped, so chunks that began since then may have
// other names.
func (c *cutter) doubt() {
	c.doubtTold()
	c.doubtNames()
}

// doubtTold notes that packets were lost: times that are not tied to a PCR yet may be of the clock before a step among them.
func (c *cutter) doubtTold() {
	for i := range c.told {
		c.told[i].doubt = true
	}
}

// doubtNames notes the loss at the first PCR behind it: the relation to UTC that was known before may no longer hold.
func (c *cutter) doubtNames() {
	if c.base.doubt() {
		c.taint(taint{from: c.clockPos, to: c.pos, pid: c.prog.pmt.PCRPID, kind: taintClock})
	}
}

// clock takes a PCR of the program, or a decoding time that stands for one.
func (c *cutter) clock(pcr clock.PCR, flagged, gap, jump bool) {
	switch {
	case c.base.leaps(pcr, flagged) && c.pcrHeard:
		c.doubt()
	case gap:
		c.doubtNames() // times that were heard since the loss showed are of the clock behind the loss, so they are not doubted
	}
	before, announced := c.base.run, flagged && c.base.have && !c.base.flag
	c.habit = flagged && c.base.flag
	switch c.base.tick(pcr, flagged, gap, jump, c.kinds(c.prog.identity())) {
	case stepNone:
		if announced { // a step that is no longer than the distance of PCRs, or hides among lost ones: counters may jump with it
			c.stepPos, c.stepFrom, c.stepTo = c.pos, c.whole, 0
			c.doubtTold()
		}
	case stepFlag:
		c.proof.step = true
		c.stepPos, c.stepFrom, c.stepTo, c.jumpPos = c.pos, c.whole, 0, c.pos
	case stepSilent:
		c.stepPos, c.stepFrom, c.stepTo, c.jumpPos = c.pos, c.whole, 0, c.pos
		c.proof = proof{began: true, step: true}
		c.taint(taint{from: c.clockPos, to: c.pos, pid: c.prog.pmt.PCRPID, kind: taintClock})
	}
	standsIn := !c.pcrHeard && c.prog.pmt.PCRPID != ts.PIDNull // who hears PCRs has another relation to UTC
	for _, t := range c.told {
		if c.base.run == before || before == nil { // otherwise the time is of the clock before the step
			c.totHeard = c.totHeard || t.kind == tableTOT
			if ref := (clock.Reference{UTC: t.utc, PCR: pcr}); !t.doubt && !standsIn || steady(ref) {
				c.base.run.add(t.kind, ref)
			}
		}
	}
	c.told, c.untold = c.told[:0], false
	c.clockPos, c.clockDark = c.pos, c.dark
}
