package sub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
)

// maxMoves is how often relays may move a subscription before the session is begun anew, which takes time.
const maxMoves = 16

// liveReader reads the live objects of a track, by one subscription after another if relays want it at another place.
type liveReader struct {
	e    *epoch
	g    *errgroup.Group
	ctx  context.Context
	sess *client.Session // move's, once that runs

	mu  sync.Mutex
	sub *moqt.Subscription // the current one
}

// subscribe begins a subscription and fetches the objects between the due location and its beginning. The subscription before it
// ends.
func (l *liveReader) subscribe(sess *client.Session) error {
	e := l.e
	o := moqt.SubscribeOptions{GroupOrder: wire.GroupOrderAscending}
	if _, started := e.asm.needed(); !started {
		o.Fill = 1 // the group in progress, which begins the output
	}
	sub, err := sess.Subscribe(l.ctx, e.name, o)
	if err != nil {
		return refused(e.written, err)
	}
	l.mu.Lock()
	old := l.sub
	l.sub = sub
	l.mu.Unlock()
	l.sess = sess
	if old != nil {
		old.Unsubscribe()
	}
	fill := sub.Fill()
	if err := e.declare(sub.Info().Properties); err != nil {
		sub.Unsubscribe()
		if fill != nil {
			fill.Cancel()
		}
		return err
	}
	var reading sync.WaitGroup // the subscription is over once its streams were read
	begin := func(f func() error) {
		reading.Add(1)
		l.g.Go(func() error { defer reading.Done(); return f() })
	}
	if largest := sub.Info().Largest; largest != nil {
		e.asm.start(moqt.Location{Group: largest.Group})
		at, _ := e.asm.needed()
		edge := moqt.Location{Group: largest.Group, Object: largest.Object + 1}
		due := at.Less(edge) && e.mayFetch()
		fills := fill != nil && due && at.Group == largest.Group
		switch {
		case fills:
			begin(func() error { return e.fill(l.ctx, sess, fill, at, edge) })
		case due:
			begin(func() error { return e.fetch(l.ctx, sess, at, edge, fetched) })
		}
		if fill != nil && !fills {
			fill.Cancel()
		}
	}
	l.g.Go(func() error {
		for {
			r, err := sub.AcceptSubgroup(l.ctx)
			if err != nil {
				reading.Wait()
				if l.current() != sub {
					return nil // another subscription goes on
				}
				return err
			}
			e.asm.opened(r.Header().Group) // in the order in which they came
			begin(func() error { return e.subgroup(l.ctx, r) })
		}
	})
	l.g.Go(func() error { return e.datagrams(l.ctx, sub) })
	return nil
}

func (l *liveReader) current() *moqt.Subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sub
}

func (l *liveReader) unsubscribe() {
	if sub := l.current(); sub != nil {
		sub.Unsubscribe()
	}
}

// move makes the subscription at another place when its publisher wants that: first there, and then it ends the one here. If that
// fails, the one here stays until the publisher ends it.
func (l *liveReader) move() error {
	for moves := 1; ; moves++ {
		sub := l.current()
		select {
		case <-sub.GoingAway():
		case <-sub.Context().Done():
			return nil
		case <-l.ctx.Done():
			return nil
		}
		if moves > maxMoves {
			return fmt.Errorf("sent elsewhere %d times: %w", maxMoves, client.ErrAgain)
		}
		to, err := l.sess.Move(l.ctx, sub)
		if err == nil && to.Session == sub.Session() { // a session has one subscription to a track at most
			l.mu.Lock()
			l.sub = nil
			l.mu.Unlock()
			sub.Unsubscribe()
			if err := l.anew(to); err != nil {
				return err
			}
			continue
		}
		if err == nil {
			err = l.subscribe(to)
		}
		if err != nil {
			if l.ctx.Err() == nil {
				l.e.log.Warn("the relay wants the track read elsewhere, which fails", "err", err)
			}
			return nil
		}
	}
}

// anew subscribes again on the session on which a subscription has just ended: the relay may not have seen that end yet.
func (l *liveReader) anew(sess *client.Session) error {
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		err := l.subscribe(sess)
		r, ok := errors.AsType[*moqt.RequestError](err)
		if !ok || r.Code != wire.RequestDuplicateSubscription || pause > time.Second {
			return err
		}
		select {
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		case <-time.After(pause):
		}
	}
}
