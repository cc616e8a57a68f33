package chop

import (
	"errors"
	"fmt"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/es"
	"every.channel/ec/lib/ts"
)

// finish ends the stream. The last chunk has no end of its own.
func (c *cutter) finish() error {
	if c.au.active {
		c.decide(es.NotRandomAccess) // the end of the access unit is missing
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

// why explains why there is no chunk.
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

// dropLeading drops everything before the first point at which decoding can start.
func (c *cutter) dropLeading() {
	c.stats.Leading += int64(c.cur.size() / ts.PacketSize)
	c.free.put(c.cur)
	c.cur = nil
}
