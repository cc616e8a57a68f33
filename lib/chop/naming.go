package chop

import (
	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
)

// naming says where a chunk belongs: to which broadcast, and where on its clock.
type naming struct {
	identity Identity
	synced   bool        // the bucket is on broadcast time
	bucket   int64       // of the grid
	utc      clock.Ticks // broadcast UTC of its first access unit, 90 kHz since 1970; x when not synced
	hours    int         // timeline
}

// name decides where a chunk belongs, once, by what was heard until its first part goes out.
func (c *cutter) name(ch *chunk) {
	if ch.named {
		return
	}
	ch.named = true
	n := &ch.name
	n.identity = c.identified(ch)
	x := clock.Ticks(ch.start)
	n.utc = x
	if ref, ok := c.reference(ch); ok {
		utc := ref.At(ch.start)
		x = clock.Extend(ch.start, utc)
		n.synced, n.utc, n.hours = true, clock.TicksAt(utc), clock.Timeline(utc, x)
	}
	n.bucket = c.grid.Of(x)
	switch {
	case ch.broken != "":
	case !n.synced:
		ch.broken = catalog.ReasonUnsynced
	case !n.identity.Known():
		ch.broken = catalog.ReasonUnidentified
	}
}

// identified returns whose chunk it is. The identity must have been known when the chunk began or since then, and must not have
// changed before the next PAT.
func (c *cutter) identified(ch *chunk) Identity {
	if ch.owned {
		return ch.identity
	}
	now := c.prog.identity()
	if ch.renamed != c.prog.renamed || ch.identity.Known() && ch.identity != now {
		return Identity{}
	}
	return now
}

// own notes whose the chunks are that have ended before the PAT which was heard now. They may wait for other things still, and what is
// heard meanwhile may tell of another broadcast.
func (c *cutter) own() {
	for _, p := range c.queue {
		if ch := p.chunk; p.last && !ch.owned && c.cfg.Clock != ClockFile {
			ch.identity, ch.owned = c.identified(ch), true
		}
	}
}

// synced reports whether the clock on which a chunk began is tied to UTC by now.
func (c *cutter) synced(ch *chunk) bool {
	c.onClock(ch)
	switch {
	case c.cfg.Clock == ClockFile:
		return len(c.file.records) > 0
	case ch.run == nil:
		return false
	case c.cfg.Clock == ClockHost || ch.run.hasSeed:
		return true
	}
	for _, kind := range c.kinds(c.identified(ch)) {
		if len(ch.run.times[kind]) > 0 {
			return true
		}
	}
	return false
}

// onClock finds the clock of a chunk that began before any PCR of that clock was heard. Whether it finds the clock before or behind a
// step of a few seconds does not matter: such a chunk has a name only far from an edge, where both clocks give the same name.
func (c *cutter) onClock(ch *chunk) {
	if ch.run == nil {
		ch.run = c.base.of(ch.startDTS)
	}
}

// kinds returns the tables that tell the time of a broadcast; the first one of which times were heard counts.
func (c *cutter) kinds(id Identity) [2]table {
	switch {
	case id.System == "atsc" || id.System == "" && c.prog.stt:
		return [...]table{tableSTT, tableOther}
	case c.totHeard, !c.alone(): // there is a TOT that may contradict the TDT, or there may be
		return [...]table{tableTOT, tableOther}
	}
	return [...]table{tableTDT, tableOther}
}

// totPatience is how long no TOT must have come for a TDT to count, and how long a chunk waits to find out: TS 101 211 §4.4 asks
// for both tables every 30 s, and real broadcasters send two or more TDT for each TOT. maxWaiting bounds the bytes that are held
// meanwhile.
const (
	totPatience = 30 * second
	maxWaiting  = 64 << 20
)

// alone reports whether no TOT can contradict the TDT: two TDT came in succession, and no TOT came for long, or none until the
// input ended.
func (c *cutter) alone() bool {
	c.tdtAlone = c.tdtAlone || c.tdtTwice && (c.ended && !c.totLost || c.base.now-c.noTOT >= totPatience)
	return c.tdtAlone
}

// doubtful reports whether the time of a chunk comes only from a TDT so far, while a TOT may still come and contradict it.
func (c *cutter) doubtful(ch *chunk) bool {
	if c.ended || c.alone() || ch.run == nil || c.cfg.Clock != ClockBroadcast || len(ch.run.times[tableTOT]) > 0 || len(ch.run.times[tableTDT]) == 0 {
		return false
	}
	return c.kinds(c.identified(ch))[0] == tableTOT && c.base.now-ch.beganAt < totPatience && c.waiting() < maxWaiting
}

// awaitsTOT reports whether the queued parts wait for that.
func (c *cutter) awaitsTOT() bool {
	if len(c.queue) == 0 {
		return false
	}
	ch := c.queue[0].chunk
	return !ch.named && ch.broken == "" && c.doubtful(ch)
}

// waiting returns how many bytes are queued.
func (c *cutter) waiting() (n int) {
	for _, p := range c.queue {
		n += p.size()
	}
	return n
}

// reference returns what ties the clock on which a chunk began to UTC.
func (c *cutter) reference(ch *chunk) (clock.Reference, bool) {
	if c.cfg.Clock == ClockFile {
		return c.recorded(ch.start)
	}
	c.onClock(ch)
	ref, ok := ch.run.reference(c.kinds(c.identified(ch)))
	if ok && (ch.early || c.clockPos < ch.begin) && !steady(ref) {
		return ref, false // the clock may have stepped before the chunk
	}
	if !ok && c.cfg.Clock == ClockHost && ch.run != nil {
		ref = clock.Reference{UTC: c.cfg.Now(), PCR: c.base.pcr}
		ch.run.add(tableOther, ref)
		ok = true
	}
	return ref, ok
}

// recorded looks a time up in the clock file.
func (c *cutter) recorded(p clock.PTS) (clock.Reference, bool) {
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
		return clock.Reference{}, false
	}
	c.prog.recorded = identityIn(records)
	return nearest(records, p)
}
