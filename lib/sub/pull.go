package sub

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/object"
)

// pull reads what one name stands for, from as many relays and over as many sessions as it takes: one epoch after the other.
type pull struct {
	c       Config
	rs      *relays
	out     *output
	log     *slog.Logger
	written string           // the name as given
	name    object.TrackName // the same
	named   bool             // name has a track; otherwise it is a namespace
	ctx     context.Context  // what epochs' contexts are made of: they outlive the session over which they are resolved
	asking  context.Context  // ends when there is an epoch, so that nobody need be asked any more what the name means
	answer  context.CancelFunc

	mu  sync.Mutex // guards what follows
	now *epoch     // nil: nobody knows yet what to read

	meter meter // run's
}

func newPull(ctx context.Context, rs *relays, written string, name object.TrackName, named bool) *pull {
	p := &pull{c: rs.c, rs: rs, out: rs.out, log: rs.c.Log, written: written, name: name, named: named, ctx: ctx}
	p.asking, p.answer = context.WithCancel(ctx)
	return p
}

// current is the epoch that is being read, nil before the first.
func (p *pull) current() *epoch {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// begin makes an epoch the first one, unless there is one, and returns which it is.
func (p *pull) begin(e *epoch) *epoch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now != nil {
		e.leave()
		return p.now
	}
	p.now = e
	p.answer()
	return e
}

// succeed makes an epoch current in place of the one before, whose feeders go on with it. nil: reading is over.
func (p *pull) succeed(before, e *epoch) {
	before.leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	if e != nil {
		p.now = e
	}
	before.next = e
	close(before.followed)
}

// follower waits for what is read after an epoch; nil if nothing is.
func (e *epoch) follower(ctx context.Context) *epoch {
	select {
	case <-e.followed:
		return e.next
	case <-ctx.Done():
		return nil
	}
}

// errTrackOver says that the track ended and Config.ExitAtEnd wants to know.
var errTrackOver = errors.New("track ended")

// run writes what the name stands for until nothing is left to read.
func (p *pull) run(ctx context.Context) error {
	select {
	case <-p.asking.Done():
	case <-ctx.Done():
	}
	e := p.current()
	if e == nil { // asking ended with what ctx is made of
		<-ctx.Done()
		return context.Cause(ctx)
	}
	for {
		err := p.read(ctx, e)
		var next *epoch
		if m, ok := errors.AsType[*moved](err); ok {
			next, err = p.move(ctx, e, m.to)
		}
		p.succeed(e, next)
		switch {
		case next != nil:
			e = next
		case errors.Is(err, errDone):
			return nil
		default:
			return err
		}
	}
}

// read writes an epoch's objects. It returns errDone when enough was written, and a *moved when the broadcast goes on elsewhere.
func (p *pull) read(ctx context.Context, e *epoch) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		r := reader{e: e, c: p.c, out: p.out, meter: &p.meter}
		if err := r.run(ctx); err != nil {
			return err
		}
		return errDone
	})
	if e.follow {
		g.Go(func() error { return e.watch(ctx) })
	}
	return g.Wait()
}

// feeder brings what a relay has over one session, epoch after epoch. nil means that nothing is left to read.
func (p *pull) feeder(ctx context.Context, relay int, sess *client.Session) error {
	e, err := p.resolve(ctx, sess)
	if err != nil {
		return err
	}
	for e != nil {
		err := e.feedFrom(ctx, relay, sess)
		if ctx.Err() == nil && e.ctx.Err() == nil {
			return err
		}
		if ctx.Err() == nil {
			e = e.follower(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}
