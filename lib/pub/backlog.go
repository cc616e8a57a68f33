package pub

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// After an outage what is new goes out at once, and what came during the outage is the backlog. A relay of this project asks which groups
// there are (docs/format/chain.md) and fetches those that it lacks, the newest first and behind everything that is new; its viewers see no
// old groups among the new ones. Any other relay is sent the backlog, the oldest first, beside what is new; and so is one that asks, and then
// wants nothing of what is left (what is older than all that it has, while it is nearly full; what it has removed; what it cannot store).

const (
	// defaultEdge is how long ago something of a group must have come for the group not to be backlog: viewers should notice nothing of
	// a relay that starts again.
	defaultEdge = 5 * time.Second
	// defaultAskPatience is how long a relay of this project has for asking. One that does not ask is sent the backlog.
	defaultAskPatience = 10 * time.Second
	// wantPatience is how many times as long nothing of the backlog may be fetched by a relay that has asked, before it is sent the rest.
	wantPatience = 3
	// settledAtOnce is how many groups of a track's backlog are watched at a time.
	settledAtOnce = 4
)

// backlog returns the groups of a track that were over for longer than edge, the newest first; never the newest group of all.
func (s *spool) backlog(t *track, relay int, edge time.Duration) (old []*group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for i, g := range slices.Backward(t.groups) {
		if g.old[relay] = i < len(t.groups)-1 && g.state != open && now.Sub(g.touched) > edge; g.old[relay] {
			old = append(old, g)
		}
	}
	return old
}

// settleBacklog waits until the relay has fetched the backlog, or sends it.
func (u *uploader) settleBacklog(ctx context.Context, pub *moqt.Publication, t *track, old []*group) error {
	g, gctx := errgroup.WithContext(ctx)
	if !u.asks(ctx, pub, t) {
		g.SetLimit(maxStreams / 2)
		for _, grp := range slices.Backward(old) {
			g.Go(func() error { return u.group(gctx, pub, grp) })
		}
		return g.Wait()
	}
	u.log.Debug("relay fetches what it lacks", "track", t.name.String(), "groups", len(old))
	sess := client.Over(ctx, pub.Session(), u.relay, u.log)
	u.comes()
	g.SetLimit(settledAtOnce)
	for _, grp := range old {
		g.Go(func() error {
			settled, err := u.settleGroup(gctx, sess, grp)
			if err != nil || settled {
				return err
			}
			u.log.Debug("relay does not fetch a group that it lacks, sending it", "track", t.name.String(), "group", grp.id)
			u.s.mu.Lock()
			grp.unwanted[u.index] = true
			u.s.mu.Unlock()
			return u.group(gctx, pub, grp)
		})
	}
	return g.Wait()
}

// comes notes that the relay fetches its backlog.
func (u *uploader) comes() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.came = time.Now()
}

// wantsNothing reports whether the relay has fetched nothing of the backlog for so long that it does not want what is left. At the end of the
// input there is less time.
func (u *uploader) wantsNothing() bool {
	u.s.mu.Lock()
	ended := u.s.ended
	u.s.mu.Unlock()
	patience := wantPatience * u.c.askPatience
	if ended {
		patience = u.c.askPatience
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.Since(u.came) > patience
}

// asks waits for the relay to ask which groups of a track there are.
func (u *uploader) asks(ctx context.Context, pub *moqt.Publication, t *track) bool {
	peer, err := pub.Session().Peer(ctx)
	if err != nil || !mesh.Ours(peer.Implementation) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, u.c.askPatience)
	defer cancel()
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	return u.s.await(ctx, func() bool { return u.hasAsked(t.name) })
}

func (u *uploader) hasAsked(t object.TrackName) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked[t.String()]
}

// settleGroup waits until the relay has a group of the backlog, wherever it got it. Of a group without an end nobody can say that; the
// relay has some time to fetch it. false: the relay does not want it.
func (u *uploader) settleGroup(ctx context.Context, sess *client.Session, g *group) (bool, error) {
	u.s.mu.Lock()
	at, whole := g.last()
	u.s.mu.Unlock()
	began := time.Now()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		u.s.mu.Lock()
		if !whole && time.Since(began) > u.c.askPatience {
			u.s.wasSent(g, u.index)
		}
		over := g.dropped || g.sent[u.index]
		u.s.mu.Unlock()
		if over {
			return true, nil
		}
		if whole {
			o, err := heldObject(ctx, sess, g.track.name, at)
			refused, isRefusal := errors.AsType[*moqt.RequestError](err)
			switch {
			case err != nil && !isRefusal:
				return false, err
			case u.takenDown(g.track.name, err):
				u.s.mu.Lock()
				u.s.wasSent(g, u.index)
				u.s.mu.Unlock()
				return true, nil
			case isRefusal && refused.Code == wire.RequestNotSupported, o != nil:
				u.comes()
				return true, u.settled(ctx, sess, g, at)
			case pause == 2*time.Second: // the relay may have another group, which ends before ours
				if other, err := differs(ctx, sess, g.track.name, g, at); other || err != nil && errors.Is(err, moqt.ErrClosed) {
					return true, errors.Join(err, u.refused(ctx, g))
				}
			}
			if u.wantsNothing() {
				return false, nil
			}
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// refused takes a group as sent of which the relay has another one.
func (u *uploader) refused(ctx context.Context, g *group) error {
	u.s.mu.Lock()
	u.s.wasSent(g, u.index)
	u.s.mu.Unlock()
	return u.s.conflict(ctx, g)
}

// settled takes a group as sent, after a look whether it is the same as the relay's.
func (u *uploader) settled(ctx context.Context, sess *client.Session, g *group, at moqt.Location) error {
	other, err := u.awaitGroup(ctx, sess, g.track.name, at, g)
	if err != nil && !errors.Is(err, errNoFetch) && !errors.Is(err, errTakenDown) {
		return err
	}
	if other {
		return u.refused(ctx, g)
	}
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	u.s.wasSent(g, u.index)
	return nil
}
