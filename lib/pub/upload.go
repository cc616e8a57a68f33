package pub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// maxStreams is how many groups of a track are sent to one relay at a time. It is more than maxOpenGroups, so that unfinished
// groups hold up no other.
const maxStreams = maxOpenGroups + 2

// uploader sends the spool to one relay.
type uploader struct {
	c     Config
	s     *spool
	index int // its index in group.sent
	relay string
	log   *slog.Logger

	mu    sync.Mutex
	subs  map[string]chan *moqt.Publication // by track: subscriptions that the relay made
	where map[string]*client.Session        // by track: the session to which it has moved, if it has
	asked map[string]bool                   // by track: the relay has asked in this session which groups there are
	tried map[string]bool                   // by track: the relay has answered the PUBLISH of a track that rests
	down  map[string]bool                   // by track: the relay has said in this session that it is taken down
	came  time.Time                         // when the relay last fetched something of the backlog
}

func newUploader(c Config, s *spool, index int, relay string) *uploader {
	return &uploader{c: c, s: s, index: index, relay: relay, log: c.Log.With("relay", client.Name(relay)), subs: map[string]chan *moqt.Publication{},
		where: map[string]*client.Session{}, asked: map[string]bool{}, tried: map[string]bool{}, down: map[string]bool{}}
}

func (u *uploader) run(ctx context.Context) error {
	err := client.Run(ctx, client.Config{
		Relay: u.relay, Iroh: u.c.Iroh, Token: u.c.Token, TLS: u.c.TLS, Session: moqt.Config{Handler: u, Logger: u.c.Log, QLogDir: u.c.QLogDir, Versions: u.c.Versions, NoRepair: u.c.NoRepair}, Dial: u.c.dial,
		RetryStart: u.c.RetryStart, RetryLost: u.c.RetryLost, Log: u.c.Log,
	}, u.session)
	if err != nil && errors.Is(err, ErrUndelivered) {
		return fmt.Errorf("%s: %w", client.Name(u.relay), err)
	}
	return err
}

