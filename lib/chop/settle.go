package chop

import (
	"slices"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// taintKind is what happened to the stream.
type taintKind uint8

const (
	taintTEI        taintKind = iota // so many packets were unreadable that a loss may not show
	taintContinuity                  // packets are missing
	taintScrambled                   // transport_scrambling_control, PES_scrambling_control
	taintSync                        // bytes that are no packets
	taintPSI                         // PAT or PMT changed, it is not known where
	taintClock                       // the clock jumped unannounced
	taintKinds
)

// taint says that between two packet positions the stream is not what the broadcaster sent. A loss lies between the last good packet of
// its PID and the packet that revealed it, so it may reach back over a chunk's end.
type taint struct {
	from, to int64
	pid      ts.PID
	kind     taintKind
	late     bool // it holds up no chunk, and is told of those that are promoted
	n        int64
}

// hits reports whether t lies, in part, between two positions; a table that changed hits those that begin within.
func (t *taint) hits(begin, end int64) bool {
	if t.kind == taintPSI {
		return t.from < begin && begin <= t.to
	}
	return t.from < end && (t.to > begin || t.from == begin)
}

// damage counts taints by kind.
type damage [taintKinds]int64

func (d *damage) any() bool { return *d != damage{} }

// dormant is how long a PID must have been silent for nobody to wait for it: it is listed, but not sent.
const dormant = 10 * second

// longSilence is how long an audio or video PID that is not dormant is waited for at least.
const longSilence = 2 * second

// timePatience is how long, from the start on, chunks wait for a first time or identity.
const timePatience = 10 * second

// taint notes an event. Neighbours of one kind are kept as one, unless a chunk may start between them.
func (c *cutter) taint(t taint) {
	t.n = 1
	if n := len(c.events); n > 0 && c.mergeable {
		if e := &c.events[n-1]; e.kind == t.kind && e.late == t.late && t.kind != taintPSI && t.from <= e.to+64 {
			e.from, e.to, e.n = min(e.from, t.from), max(e.to, t.to), e.n+1
			return
		}
	}
	c.mergeable = true
	c.events = append(c.events, t)
}

// tainted reports whether anything happened to what lies between two positions.
func (c *cutter) tainted(begin, end int64) bool {
	for i := len(c.events) - 1; i >= 0; i-- {
		if e := &c.events[i]; !e.late && e.hits(begin, end) {
			return true
		}
	}
	return false
}

// count sums up what happened between two positions, or what is to be told late.
func (c *cutter) count(begin, end int64, late bool) (d damage) {
	for i := range c.events {
		if e := &c.events[i]; e.late == late && e.hits(begin, end) {
			d[e.kind] += e.n
		}
	}
	return d
}

// forget drops events that can touch no chunk that is still open.
func (c *cutter) forget() {
	oldest := c.pos
	if c.cur != nil && c.cur.chunk != nil {
		oldest = min(oldest, c.cur.chunk.begin)
	}
	for _, p := range c.queue {
		oldest = min(oldest, p.chunk.begin)
	}
	if c.au.active {
		oldest = min(oldest, c.au.pos)
	}
	c.events = slices.DeleteFunc(c.events, func(e taint) bool { return e.to < oldest })
}

// certain reports whether everything of a chunk up to end has been heard: a PCR since it began, PAT and PMT, if they come within 10 s, each audio and video
// PID since end, so that a loss before would have shown. In the end the next chunk tells: who is silent for so long shows nothing.
func (c *cutter) certain(ch *chunk, end int64, at clock.Ticks27) bool {
	if c.sure < end {
		return false
	}
	followed := c.closed > ch.seq
	if c.clockPos < ch.begin && !followed {
		return false
	}
	if !c.tablesSince(ch) && c.base.now-ch.beganAt < dormant && (c.repeats || !c.ended || !followed) {
		return false
	}
	if followed && (c.ended || c.base.now-at >= longSilence) {
		return true
	}
	for _, pid := range c.prog.awaited {
		if m := &c.heard[pid]; (m.pos < end || m.pos > c.sure) && m.at > at-dormant {
			return false
		}
	}
	return true
}

// tablesSince reports whether PAT and PMT were heard since a chunk began.
func (c *cutter) tablesSince(ch *chunk) bool {
	return c.heard[ts.PIDPAT].pos > ch.begin && c.heard[c.prog.pmtPID].pos > ch.begin
}

// against is why a chunk cannot be promoted, whatever is still to come; "" if it may.
func (c *cutter) against(ch *chunk) string {
	switch {
	case ch.cause != "":
		return ch.cause
	case c.base.now < timePatience:
	case !c.synced(ch) && !c.doubtful(ch):
		return catalog.ReasonUnsynced
	case !c.identified(ch).Known():
		return catalog.ReasonUnidentified
	}
	return ""
}

// settle hands on the parts whose scope is certain, in the order of the stream.
func (c *cutter) settle() {
	for len(c.queue) > 0 {
		p := c.queue[0]
		ch := p.chunk
		if c.tail.of(p) && !c.ended {
			return
		}
		last := c.lastOf(ch)
		if ch.broken == "" {
			ch.broken = c.against(ch)
		}
		if ch.broken == "" {
			end, at := p.end, p.endClock
			if c.cfg.Promote == PromoteChunk {
				if last == nil || c.tail.of(last) && !c.ended {
					if ch.doubt == "" && !c.tainted(ch.begin, c.pos) {
						return
					}
					end, at = c.pos, c.base.now
				} else {
					end, at = last.end, last.endClock
				}
			}
			switch {
			case c.tainted(ch.begin, end):
				ch.broken = catalog.ReasonDamaged
			case ch.doubt != "":
				ch.broken = ch.doubt
			case c.repeats && c.base.now-ch.beganAt >= dormant && !c.tablesSince(ch): // lost, and a change may be among them
				ch.broken = catalog.ReasonUnconfirmed
			case c.certain(ch, end, at):
				if !ch.named && c.doubtful(ch) {
					return
				}
			case c.ended:
				ch.broken = catalog.ReasonUnconfirmed
			default:
				return
			}
		}
		d := delivery{part: p}
		if p.last {
			// The manifest wants all of the damage.
			if !c.certain(ch, p.end, p.endClock) && !c.ended {
				return
			}
			d.damage = c.count(ch.begin, p.end, false)
			if d.damage.any() && (ch.broken == "" || ch.broken == ch.doubt) {
				ch.broken = catalog.ReasonDamaged
			}
			d.claim = ch.broken != "" && ch.broken == ch.doubt && c.certain(ch, p.end, p.endClock)
		}
		c.name(ch)
		c.queue = slices.Delete(c.queue, 0, 1)
		d.chunk = chunkInfo{seq: ch.seq, start: ch.start, naming: ch.name, layout: ch.layout}
		d.promote = ch.broken == ""
		if p.last {
			d.broken = ch.broken
			d.si, c.prog.si = c.prog.si, nil
			if d.promote {
				c.remember(ch, p.end)
			}
		}
		c.out(d)
		if len(c.events) > 0 {
			if d.promote && p.last {
				if doubt := c.count(ch.begin, p.end, true); doubt.any() {
					c.out(delivery{late: true, chunk: chunkInfo{seq: ch.seq}, damage: doubt})
				}
			}
			c.forget()
		}
	}
}

// lastOf is the queued part that ends ch, nil while the chunk goes on.
func (c *cutter) lastOf(ch *chunk) *part {
	for _, p := range c.queue {
		if p.chunk == ch && p.last {
			return p
		}
	}
	return nil
}

// sent is a chunk that went out under the broadcast's name.
type sent struct {
	seq        int64
	begin, end int64
}

// maxSent bounds what may still be told late.
const maxSent = 1024

func (c *cutter) remember(ch *chunk, end int64) {
	if len(c.promoted) == maxSent {
		c.promoted = slices.Delete(c.promoted, 0, maxSent/4)
	}
	c.promoted = append(c.promoted, sent{ch.seq, ch.begin, end})
}

// tellLate names the chunks that went out before an event showed that they may lack something: a PID that nobody waits for was silent.
func (c *cutter) tellLate(t taint) {
	for i := len(c.promoted) - 1; i >= 0 && c.promoted[i].end > t.from; i-- {
		if s := &c.promoted[i]; t.hits(s.begin, s.end) {
			d := delivery{late: true, chunk: chunkInfo{seq: s.seq}}
			d.damage[t.kind]++
			c.out(d)
		}
	}
}
