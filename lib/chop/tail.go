package chop

import (
	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// tailSpan is how far into a chunk, by decoding time, the tail of the chunk before is looked for: longer than any audio PES
// packet takes to arrive.
const tailSpan = clock.Hz / 2

// tail is the rest of the audio PES packets that began before a chunk's start and end behind it. It is added to the chunk before,
// so that every chunk has whole audio frames and can be decoded alone, to its end. What belongs to the tail depends only on what
// comes after the start, and on nothing before it.
type tail struct {
	part *part     // last of the chunk before; nil if there is none
	dts  clock.PTS // decoding time at which the chunk started
	open int       // how many audio PIDs have had no start of a PES packet since
	left []ts.PID  // audio of the chunk before alone: no later PMT decides what it ends with, as a receiver may lose that PMT
}

// of reports whether p may still grow by its tail.
func (t *tail) of(p *part) bool { return t.open > 0 && t.part == p }

// openTail begins to look for the tail of the chunk that p ended, with the packets of other PIDs that came since the start.
func (c *cutter) openTail(p *part, dts clock.PTS, since []byte) {
	c.tail = tail{part: p, dts: dts}
	roles := &c.prog.roles
	c.tail.left, c.prog.left = c.prog.left, nil
	for _, list := range [][]ts.PID{c.prog.tailed, c.tail.left} {
		for _, pid := range list {
			if c.heard[pid].at > c.base.now-dormant { // otherwise no PES packet is under way
				roles[pid] |= roleTail
				c.tail.open++
			}
		}
	}
	for _, pid := range c.tail.left {
		if roles[pid] |= roleKeep | roleLeft; roles[pid]&roleTail == 0 {
			roles[pid] &^= roleKeep | roleLeft
		}
	}
	if c.tail.open == 0 {
		c.tail = tail{}
	}
	cur := c.cur // toTail may end the search and change c.cur
	for ; len(since) > 0; since = since[ts.PacketSize:] {
		// The tail is written over packets of since that were looked at already.
		if p := (*ts.Packet)(since); roles[p.PID()]&roleKeep != 0 && (roles[p.PID()]&roleTail == 0 || !c.toTail(p)) {
			cur.others = append(cur.others, p[:]...)
		}
	}
}

// toTail takes a packet of a PID on which a tail is looked for, and reports whether the packet belongs to the tail.
func (c *cutter) toTail(p *ts.Packet) bool {
	if p.UnitStart() {
		role := &c.prog.roles[p.PID()]
		left := *role&roleLeft != 0
		if *role &^= roleTail; left {
			*role &^= roleKeep | roleLeft
		}
		if c.tail.open--; c.tail.open == 0 {
			c.closeTail()
		}
		return left
	}
	last := c.tail.part
	if last == nil || !last.chunk.layout.has(p.PID()) {
		c.stats.Leading++
		return true
	}
	last.others = appendBare(last.others, p)
	last.chunk.bytes += ts.PacketSize
	if last.size() >= maxPart {
		last.chunk.cause = catalog.ReasonOversize
		c.closeTail()
	}
	return true
}

// tailTime takes the decoding time of an access unit, which may be late enough to end the search.
func (c *cutter) tailTime(dts clock.PTS) {
	if d := dts.Sub(c.tail.dts); d >= tailSpan || d <= -tailSpan {
		c.closeTail()
	}
}

// closeTail ends the search. Any event in the stream up to now may have changed the tail.
func (c *cutter) closeTail() {
	if c.tail.part != nil {
		c.tail.part.end = max(c.tail.part.end, c.pos)
		c.whole = c.pos
	}
	if c.tail.open > 0 {
		for _, pid := range c.prog.tailed {
			c.prog.roles[pid] &^= roleTail
		}
		for _, pid := range c.tail.left {
			if c.prog.roles[pid]&roleLeft != 0 {
				c.prog.roles[pid] &^= roleTail | roleKeep | roleLeft
			}
		}
	}
	c.tail = tail{}
}
