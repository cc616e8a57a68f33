package sub

import (
	"context"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
)

// A broadcaster that restarts its clock begins a new timeline and with it a new track (docs/format/chunk.md). A reader that was
// given the broadcast's namespace goes on with the new track.

// moved is the error that the broadcast goes on under another track of its namespace.
type moved struct{ to string }

func (m *moved) Error() string { return "broadcast moved to track " + m.to }

// watch looks into the catalog whenever no object came for some time. It returns a *moved when the catalog names another track
// than the one being read.
func (e *epoch) watch(ctx context.Context) error {
	for {
		wait := e.p.c.silence - e.asm.idle()
		if wait <= 0 {
			var to string
			e.p.rs.ask(ctx, func(ctx context.Context, sess *client.Session) bool {
				to = e.elsewhere(ctx, sess)
				return to != ""
			})
			if to != "" {
				return &moved{to}
			}
			wait = e.p.c.silence
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// elsewhere returns the track that a relay's catalog names in place of the one being read; "" if it names no other.
func (e *epoch) elsewhere(ctx context.Context, sess *client.Session) string {
	c, err := readStored(ctx, sess, catalog.Of(e.name.Namespace))
	if err != nil || c == nil {
		return ""
	}
	t := c.TS()
	if t == nil || t.Namespace != "" || t.Name == e.name.Name {
		return ""
	}
	return t.Name
}

// move ends an epoch and makes the next one, for the track to which the broadcast went, from its first group on. The
// subscriptions of the old epoch have ended by then, so nobody pays twice for buffers and for what relays send.
func (p *pull) move(ctx context.Context, old *epoch, to string) (next *epoch, _ error) {
	old.end()
	t := old.track
	t.name.Name = to
	p.log.Warn("the broadcast goes on under another track", "from", old.name.String(), "to", t.name.String())
	p.meter.cut()
	for {
		p.rs.ask(ctx, func(ctx context.Context, sess *client.Session) bool {
			var err error
			if next, err = p.nextEpoch(ctx, sess, t, old.follow); err != nil {
				p.log.Debug("new track not found yet", "track", t.name.String(), "err", err)
			}
			return err == nil
		})
		if next != nil {
			return next, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(resubscribe):
		}
	}
}
