package pub

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
)

// leftover is a group that left memory before a relay had it, and that the relay may fetch from disk.
type leftover struct {
	passed
	relay   int
	arrived bool
}

const (
	// maxLeft bounds the leftovers that are remembered. Those beyond count as undelivered.
	maxLeft = 1 << 16
	// leftAtOnce is how many leftovers are asked for in each leftInterval. A relay removes what it has only much later.
	leftAtOnce   = 64
	leftInterval = time.Second
)

// leave leaves a group to the disk; false: it is not there.
func (s *spool) leave(g *group, relay int) bool {
	at, ok := g.last()
	if !ok || !s.disk.of(&g.kept).whole {
		return false
	}
	if len(s.left) == 0 {
		s.log.Warn("memory full, the relay can fetch what it lacks from the spool on disk")
	}
	if len(s.left) < maxLeft {
		s.left = append(s.left, &leftover{passed: passed{track: g.track.name, at: at}, relay: relay})
	} else {
		s.Undelivered++
	}
	return true
}

// arrived notes that a relay has a group, whoever brought it: one that is here, one that was left to the disk, or neither.
func (s *spool) arrived(g *group, left *leftover, relay int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if left != nil {
		left.arrived = true
	}
	if g != nil {
		s.wasSent(g, relay)
	}
}

// settleLeft asks the relay now and then for leftovers of tracks of which it has asked what there is, and forgets those that it has, until the
// input ends. At the end the relay may have removed them long ago.
func (u *uploader) settleLeft(ctx context.Context, sess *client.Session) error {
	tick := time.NewTicker(leftInterval)
	defer tick.Stop()
	for {
		u.s.mu.Lock()
		ok := u.s.await(ctx, func() bool { return len(u.s.left) > 0 || u.s.ended })
		ended := u.s.ended
		u.s.mu.Unlock()
		switch {
		case !ok:
			return context.Cause(ctx)
		case ended:
			return nil
		}
		if err := u.askLeft(ctx, sess); errors.Is(err, errNoFetch) {
			return nil
		} else if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// askLeft asks for the leftovers that it was longest ago asked for.
func (u *uploader) askLeft(ctx context.Context, sess *client.Session) error {
	asked := map[*leftover]bool{} // whether it arrived
	var todo []*leftover
	u.s.mu.Lock()
	for _, l := range u.s.left {
		if l.relay == u.index && len(todo) < leftAtOnce && u.hasAsked(l.track) {
			todo = append(todo, l)
		}
	}
	u.s.mu.Unlock()
	here := make([]bool, len(todo))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(settledAtOnce)
	for i, l := range todo {
		g.Go(func() error {
			o, err := heldObject(gctx, u.at(sess, l.track), l.track, l.at)
			if refused, ok := errors.AsType[*moqt.RequestError](err); ok && refused.Code == wire.RequestNotSupported {
				return errNoFetch
			} else if err != nil && !ok {
				return err
			}
			here[i] = o != nil
			return nil
		})
	}
	if err := g.Wait(); err != nil || len(todo) == 0 {
		return err
	}
	for i, l := range todo {
		asked[l] = here[i]
	}
	u.s.forget(asked)
	return nil
}

// forget removes the leftovers that arrived, and puts the others that were asked for last.
func (s *spool) forget(asked map[*leftover]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.left)
	var again []*leftover
	s.left = slices.DeleteFunc(s.left, func(l *leftover) bool {
		arrived, is := asked[l]
		if is && !arrived {
			again = append(again, l)
		}
		return is
	})
	if s.left = append(s.left, again...); len(s.left) < before {
		s.log.Debug("relays fetched groups from the spool on disk", "groups", before-len(s.left), "left", len(s.left))
	}
}
