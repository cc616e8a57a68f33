package pub

import (
	"context"
	"errors"
	"strings"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// A standby keeps the media back until a relay asks for them (docs/format/standby.md). A track that rests is offered with FORWARD 0, and
// its groups are in memory and on disk like all others; what leaves the memory unsent was not asked for, and is no loss. When the relay
// sets Forward State 1, the track is sent from where the relay's filter begins. The source's own media, which no other home can make
// needless, are not offered: they are sent to a relay that subscribes.

// rests reports whether a standby keeps a track back: everything but the small tracks that tell what there is, also those of a variant or of
// another edition (docs/format/names.md), such as catalog_d1000_p200 and catalog2.
func rests(name object.TrackName) bool {
	what, _, _ := strings.Cut(name.Name, "_")
	switch strings.TrimRight(what, "0123456789") {
	case catalog.TrackCatalog, catalog.TrackManifest, catalog.TrackTimeline, catalog.TrackSI, catalog.TrackHealth:
		return false
	}
	return true
}

// own reports whether a track is of one receiver, and not of a broadcast.
func own(name object.TrackName) bool {
	ns := name.Namespace
	return len(ns) > 1 && ns[0] == "ec" && ns[1] == "source"
}

// hidden reports whether a track is neither offered nor listed.
func (u *uploader) hidden(name object.TrackName) bool {
	return u.c.Standby && own(name) && rests(name)
}

// offer offers a track with PUBLISH. A track that is not offered is sent when the relay subscribes.
func (u *uploader) offer(ctx context.Context, sess *client.Session, t *track) (*moqt.Publication, error) {
	if u.hidden(t.name) {
		return nil, errUnsubscribed
	}
	pub, err := sess.Publish(ctx, t.name, moqt.PublishOptions{Properties: t.properties, NoForward: t.rests})
	u.mu.Lock()
	u.tried[t.name.String()] = true
	u.mu.Unlock()
	return pub, err
}

// early reports whether a relay subscribes to a track that rests before it was offered. A relay that knows the namespace does so for its
// subscribers, and does not know then that the track rests.
func (u *uploader) early(t *track) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return t.rests && !u.hidden(t.name) && !u.tried[t.name.String()]
}

// sendAsked sends a track that rests whenever the relay asks for it, until the input ends.
func (u *uploader) sendAsked(ctx context.Context, pub *moqt.Publication, t *track) error {
	ended := u.inputEnd(ctx)
	for {
		if st := pub.State(); st.Forward {
			u.log.Info("relay asks for a track that rests", "track", t.name.String(), "from", st.Start.String())
			if err := u.sendFrom(ctx, pub, t, st.Start); ctx.Err() != nil || !errors.Is(err, errOtherwise) {
				return err
			}
			if !pub.State().Forward {
				u.log.Info("relay needs a track no more, it rests", "track", t.name.String())
			}
			continue
		}
		select {
		case <-pub.Updates():
		case <-ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// errOtherwise says that the relay wants something else than before.
var errOtherwise = errors.New("the relay wants something else")

// inputEnd returns a channel that is closed when the input is over, or ctx.
func (u *uploader) inputEnd(ctx context.Context) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		u.s.mu.Lock()
		defer u.s.mu.Unlock()
		u.s.await(ctx, func() bool { return u.s.ended })
	}()
	return over
}

// sendFrom sends what came lately and what comes, from a location on, until the input ends or the relay wants something else. What is
// older the relay fetches, behind what is new.
func (u *uploader) sendFrom(ctx context.Context, pub *moqt.Publication, t *track, from moqt.Location) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	defer func() { cancel(nil); <-watched }()
	go func() {
		defer close(watched)
		for {
			select {
			case <-pub.Updates():
				if st := pub.State(); !st.Forward || st.Start.Less(from) {
					cancel(errOtherwise)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	if st := pub.State(); !st.Forward || st.Start.Less(from) { // since before it was watched
		return errOtherwise
	}
	err := u.eachGroup(ctx, t, t.recent(u.s, from, u.c.edge), nil, func(ctx context.Context, grp *group) error {
		return u.groupAsked(ctx, pub, grp)
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// recent returns the sequence number of the first group from a location on of which something came lately; that of the newest group at
// the latest.
func (t *track) recent(s *spool, from moqt.Location, edge time.Duration) (seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for i, g := range t.groups {
		if i == len(t.groups)-1 || g.id >= from.Group && now.Sub(g.touched) < edge {
			return g.seq
		}
	}
	return 0
}

// groupAsked sends a group that the relay asked for. It is to be confirmed only if all of it was sent.
func (u *uploader) groupAsked(ctx context.Context, pub *moqt.Publication, g *group) error {
	u.s.mu.Lock()
	g.sent[u.index] = false
	u.s.mu.Unlock()
	err := u.group(ctx, pub, g)
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	g.offered = g.offered || err == nil
	g.sent[u.index] = true // else nobody waits for it any more
	u.s.cond.Broadcast()
	return err
}

// promised reports whether a relay is to have a group in the end.
func (g *group) promised() bool { return !g.track.rests || g.offered }
