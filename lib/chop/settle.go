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
	taintTEI        taintKind = iota // transport_error_indicator
	taintContinuity                  // packets are missing
	taintScrambled                   // transport_scrambling_control
	taintSync                        // bytes that are no packets
	taintPSI                         // PAT or PMT changed
	taintClock                       // the clock jumped unannounced
	taintKinds
)

// taint says that between two packet positions the stream is not what the broadcaster sent, or that not every
// receiver can know where in between something changed. A loss is bounded by the last good packet of its PID
// and the packet that revealed it, so it may reach back over a chunk's end.
type taint struct {
	from, to int64
	kind     taintKind
	n        int64
}

// damage counts taints by kind.
type damage [taintKinds]int64

func (d *damage) any() bool { return *d != damage{} }

// silence is how long a PID must have been quiet before an end for nobody to wait for it: subtitles and
// splice messages come when they come.
const silence = clock.Ticks27(27_000_000)

// taint notes an event. Neighbours of one kind are kept as one, unless a chunk may start between them.
func (c *cutter) taint(t taint) {
	t.n = 1
	if n := len(c.events); n > 0 && c.mergeable {
		if e := &c.events[n-1]; e.kind == t.kind && t.from <= e.to+64 {
			e.from, e.to, e.n = min(e.from, t.from), max(e.to, t.to), e.n+1
			return
		}
	}
	c.mergeable = true
	c.events = append(c.events, t)
}

// tainted reports whether anything happened between two positions.
func (c *cutter) tainted(from, end int64) bool {
	for i := len(c.events) - 1; i >= 0; i-- {
		if e := &c.events[i]; e.from < end && e.to >= from {
			return true
		}
	}
	return false
}

// count sums up what happened between two positions.
func (c *cutter) count(from, end int64) (d damage) {
	for _, e := range c.events {
		if e.from < end && e.to >= from {
			d[e.kind] += e.n
		}
	}
	return d
}

// forget drops events that can touch no chunk that is still open.
func (c *cutter) forget() {
	oldest := c.pos
	consider := func(ch *chunk) {
		if ch != nil {
			oldest = min(oldest, ch.begin)
			if ch.from >= 0 {
				oldest = min(oldest, ch.from)
			}
		}
	}
	if c.prevRAP.known {
		oldest = min(oldest, c.prevRAP.pos)
	}
	if c.resetPos >= 0 {
		oldest = min(oldest, c.resetPos)
	}
	if c.cur != nil {
		consider(c.cur.chunk)
	}
	for _, p := range c.queue {
		consider(p.chunk)
	}
	c.events = slices.DeleteFunc(c.events, func(e taint) bool { return e.to < oldest })
}

// certain reports whether everything up to end has been heard: each PID was heard again after it, so a loss
// before it would have shown. A PID that had been silent is not waited for.
func (c *cutter) certain(end int64, at clock.Ticks27) bool {
	if c.base.cadence.limit > 0 && c.barePos < end {
		return false
	}
	for _, pid := range c.awaited {
		if c.seen[pid] >= end {
			continue
		}
		if pid == ts.PIDPAT || pid == c.prog.pmtPID || c.seenClock[pid] >= at-silence {
			return false
		}
	}
	return true
}

// overdue reports whether the wait for certainty is over.
func (c *cutter) overdue(at clock.Ticks27) bool {
	return c.ended || c.base.now-at > clock.Ticks27(c.d)*300
}

// against is why a chunk cannot be promoted, whatever is still to come; "" if it may.
func (c *cutter) against(ch *chunk) string {
	switch {
	case ch.cause != "":
		return ch.cause
	case !ch.synced:
		return catalog.ReasonUnsynced
	case !ch.identity.Known():
		return catalog.ReasonUnidentified
	case ch.edge:
		return catalog.ReasonEdge
	case ch.from < 0:
		return catalog.ReasonFirst
	}
	return ""
}

// settle hands on the parts whose scope is certain, in the order of the stream.
func (c *cutter) settle() {
	for len(c.queue) > 0 {
		p := c.queue[0]
		ch := p.chunk
		if c.tail.of(p) {
			if !c.overdue(p.endClock) {
				return
			}
			c.closeTail()
		}
		last := c.lastOf(ch)
		if ch.broken == "" {
			ch.broken = c.against(ch)
		}
		if ch.broken == "" {
			end, at := p.end, p.endClock
			if c.cfg.Promote == PromoteChunk {
				if last == nil || c.tail.of(last) {
					if !c.tainted(ch.from, c.pos) {
						return
					}
					end, at = c.pos, c.base.now
				} else {
					end, at = last.end, last.endClock
				}
			}
			switch {
			case c.tainted(ch.from, ch.begin):
				ch.broken = catalog.ReasonUnsure
			case c.tainted(ch.begin, end):
				ch.broken = catalog.ReasonDamaged
			case c.certain(end, at):
			case c.overdue(at):
				ch.broken = catalog.ReasonUnconfirmed
			default:
				return
			}
		}
		if p.last {
			// The manifest wants all of the damage.
			if !c.certain(p.end, p.endClock) && !c.overdue(p.endClock) {
				return
			}
			ch.damage = c.count(ch.begin, p.end)
			if ch.broken == catalog.ReasonEdge {
				ch.broken = c.edgeReason(ch, p)
			}
			ch.claim = c.claims(ch, p)
			if ch.broken == catalog.ReasonUnsure && ch.damage.any() {
				ch.broken = catalog.ReasonDamaged
			}
		}
		c.queue = slices.Delete(c.queue, 0, 1)
		d := delivery{part: p, promote: ch.broken == ""}
		if p.last {
			d.broken, d.damage, d.claim = ch.broken, ch.damage, ch.claim
			d.si, c.prog.si = c.prog.si, nil
		}
		c.out(d)
		if len(c.events) > 0 {
			c.forget()
		}
	}
}

// edgeReason is why a chunk on an edge was not promoted: "edge" if nothing else is against it.
func (c *cutter) edgeReason(ch *chunk, last *part) string {
	switch {
	case ch.from < 0:
		return catalog.ReasonFirst
	case c.tainted(ch.from, ch.begin):
		return catalog.ReasonUnsure
	case c.tainted(ch.begin, last.end):
		return catalog.ReasonDamaged
	case !c.certain(last.end, last.endClock):
		return catalog.ReasonUnconfirmed
	}
	return catalog.ReasonEdge
}

// claims reports whether a chunk that was not promoted is the broadcast's if it starts where the broadcast's does:
// nothing happened between its start and its end, but where it starts, or which timeline it is on, is not certain. Who
// sees the same first part under the broadcast's name knows.
func (c *cutter) claims(ch *chunk, last *part) bool {
	switch ch.broken {
	case catalog.ReasonEdge:
		return true
	case catalog.ReasonUnsure, catalog.ReasonFirst:
		return !ch.edge && !c.tainted(ch.begin, last.end) && c.certain(last.end, last.endClock)
	}
	return false
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
