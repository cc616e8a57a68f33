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
	"every.channel/ec/lib/object"
)

// confirm asks the relay for the last object of each group that may be on its way. QUIC's acknowledgements do not reach this
// package, and would not say that the object was stored.
func (u *uploader) confirm(ctx context.Context, sess *client.Session) error {
	type sent struct {
		passed
		*group           // nil: it is not in the spool any more
		left   *leftover // of which it is noted that it arrived; or nil
		unsure bool      // it may have been refused
	}
	u.s.mu.Lock()
	var todo []sent
	for _, l := range u.s.passed {
		todo = append(todo, sent{passed: l})
	}
	for _, l := range slices.Backward(u.s.left) {
		if l.relay == u.index && !l.arrived {
			todo = append(todo, sent{passed: l.passed, left: l})
		}
	}
	for _, g := range u.s.groups {
		_, refused := u.s.conflicts.refused[key{g.track.name.String(), g.id}]
		if at, ok := g.last(); ok && g.promised() && !refused && !slices.Contains(u.s.conflicts.late, g) {
			todo = append(todo, sent{passed: passed{track: g.track.name, at: at, unwanted: g.unwanted}, group: g})
		}
	}
	for i, l := range todo {
		todo[i].unsure = l.passed.unwanted != nil && l.passed.unwanted[u.index]
	}
	u.s.mu.Unlock()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(confirmAtOnce)
	soon, cancel := context.WithTimeout(gctx, resetPatience)
	defer cancel()
	for _, l := range todo {
		g.Go(func() error {
			actx := gctx
			if l.unsure {
				actx = soon
			}
			other, err := u.awaitGroup(actx, u.at(sess, l.passed.track), l.passed.track, l.at, l.group)
			switch {
			case err != nil && l.unsure && soon.Err() != nil && gctx.Err() == nil:
				return nil // the relay does not want it
			case errors.Is(err, errTakenDown):
				u.s.arrived(l.group, l.left, u.index) // and never will
				err = nil
			case err == nil && other:
				err = u.s.conflict(gctx, l.group)
			case err == nil:
				u.s.arrived(l.group, l.left, u.index)
			}
			return err
		})
	}
	err := g.Wait()
	if errors.Is(err, errNoFetch) {
		u.log.Debug("relay serves no FETCH: delivery is not confirmed")
		return linger(ctx)
	}
	return err
}

// confirmAtOnce is how many groups are asked for at a time, so that many small groups do not take a round trip each.
const confirmAtOnce = 32

var errNoFetch = errors.New("no FETCH")

// errTakenDown: the relay does not say whether it has a group, because its operator took the group down or this publisher may not ask. So there is
// nothing to wait for, and nothing is sent again.
var errTakenDown = errors.New("the relay does not tell of it")

// takenDown reports whether the answer to a FETCH says so, which is logged once for each track and session.
func (u *uploader) takenDown(t object.TrackName, err error) bool {
	refused, ok := errors.AsType[*moqt.RequestError](err)
	if !ok || refused.Code != wire.RequestUnauthorized {
		return false
	}
	u.mu.Lock()
	said := u.down[t.String()]
	u.down[t.String()] = true
	u.mu.Unlock()
	if !said {
		u.log.Warn("what was sent is not served at the relay", "track", t.String(), "why", refused.Reason)
	}
	return true
}

// awaitGroup asks until the relay has the last object of a group. other: the relay holds another group than g under that name; a
// nil g is not compared.
func (u *uploader) awaitGroup(ctx context.Context, sess *client.Session, t object.TrackName, at moqt.Location, g *group) (other bool, _ error) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		o, err := heldObject(ctx, sess, t, at)
		if refused, ok := errors.AsType[*moqt.RequestError](err); ok && refused.Code == wire.RequestNotSupported {
			return false, errNoFetch
		} else if u.takenDown(t, err) {
			return false, errTakenDown
		} else if err != nil && !ok {
			return false, err
		}
		switch {
		case o == nil:
		case g == nil:
			return false, nil
		case !g.holds(at.Object, o.Properties):
			return true, nil
		default: // most groups that differ do so from the first part on
			first := g.objects[0].ID
			o, err := heldObject(ctx, sess, t, moqt.Location{Group: at.Group, Object: first})
			return err == nil && o != nil && !g.holds(first, o.Properties), nil
		}
		if pause > 50*time.Millisecond && g != nil { // it takes long
			if other, err := differs(ctx, sess, t, g, at); other || err != nil && errors.Is(err, moqt.ErrClosed) {
				return other, err
			}
			u.s.mu.Lock()
			_, refused := u.s.conflicts.refused[key{t.String(), at.Group}]
			u.s.mu.Unlock()
			if refused {
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

// linger gives the transport time to deliver the last bytes, where no answer tells when they have arrived.
func linger(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(2 * time.Second):
		return nil
	}
}

// heldObject asks the relay for an object; nil: the relay does not have it.
func heldObject(ctx context.Context, sess *client.Session, t object.TrackName, at moqt.Location) (*moqt.FetchObject, error) {
	r, err := sess.Fetch(ctx, t, at, moqt.Location{Group: at.Group, Object: at.Object + 1}, moqt.FetchOptions{})
	if err != nil {
		return nil, err
	}
	defer r.Cancel()
	for {
		o, err := r.Next()
		if err != nil {
			return nil, nil // the relay does not have it yet, or the session has ended and the next request tells that
		}
		if o.Kind == moqt.FetchedObject && o.Group == at.Group && o.ID == at.Object {
			return &o, nil
		}
	}
}
