package chop

import (
	"errors"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/es"
	"every.channel/ec/lib/ts"
)

// accessUnit is the pending access unit: it is not decided yet whether it starts a part or a chunk.
type accessUnit struct {
	active   bool   // there is a pending access unit
	begins   bool   // the header of its PES packet is not complete
	read     bool   // the finder has seen enough of its PES packet so far
	several  bool   // the finder wants all of the PES packet
	flagged  bool   // a PCR had discontinuity_indicator since the access unit before began
	known    bool   // the PES packet before it was read to its end
	torn     bool   // the access unit before goes on in its PES packet
	cut      bool   // its start code may begin in the PES packet before
	header   []byte // the header as far as it has come
	pos      int64  // packet position
	offset   int    // its offset in the current part's buf
	others   int    // its offset in the current part's others
	pts, dts clock.PTS
	random   bool // random_access_indicator
	finder   es.Finder
}

// proof is what was heard since the last loss on the cut PID. It tells whether every receiver starts a chunk at the next random
// access point.
type proof struct {
	rap   bool // a random access point was heard
	step  bool // the clock stepped, so access units before prove nothing
	anew  bool // the lost packets are from before a step of the clock
	au    bool // an access unit was heard
	dts   clock.PTS
	began bool // packets were lost before; false: the input began here
}

// reordering is what was heard of how long after they are decoded pictures are shown. A loss does not end it.
type reordering struct {
	units int64       // access units
	most  clock.Ticks // the longest time
}

// manyUnits is how many access units show how long that time is. A PES packet that is not aligned has the time of any picture, and
// few of them may all have the times of pictures that are shown at once.
const manyUnits = 32

// cutPacket looks at a packet of the cut PID, which may start an access unit or tell more about the pending one.
func (c *cutter) cutPacket(p *ts.Packet) {
	au := &c.au
	payload := p.Payload()
	switch {
	case p.Scrambled():
		c.dropUnit()
	case p.UnitStart() && stamped(payload):
		if au.known = au.read; au.read {
			if v := au.finder.End(); au.active {
				c.decide(v)
			}
			au.torn, au.cut, au.read, au.several = au.finder.Torn(), au.finder.Split(), false, false
		}
		au.flagged = c.flagPos > au.pos
		au.active, au.begins, au.header = false, true, au.header[:0]
		au.pos, au.random, au.offset, au.others = c.pos, p.RandomAccess(), 0, 0
		if c.cur != nil {
			au.offset, au.others = len(c.cur.buf), len(c.cur.others)
		}
		c.beginUnit(payload)
	case au.begins:
		c.beginUnit(payload)
	case p.UnitStart(): // a PES packet without a PTS continues the access unit before
		if pes, err := ts.ParsePES(payload); err == nil {
			c.feedUnit(payload[pes.HeaderLen:])
		}
	default:
		c.feedUnit(payload)
	}
}

// stamped reports whether the PES packet that begins with b has a PTS, or may have one because its header is not complete.
func stamped(b []byte) bool { return len(b) < 8 || b[7]>>6 != 0 } // PTS_DTS_flags, H.222.0 §2.4.3.6

// feedUnit passes more of the pending access unit's elementary stream to the finder.
func (c *cutter) feedUnit(b []byte) {
	if !c.au.read {
		return
	}
	if v := c.au.finder.Feed(b); v != es.Undecided && c.au.active {
		c.decide(v)
	}
}

// dropUnit forgets the pending access unit: a part of it was lost, and the rest proves nothing.
func (c *cutter) dropUnit() {
	au := &c.au
	if (au.active || au.begins) && c.prog.next != nil && c.cur != nil {
		c.copyHeld()
		c.window(au, false)
	}
	au.active, au.begins, au.read, au.several = false, false, false, false
}

// wants reports whether the rest of the PES packet matters.
func (au *accessUnit) wants() bool { return au.active || au.begins || au.several }

// maxPESHeader is the longest header of a PES packet, H.222.0 §2.4.3.6.
const maxPESHeader = 9 + 255

// beginUnit takes the payload of a packet with the header of a PES packet, or more of the header.
func (c *cutter) beginUnit(payload []byte) {
	au := &c.au
	if len(au.header) > 0 {
		au.header = append(au.header, payload...)
		payload = au.header
	}
	if c.cur == nil { // makes a part, so that the access unit's packets are kept
		c.cur = c.free.part(au.pos)
		au.offset = len(c.cur.buf)
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
		c.clock(au.dts.PCR(), false, c.clockGap, false)
		c.clockGap = false
	} else {
		c.unclocked(au.dts)
	}
	c.tailTime(au.dts)
	au.active, au.read, au.several = true, true, !pes.DataAlignment
	au.finder.Begin(c.prog.codec, au.random)
	if au.several {
		au.finder.Several()
		switch {
		case au.known && au.torn, !au.known && !au.random:
			au.finder.Rest()
		case au.cut, !au.known:
			au.finder.Cut()
		}
	}
	c.feedUnit(payload[pes.HeaderLen:])
}

