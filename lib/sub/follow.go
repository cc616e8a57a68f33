package sub

import (
	"context"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
)

// A broadcaster that restarts its clock begins a new timeline and with it a new track (docs/format/chunk.md). Who
// asked for the broadcast by its namespace wants to go on there.

// watch looks into the catalog whenever nothing came for some time, and returns errMoved when it names another track
// than the one being read.
func (p *pull) watch(ctx context.Context) error {
	for {
		wait := p.c.silence - p.asm.idle()
		if wait <= 0 {
			moved := p.rs.ask(ctx, func(ctx context.Context, sess *client.Session) bool {
				c, err := readStored(ctx, sess, catalog.Of(p.name.Namespace))
				if err != nil || c == nil {
					return false
				}
				t := c.TS()
				if t == nil || t.Namespace != "" || t.Name == p.name.Name {
					return false
				}
				p.moved = t.Name
				return true
			})
			if moved {
				return errMoved
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

// move makes the first group of the new track what is read next. The feeders are away.
func (p *pull) move(ctx context.Context) error {
	old := p.name.String()
	p.name.Name = p.moved
	p.log.Warn("the broadcast goes on under another track", "from", old, "to", p.name.String())
	for {
		var at, to moqt.Location
		known := p.rs.ask(ctx, func(ctx context.Context, sess *client.Session) bool {
			var err error
			if at, to, err = p.newTrack(ctx, sess); err != nil {
				p.log.Debug("new track not found yet", "track", p.name.String(), "error", err)
			}
			return err == nil
		})
		if known {
			p.asm = newAssembler(p.c.Buffer)
			p.asm.allow(p.ids == tagged)
			p.asm.start(at)
			p.to = to
			p.declared, p.hasNext, p.hasPTS, p.brokeOff, p.began = false, false, false, false, time.Time{}
			clear(p.exhausted)
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(resubscribe):
		}
	}
}

// newTrack asks where to begin and end with the track that the broadcast moved to.
func (p *pull) newTrack(ctx context.Context, sess *client.Session) (at, to moqt.Location, err error) {
	info, err := sess.TrackStatus(ctx, p.name)
	if err != nil {
		return at, to, err
	}
	if info.Largest != nil {
		if at.Group, err = p.firstGroup(ctx, sess, info.Largest); err != nil {
			return at, to, err
		}
	}
	to = p.to
	if p.c.To.kind == atTime {
		w, err := p.wallClock(ctx, sess, info.Largest)
		if err != nil {
			return at, to, err
		}
		bucket, err := p.chunkAt(ctx, sess, w, p.c.To.time)
		if err != nil {
			return at, to, err
		}
		to = moqt.Location{Group: p.ids.first(bucket + 1)}
	}
	return at, to, nil
}
