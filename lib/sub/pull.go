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

// pull reads the track that one name stands for, from as many relays and over as many sessions as it takes: one epoch after
// another.
type pull struct {
	c       Config
	rs      *relays
	out     *output
	log     *slog.Logger
	written string           // the name as given
	name    object.TrackName // the name, parsed; empty: it is only what receivers call a channel
	named   bool             // name has a track; otherwise it is a namespace or a label
	ctx     context.Context  // the parent of the contexts of epochs, which outlive the session over which a name is resolved
	asking  context.Context  // ends when there is an epoch, so that no relay is asked any more what the name means
	answer  context.CancelFunc

	mu  sync.Mutex // guards what follows
	now *epoch     // nil: it is not known yet what to read
	// missing names what is missing, unnamed counts the rest.
	missing []string
	unnamed int
	wrote   bool // an object came
	nothing bool // none came, although it was read to the end

	meter meter // run's
}

func newPull(ctx context.Context, rs *relays, written string, name object.TrackName, named bool) *pull {
	p := &pull{c: rs.c, rs: rs, out: rs.out, log: rs.c.Log, written: written, name: name, named: named, ctx: ctx}
	p.asking, p.answer = context.WithCancel(ctx)
	return p
}

// current returns the epoch that is being read; nil before the first.
func (p *pull) current() *epoch {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// begin makes an epoch the first one, unless there is one already, and returns the first one.
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

// succeed makes an epoch the current one after another, whose feeders then go on with it. nil: reading is over.
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

// follower waits for the epoch that follows; nil if none does.
func (e *epoch) follower(ctx context.Context) *epoch {
	select {
	case <-e.followed:
		return e.next
	case <-ctx.Done():
		return nil
	}
}

// errTrackOver says that the track ended and that Config.ExitAtEnd ends reading with it.
var errTrackOver = errors.New("track ended")

// run writes the objects of the name's track until nothing is left to read.
func (p *pull) run(ctx context.Context) error {
	select {
	case <-p.asking.Done():
	case <-ctx.Done():
	}
	e := p.current()
	if e == nil { // no epoch came because ctx ended
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

// read writes an epoch's objects. It returns errDone when enough was written, and a *moved when the broadcast goes on under
// another track.
func (p *pull) read(ctx context.Context, e *epoch) error {
	g, gctx := errgroup.WithContext(ctx)
	r := reader{e: e, c: p.c, out: p.out, meter: &p.meter}
	g.Go(func() error {
		if err := r.run(gctx); err != nil {
			return err
		}
		return errDone
	})
	if e.follow {
		g.Go(func() error { return e.watch(gctx) })
	}
	g.Go(func() error { return e.tellSilence(gctx) })
	err := g.Wait()
	if _, on := errors.AsType[*moved](err); on || errors.Is(err, errDone) {
		p.account(ctx, &r)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrote = p.wrote || r.wrote
	p.nothing = !p.wrote && e.kind() == media && errors.Is(err, errDone)
	return err
}

// feeder brings the objects that a relay has over one session, epoch after epoch. It returns nil when nothing is left to read.
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