// decide takes the verdict about the pending access unit.
func (c *cutter) decide(v es.Verdict) {
	au := &c.au
	au.active = false
	if c.cur == nil {
		return
	}
	rap := v == es.RandomAccess
	ch := c.cur.chunk
	if d := au.dts.Sub(c.lastDTS); c.lastPos > 0 {
		if stepped(d) {
			c.prevRAP.known = false
			c.proof.rap = c.proof.rap || c.proof.anew // the next random access point starts a chunk, whatever was lost before
		}
		if d < 0 && c.jumpPos < c.lastPos {
			c.doubt() // the clock may have stepped without a PCR telling it
			c.untold = true
		}
	}
	if ch != nil {
		ch.clock.flagged = au.flagged
	}
	starts := rap && (ch == nil || !c.prevRAP.known || !c.grid.Same(au.pts, c.prevRAP.pts))
	if c.prog.next != nil {
		c.window(au, starts && c.nextPos < au.pos)
	}
	if starts {
		c.startChunk(au)
	} else if ch == nil {
		c.dropLeading() // before the first random access point nothing can be decoded
	} else if ch.slot(au.dts, c.partD) != ch.slot(c.lastDTS, c.partD) {
		c.split(au, ch, rap)
	} else {
		c.cur.insert(au.offset, au.dts)
	}
	c.lastDTS, c.lastPos = au.dts, au.pos
	if !c.proof.au {
		c.proof.au, c.proof.dts = true, au.dts
	}
	c.reorder.units, c.reorder.most = c.reorder.units+1, max(c.reorder.most, au.pts.Sub(au.dts))
	if rap {
		c.prevRAP.known, c.prevRAP.pts = true, au.pts
		c.proof.rap = true
	}
	c.settle()
}

// stepped reports whether the clock steps between two access units, by the difference of their decoding times.
func stepped(d clock.Ticks) bool { return d < -stepBack || d >= stepAhead }

// window keeps, of the packets of other PIDs that came since an access unit began, those whose PIDs its chunk has. While a new
// PMT waits for the next chunk, packets of all PIDs of both PMTs are kept until it is decided whether the access unit begins that
// chunk.
func (c *cutter) window(au *accessUnit, next bool) {
	if next {
		c.applyProgram(au.pos)
		for _, pid := range c.prog.left {
			c.prog.roles[pid] |= roleKeep | roleLeft
		}
	}
	b := c.cur.others[au.others:]
	left := b[:0]
	for ; len(b) > 0; b = b[ts.PacketSize:] {
		if p := (*ts.Packet)(b); c.prog.roles[p.PID()]&roleKeep != 0 {
			left = append(left, p[:]...)
		}
	}
	c.cur.others = c.cur.others[:au.others+len(left)]
}

// proven reports whether every receiver starts a chunk at a random access point. That is so if the random access point before it
// was heard. It is also so if that one must lie in another bucket, because an access unit behind it was decoded so early that it
// cannot have been shown in this bucket.
func (c *cutter) proven(au *accessUnit) bool {
	if c.proof.rap || c.proof.step || !c.proof.au {
		return c.proof.rap
	}
	if au.several && c.reorder.units < manyUnits {
		return false
	}
	begin := au.pts.Add(-clock.Ticks(int64(au.pts) % int64(c.grid))) // the beginning of the bucket
	d := begin.Sub(c.proof.dts)
	return d > max(c.reorder.most, au.pts.Sub(au.dts)) && d < clock.Wrap/4
}

func (c *cutter) startChunk(au *accessUnit) {
	c.closeTail()
	c.chunks++
	ch := &chunk{seq: c.chunks, start: au.pts, startDTS: au.dts, begin: au.pos, beganAt: c.base.now, run: c.base.of(au.dts), identity: c.prog.identity(), renamed: c.prog.renamed}
	ch.early = ch.run == nil
	if !c.proven(au) {
		ch.doubt = catalog.ReasonUnsure
		if !c.proof.began {
			ch.doubt = catalog.ReasonFirst
		}
	}
	if c.stepPos > 0 && c.stepTo == 0 {
		c.stepTo = au.pos
	}
	ch.layout = c.prog.layout(au.finder.Name())
	c.mergeable = false
	c.split(au, ch, true)
}
