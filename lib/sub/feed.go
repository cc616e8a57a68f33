package sub

import (
	"context"
	"errors"
	"io"
	"math"
	"time"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
)

const (
	// liveGroups is how many groups before the live edge a subscription may begin; earlier groups are fetched first.
	liveGroups = 2
	// resubscribe is the pause before a track that ended is asked for again.
	resubscribe = time.Second
)

// noEnd is a bound that is never reached.
var noEnd = moqt.Location{Group: math.MaxUint64, Object: math.MaxUint64}

// feed brings the past by FETCH, then what comes by SUBSCRIBE.
func (e *epoch) feed(ctx context.Context, sess *client.Session) error {
	for {
		tried, err := e.catchUp(ctx, sess)
		if err != nil {
			return err
		}
		if at, started := e.asm.needed(); started && !maxLocation(at, tried).Less(e.to) {
			return nil
		}
		err = e.live(ctx, sess)
		done, ended := errors.AsType[*moqt.DoneError](err)
		switch {
		case err == nil:
			return nil
		case !ended:
			return err
		case errors.Is(done, io.EOF) && e.p.c.ExitAtEnd:
			return errTrackOver
		}
		e.log.Info("track ended, waiting for it to go on", "err", done)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(resubscribe):
		}
	}
}

// catchUp fetches until the live edge is near. It returns the location up to which this relay was asked. Objects below it that
// the relay lacks are not asked for again.
func (e *epoch) catchUp(ctx context.Context, sess *client.Session) (tried moqt.Location, _ error) {
	for {
		at, started := e.asm.needed()
		if !started || !e.mayFetch() {
			return tried, nil
		}
		at = maxLocation(at, tried)
		info, err := sess.TrackStatus(ctx, e.name)
		if err != nil {
			if r, ok := errors.AsType[*moqt.RequestError](err); ok && r.Code == wire.RequestNotSupported {
				return tried, nil
			}
			return tried, refused(e.written, err)
		}
		e.p.rs.works(sess)
		if info.Largest == nil {
			return tried, nil
		}
		edge := moqt.Location{Group: info.Largest.Group, Object: info.Largest.Object + 1}
		last := e.to
		if edge.Less(last) {
			last = edge
		}
		past := info.Largest.Group > at.Group+e.ids.of(liveGroups) || !edge.Less(e.to)
		if !past || !at.Less(last) {
			return tried, nil
		}
		if err := e.fetch(ctx, sess, at, last, fetched); err != nil {
			return tried, err
		}
		tried = last
	}
}

// mayFetch reports whether a FETCH of several groups, from the due one on, brings only groups that are to be written or were
// written.
func (e *epoch) mayFetch() bool {
	back, all := e.asm.isBack()
	return !back || all
}

func maxLocation(a, b moqt.Location) moqt.Location {
	if a.Less(b) {
		return b
	}
	return a
}
