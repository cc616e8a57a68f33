package pub

import (
	"context"
	"errors"
	"time"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// A relay may want a track or a namespace to be published at another place; it says so with GOAWAY on the stream of the request.
// The track is published at the new place first, and then ends at the old one. Its whole spool is sent again, because it is not
// known which objects were stored. So nothing is missing, and relays recognize what they have.

// errElsewhere says that a track is now published at another place.
var errElsewhere = errors.New("published elsewhere")

// at returns the session over which a track is published.
func (u *uploader) at(sess *client.Session, name object.TrackName) *client.Session {
	u.mu.Lock()
	defer u.mu.Unlock()
	if where := u.where[name.String()]; where != nil {
		return where
	}
	return sess
}

// sendAnywhere sends a track to the subscriber that took it, and then wherever the relay wants it published. It returns the last
// publication; without an error that one goes on.
func (u *uploader) sendAnywhere(ctx context.Context, sess *client.Session, pub *moqt.Publication, t *track) (*moqt.Publication, error) {
	for {
		sctx, cancel := context.WithCancelCause(ctx)
		result := make(chan error, 1)
		go func(pub *moqt.Publication) { result <- u.send(sctx, pub, t) }(pub)
		var next *moqt.Publication
		var err error
		select {
		case err = <-result:
			cancel(nil)
			return pub, err
		case <-pub.GoingAway():
			next, err = u.moveTrack(ctx, sess, pub, t)
		}
		if err != nil { // the track stays here until the relay ends it
			if ctx.Err() == nil {
				u.log.Warn("the relay wants a track published elsewhere, which fails", "track", t.name.String(), "err", err)
			}
			err = <-result
			cancel(nil)
			return pub, err
		}
		cancel(errElsewhere)
		<-result
		if ctx.Err() != nil {
			return next, context.Cause(ctx)
		}
		pub.Done(wire.DoneGoingAway, "published elsewhere")
		u.s.mu.Lock()
		for _, g := range t.groups {
			g.sent[u.index] = t.rests // it is not known whether the group is stored there
		}
		u.s.mu.Unlock()
		pub = next
	}
}

// moveTrack publishes a track at the place that the relay named.
func (u *uploader) moveTrack(ctx context.Context, sess *client.Session, pub *moqt.Publication, t *track) (*moqt.Publication, error) {
	to, err := u.at(sess, t.name).Move(ctx, pub)
	if err != nil {
		return nil, err
	}
	if to.Session == pub.Session() { // a session has one subscription to a track at most
		pub.Done(wire.DoneGoingAway, "published anew")
	}
	next, err := u.publishAnew(ctx, to, t)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	u.where[t.name.String()] = to
	u.mu.Unlock()
	return next, nil
}

// publishAnew publishes a track again. The relay may not have seen yet that it ended, because that came on another stream.
func (u *uploader) publishAnew(ctx context.Context, to *client.Session, t *track) (*moqt.Publication, error) {
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		pub, err := u.offer(ctx, to, t)
		r, ok := errors.AsType[*moqt.RequestError](err)
		if !ok || r.Code != wire.RequestDuplicateSubscription || pause > time.Second {
			return pub, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// moveNamespace publishes a namespace wherever the relay wants it, until ctx ends.
func (u *uploader) moveNamespace(ctx context.Context, sess *client.Session, p *moqt.NamespacePublication) {
	for {
		select {
		case <-p.GoingAway():
		case <-p.Context().Done():
			return
		case <-ctx.Done():
			return
		}
		to, err := sess.Move(ctx, p)
		if err == nil && to.Session == p.Session() {
			p.Done()
		}
		var next *moqt.NamespacePublication
		if err == nil {
			next, err = announce(ctx, to, p.Namespace())
		}
		if err != nil || next == nil {
			if ctx.Err() == nil {
				u.log.Warn("the relay wants a namespace published elsewhere, which fails", "namespace", p.Namespace().String(), "err", err)
			}
			return
		}
		p.Done()
		p = next
	}
}
