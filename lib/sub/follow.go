package sub

import (
	"context"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/moqt"
)

// A broadcaster that restarts its clock begins a new timeline and with it a new track (docs/format/chunk.md). Who
// asked for the broadcast by its namespace wants to go on there.

// watch looks into the catalog whenever nothing came for some time, and returns errMoved when it names another track
// than the one being read.
func (p *pull) watch(ctx context.Context, sess *moqt.Session) error {
	for {
		wait := p.c.silence - p.asm.idle()
		if wait <= 0 {
			c, err := readStored(ctx, sess, catalog.Of(p.name.Namespace))
			if err == nil && c != nil {
				if t := c.TS(); t != nil && t.Namespace == "" && t.Name != p.name.Name {
					p.moved = t.Name
					return errMoved
				}
			}
			wait = p.c.silence
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// move goes on with the first group of the new track.
func (p *pull) move(ctx context.Context, sess *moqt.Session) error {
	old := p.name.String()
	p.name.Name = p.moved
	p.log.Warn("the broadcast goes on under another track", "from", old, "to", p.name.String())
	info, err := sess.TrackStatus(ctx, p.name)
	if err != nil {
		return refused(p.written, err)
	}
	p.asm = newAssembler(p.c.Buffer)
	p.declared, p.hasNext, p.hasPTS, p.brokeOff, p.began = false, false, false, false, time.Time{}
	if info.Largest != nil {
		at, err := p.firstGroup(ctx, sess, info.Largest)
		if err != nil {
			return err
		}
		p.asm.start(moqt.Location{Group: at})
	}
	if p.c.To.kind == atTime {
		w, err := p.wallClock(ctx, sess, info.Largest)
		if err != nil {
			return err
		}
		g, err := p.chunkAt(ctx, sess, w, p.c.To.time)
		if err != nil {
			return err
		}
		p.to = moqt.Location{Group: g + 1}
	}
	return nil
}