// session sends everything in the spool and what comes, until the input is over and the relay has everything.
func (u *uploader) session(ctx context.Context, sess *client.Session) (err error) {
	defer func() {
		if err != nil {
			u.s.lost(u.index)
		}
	}()
	u.s.mu.Lock()
	u.s.up[u.index] = sess.Session
	defer func() {
		u.s.mu.Lock()
		delete(u.s.up, u.index)
		u.s.mu.Unlock()
	}()
	for _, g := range u.s.groups {
		g.sent[u.index], g.old[u.index] = g.track.rests, false // it is not known whether the group was stored
	}
	u.s.mu.Unlock()
	defer func() { // and not at the beginning: a relay may ask before this function begins
		u.mu.Lock()
		u.where, u.asked, u.tried, u.down = map[string]*client.Session{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
		u.mu.Unlock()
	}()

	var announcing sync.WaitGroup
	actx, leave := context.WithCancel(ctx)
	defer announcing.Wait()
	defer leave()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.settleClaims(gctx, sess) })
	g.Go(func() error { return u.settleLeft(gctx, sess) })
	announced := map[string]bool{}
	for n := 0; ; n++ {
		var t *track
		u.s.mu.Lock()
		ok := u.s.await(gctx, func() bool { return n < len(u.s.names) || u.s.ended })
		if ok && n < len(u.s.names) {
			t = u.s.names[n]
		}
		u.s.mu.Unlock()
		if t == nil {
			break
		}
		if ns := t.name.Namespace.String(); !announced[ns] {
			announced[ns] = true
			p, err := announce(gctx, sess, t.name.Namespace)
			if err != nil {
				return errors.Join(fmt.Errorf("namespace %v: %w", t.name.Namespace, err), wait(g))
			}
			u.log.Info("publishing", "namespace", ns)
			if p != nil {
				announcing.Go(func() { u.moveNamespace(actx, sess, p) })
			}
		}
		g.Go(func() error {
			if err := u.track(gctx, sess, t); err != nil {
				return fmt.Errorf("track %v: %w", t.name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := u.confirm(ctx, sess); err != nil {
		return err
	}
	return u.sendLate(ctx, sess)
}

// wait waits for a group of goroutines, and drops the errors that only follow from another.
func wait(g *errgroup.Group) error {
	g.Go(func() error { return context.Canceled })
	g.Wait()
	return nil
}

// announce tells the relay of a namespace. It is no error if the relay knows it already from this publisher.
func announce(ctx context.Context, sess *client.Session, ns object.Namespace) (*moqt.NamespacePublication, error) {
	p, err := sess.PublishNamespace(ctx, ns)
	if refused, ok := errors.AsType[*moqt.RequestError](err); ok && refused.Code == wire.RequestNotSupported {
		return nil, nil // PUBLISH alone may be enough
	}
	return p, err
}

// errUnsubscribed says that the relay no longer wants a track.
var errUnsubscribed = errors.New("relay unsubscribed")

// track offers a track with PUBLISH and sends it. If the relay does not take the offer, it is sent when the relay subscribes.
func (u *uploader) track(ctx context.Context, sess *client.Session, t *track) error {
	pub, err := u.offer(ctx, sess, t)
	if refused, ok := errors.AsType[*moqt.RequestError](err); ok {
		switch refused.Code {
		case wire.RequestNotSupported, wire.RequestUninterested, wire.RequestDuplicateSubscription:
			err = errUnsubscribed
		}
	}
	for {
		if err == nil {
			pub, err = u.sendAnywhere(ctx, sess, pub, t)
		}
		if err == nil {
			return pub.Done(u.doneCode(t), "")
		}
		if !errors.Is(err, errUnsubscribed) {
			return err
		}
		u.log.Debug("relay does not take the track, waiting for it to subscribe", "track", t.name.String())
		if pub, err = u.subscription(ctx, t); pub == nil || err != nil {
			return err
		}
	}
}

func (u *uploader) doneCode(t *track) moqt.DoneCode {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	if t.ended {
		return wire.DoneTrackEnded
	}
	return wire.DoneSubscriptionEnded
}

// send sends the newest groups and then new ones to one subscriber, and beside them the backlog.
func (u *uploader) send(ctx context.Context, pub *moqt.Publication, t *track) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(pub.Context(), func() { cancel(errUnsubscribed) })
	defer stop()
	if t.rests {
		err := u.sendAsked(ctx, pub, t)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	defer u.followForward(pub, t)()
	g, gctx := errgroup.WithContext(ctx)
	old := u.s.backlog(t, u.index, u.c.edge)
	if len(old) > 0 {
		g.Go(func() error { return u.settleBacklog(gctx, pub, t, old) })
	}
	g.Go(func() error { return u.sendNew(gctx, pub, t, old) })
	err := g.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// sendNew sends all groups of a track but old ones, in the order in which they came.
func (u *uploader) sendNew(ctx context.Context, pub *moqt.Publication, t *track, old []*group) error {
	return u.eachGroup(ctx, t, 0, old, func(ctx context.Context, grp *group) error { return u.group(ctx, pub, grp) })
}

// eachGroup hands work the groups of a track from a sequence number on but old ones, as they come and several at a time, until the input ends.
func (u *uploader) eachGroup(ctx context.Context, t *track, next uint64, old []*group, work func(context.Context, *group) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(maxStreams)
	for {
		var grp *group
		u.s.mu.Lock()
		ok := u.s.await(gctx, func() bool {
			for grp = t.after(next); grp != nil && slices.Contains(old, grp); grp = t.after(next) {
				next = grp.seq + 1
			}
			return grp != nil || u.s.ended
		})
		if grp != nil {
			next = grp.seq + 1
		}
		u.s.mu.Unlock()
		if !ok || grp == nil {
			break
		}
		g.Go(func() error { return work(gctx, grp) })
	}
	return g.Wait()
}

// after returns the first group in the spool from a sequence number on.
func (t *track) after(seq uint64) *group {
	for _, g := range t.groups {
		if g.seq >= seq {
			return g
		}
	}
	return nil
}

// group sends one group as its objects come, on one stream for each subgroup.
func (u *uploader) group(ctx context.Context, pub *moqt.Publication, g *group) (err error) {
	streams := map[uint64]*moqt.SubgroupWriter{}
	defer func() {
		for _, w := range streams {
			w.Reset(wire.ResetCancelled)
		}
	}()
	skipped := false
	for n := 0; ; n++ {
		var o *object.Object
		var onDisk *write
		u.s.mu.Lock()
		ok := u.s.await(ctx, func() bool {
			return g.dropped || pub.State().Forward && (n < len(g.objects) || g.state != open)
		})
		if ok && !g.dropped && n < len(g.objects) {
			o, onDisk = &g.objects[n], g.writes[n]
		}
		st, end, dropped, many, inGroup := g.state, g.end, g.dropped, g.track.many, len(g.objects)
		u.s.mu.Unlock()
		switch {
		case !ok:
			return context.Cause(ctx)
		case dropped:
			return nil
		}
		if o == nil {
			return u.finish(ctx, pub, streams, g, st, end, many, skipped || inGroup == 0)
		}
		if !pub.State().Wants(moqt.Location{Group: o.Group, Object: o.ID}) {
			skipped = true // the subscriber's filter excludes it
			continue
		}
		onDisk.wait(ctx)
		w := streams[o.Subgroup]
		if w == nil {
			priority := o.Priority
			w, err = pub.OpenSubgroup(ctx, moqt.SubgroupHeader{
				Group: o.Group, Subgroup: o.Subgroup, Priority: &priority, HasProperties: true,
				// Our tracks have one subgroup in a group, whose FIN then says that the group is whole.
				EndOfGroup: o.Subgroup == 0 && !many,
			})
			if errors.Is(err, moqt.ErrNoForward) { // since this moment
				n--
				continue
			}
			if err != nil {
				return u.streamError(ctx, g, err)
			}
			streams[o.Subgroup] = w
		}
		if err := w.WriteObject(o.ID, o.Properties, moqt.ObjectStatus(o.Status), o.Payload); err != nil {
			return u.streamError(ctx, g, err)
		}
	}
}

// finish closes the streams of a group that has ended: with FIN if it is whole, else with a reset. A group of which the
// subscriber wanted only a part counts as sent.
func (u *uploader) finish(ctx context.Context, pub *moqt.Publication, streams map[uint64]*moqt.SubgroupWriter, g *group, st state, end *object.Object, many, skipped bool) error {
	if st == whole {
		if w := streams[end.Subgroup]; w != nil && (many || end.Status == object.EndOfTrack) {
			if err := w.WriteObject(end.ID, nil, moqt.ObjectStatus(end.Status), nil); err != nil {
				return u.streamError(ctx, g, err)
			}
		}
		for id, w := range streams {
			delete(streams, id)
			if err := w.Close(); err != nil {
				return u.streamError(ctx, g, err)
			}
		}
	} else if !skipped {
		u.log.Warn("group is not whole in the input", "track", g.track.name.String(), "group", g.id)
		if err := u.beforeReset(ctx, pub, g); err != nil {
			return err
		}
	}
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	u.s.wasSent(g, u.index)
	return nil
}

// resetPatience is how long the streams of a group without an end stay open for what is on its way.
const resetPatience = 2 * time.Second

// beforeReset waits until the last object of a group has arrived, because a reset takes back what is on its way.
func (u *uploader) beforeReset(ctx context.Context, pub *moqt.Publication, g *group) error {
	u.s.mu.Lock()
	o := g.objects[len(g.objects)-1]
	u.s.mu.Unlock()
	sess, began := client.Over(ctx, pub.Session(), u.relay, u.log), time.Now()
	for pause := 5 * time.Millisecond; time.Since(began) < resetPatience; pause = min(2*pause, 200*time.Millisecond) {
		held, err := heldObject(ctx, sess, g.track.name, moqt.Location{Group: g.id, Object: o.ID})
		if refused, ok := errors.AsType[*moqt.RequestError](err); err != nil && !ok {
			return err
		} else if held != nil || ok && refused.Code == wire.RequestNotSupported || u.takenDown(g.track.name, err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
	return nil
}

// streamError takes a group whose stream was refused as sent, because the relay may have the group already, or another one under
// its name; the session goes on.
func (u *uploader) streamError(ctx context.Context, g *group, err error) error {
	reset, ok := errors.AsType[*moqt.StreamResetError](err)
	if !ok || !reset.Remote {
		return err
	}
	u.log.Debug("relay refused a group", "track", g.track.name.String(), "group", g.id, "code", reset.Code.String())
	u.s.mu.Lock()
	u.s.wasSent(g, u.index)
	u.s.mu.Unlock()
	if reset.Code == wire.ResetMalformedTrack {
		return u.s.conflict(ctx, g)
	}
	return nil
}
