package chop

import (
	"slices"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// taintKind is the kind of thing that happened to the stream.
type taintKind uint8

const (
	taintTEI        taintKind = iota // so many packets could not be read that their number may hide a loss
	taintContinuity                  // packets are missing
	taintScrambled                   // transport_scrambling_control, PES_scrambling_control
	taintSync                        // bytes that are no packets
	taintPSI                         // PAT or PMT changed at an unknown place, because packets of it were lost
	taintClock                       // the clock jumped unannounced
	taintKinds
)

// taint says that between two packet positions the stream is not what the broadcaster sent. A loss lies between the last good
// packet of its PID and the packet that revealed it, so it may reach back over a chunk's end.
type taint struct {
	from, to int64
	pid      ts.PID
	kind     taintKind
	late     bool // it keeps no chunk from being promoted, and is told afterwards of those that were
	through  bool // of a table: access units may have been taken for those of another codec, so chunks do not end where they should
	n        int64
}

// hits reports whether t damages what lies between two positions. A table that changed, but for the codec, damages only chunks that begin
// within the taint, because they may have begun with the old table.
func (t *taint) hits(begin, end int64) bool {
	if t.kind == taintPSI && !t.through {
		return t.from < begin && begin <= t.to
	}
	return t.from < end && (t.to > begin || t.from == begin)
}

// damage counts taints by kind.
type damage [taintKinds]int64

func (d *damage) any() bool { return *d != damage{} }

// dormant is how long a PID must have been silent so that nobody waits for its next packet: the PMT lists it, but it is not sent.
const dormant = 10 * second

// longSilence is how long an audio or video PID that is not dormant is waited for at least.
const longSilence = 2 * second

// timePatience is how long, from the start of the input, chunks wait for the first time table or identity.
const timePatience = 10 * second

// taint notes an event. Successive events of one kind that lie side by side are joined, unless a chunk may start between them. One that shows where a
// counter starts anew may lie far before the last one.
func (c *cutter) taint(t taint) {
	t.n = 1
	if n := len(c.events); n > 0 && c.mergeable {
		if e := &c.events[n-1]; e.kind == t.kind && e.late == t.late && t.kind != taintPSI && t.from <= e.to+64 && e.from <= t.to+64 {
			e.from, e.to, e.n = min(e.from, t.from), max(e.to, t.to), e.n+1
			return
		}
	}
	c.mergeable = true
	c.events = append(c.events, t)
}

// tainted reports whether an event damages what lies between two positions.
func (c *cutter) tainted(begin, end int64) bool {
	for i := len(c.events) - 1; i >= 0; i-- {
		if e := &c.events[i]; !e.late && e.hits(begin, end) {
			return true
		}
	}
	return false
}

// count adds up the events between two positions: those that damage it, or with late those that are told afterwards.
func (c *cutter) count(begin, end int64, late bool) (d damage) {
	for i := range c.events {
		if e := &c.events[i]; e.late == late && e.hits(begin, end) {
			d[e.kind] += e.n
		}
	}
	return d
}

// forget drops events that can damage no chunk which is still undecided.
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

// certain reports whether enough was heard to know that nothing of a chunk up to end was lost. For that a PCR, and PAT and PMT if
// they come within 10 s, must have been heard since the chunk began, and each audio and video PID since end: a loss before end
// would have shown in its counter. Once the next chunk has ended, PIDs that are still silent are not waited for any longer.
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
	return c.heard[ts.PIDPAT].pos > ch.begin && c.pmtPos > ch.begin
}

// against returns why a chunk cannot be promoted whatever is still to come; "" if it may be.
func (c *cutter) against(ch *chunk) string {
	switch {
	case ch.cause != "":
		return ch.cause
	case ch.named && ch.name.identity != c.identified(ch): // the rest of it is another broadcast's
		return catalog.ReasonUnidentified
	case c.base.now < timePatience:
	case !c.synced(ch) && !c.doubtful(ch):
		return catalog.ReasonUnsynced
	case !c.identified(ch).Known():
		return catalog.ReasonUnidentified
	}
	return ""
}

// settle decides the scope of queued parts, in the order of the stream, and hands them on: a part is promoted, under the
// broadcast's name, or goes out under the source's. It decides a part only when no packet to come can change the decision, so
// that every receiver which hears the same broadcast comes to the same one. It stops at the first part that must wait.
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
			case c.repeats && c.base.now-ch.beganAt >= dormant && !c.tablesSince(ch): // packets of the PMT were lost, and it may have changed in them
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
			// The manifest tells all of the chunk's damage, so it must be known.
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
		ch.promoted = ch.promoted || d.promote
		if p.last {
			d.broken = ch.broken
			d.si, c.prog.si = c.prog.si, nil
			d.health = p.health
			if ch.promoted {
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

// lastOf returns the queued part that ends a chunk; nil while the chunk goes on.
func (c *cutter) lastOf(ch *chunk) *part {
	for _, p := range c.queue {
		if p.chunk == ch && p.last {
			return p
		}
	}
	return nil
}

// sent is a chunk that was promoted, or some parts of it.
type sent struct {
	seq        int64
	begin, end int64
}

// maxSent bounds the promoted chunks of which damage can still be told afterwards.
const maxSent = 1024

func (c *cutter) remember(ch *chunk, end int64) {
	if len(c.promoted) == maxSent {
		c.promoted = slices.Delete(c.promoted, 0, maxSent/4)
	}
	c.promoted = append(c.promoted, sent{ch.seq, ch.begin, end})
}

// tellLate tells of an event that damages chunks which were promoted before it showed, because it is on a PID that nobody waits
// for.
func (c *cutter) tellLate(t taint) {
	for i := len(c.promoted) - 1; i >= 0 && c.promoted[i].end > t.from; i-- {
		if s := &c.promoted[i]; t.hits(s.begin, s.end) {
			d := delivery{late: true, chunk: chunkInfo{seq: s.seq}}
			d.damage[t.kind]++
			c.out(d)
		}
	}
}
