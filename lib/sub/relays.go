package sub

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
)

const (
	// exitUnreachable is the exit code of failures that another try may overcome.
	exitUnreachable = 69
	// otherPause is the pause before a relay that failed is tried again while another one is read.
	otherPause = 2 * time.Second
	// otherRetry is how long such a relay is tried, if Config.RetryLost does not say.
	otherRetry = 10 * time.Minute
)

// relays are the relays from which tracks are read, all at the same time.
type relays struct {
	c     Config
	out   *output
	pulls []*pull
	end   context.CancelCauseFunc // ends everything

	mu       sync.Mutex // guards what follows
	failed   []error    // by relay: why it was given up; nil: it was not
	sessions map[*client.Session]upSession
	count    int64 // how many sessions there have been
}

// upSession is a session that is up.
type upSession struct {
	ctx   context.Context
	relay int
}

// run reads until all tracks were read, or no relay is left.
func (rs *relays) run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, p := range rs.pulls {
		g.Go(func() error { return p.run(gctx) })
	}
	var keeping sync.WaitGroup
	kctx, stop := context.WithCancel(ctx)
	for i := range rs.c.Relays {
		keeping.Go(func() { rs.keep(kctx, i) })
	}
	err := g.Wait()
	stop()
	keeping.Wait()
	return err
}

// keep reads from one relay until ctx ends or it failed for good.
func (rs *relays) keep(ctx context.Context, i int) {
	c := client.Config{
		Relay: rs.c.Relays[i], Iroh: rs.c.Iroh, Token: rs.c.Token, TLS: rs.c.TLS, Session: moqt.Config{Logger: rs.c.Log, Versions: rs.c.Versions, QLogDir: rs.c.QLogDir, NoRepair: rs.c.NoRepair}, Dial: rs.c.Dial,
		RetryStart: rs.c.RetryStart, RetryLost: rs.c.RetryLost, Log: rs.c.Log,
	}
	for {
		err := client.Run(ctx, c, func(ctx context.Context, sess *client.Session) error { return rs.session(ctx, i, sess) })
		if err == nil || ctx.Err() != nil || rs.fail(i, err) {
			return
		}
		again := exitCode(err) == exitUnreachable
		rs.c.Log.Error("relay failed, reading from the others", "relay", client.Name(c.Relay), "err", err, "again", again)
		if !again {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(otherPause):
		}
		c.RetryStart = cmp.Or(max(rs.c.RetryLost, rs.c.RetryStart), otherRetry)
	}
}

func exitCode(err error) int {
	var coder interface{ ExitCode() int }
	if errors.As(err, &coder) {
		return coder.ExitCode()
	}
	return 1
}

// fail notes that a relay was given up. It reports whether it was the last; that ends everything.
func (rs *relays) fail(i int, err error) bool {
	rs.mu.Lock()
	rs.failed[i] = err
	last := !slices.Contains(rs.failed, nil)
	all := errors.Join(rs.failed...)
	rs.mu.Unlock()
	switch {
	case last && len(rs.c.Relays) == 1:
		rs.end(err)
	case last:
		rs.end(all)
	default:
		for _, p := range rs.pulls {
			if e := p.current(); e != nil {
				e.exhaust(given)
			}
		}
	}
	return last
}

// hopeless reports whether a relay was given up.
func (rs *relays) hopeless(i int) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.failed[i] != nil
}

// session reads all tracks over one session until they were read or it ends.
func (rs *relays) session(ctx context.Context, i int, sess *client.Session) error {
	rs.mu.Lock()
	rs.count++
	rs.sessions[sess] = upSession{ctx, i}
	rs.out.session(rs.count, sess)
	rs.mu.Unlock()
	defer func() {
		rs.mu.Lock()
		delete(rs.sessions, sess)
		rs.out.over(sess)
		rs.mu.Unlock()
	}()
	g, gctx := errgroup.WithContext(ctx)
	var knows atomic.Int32 // the number of tracks that the relay may still turn out to have
	knows.Store(int32(len(rs.pulls)))
	for _, p := range rs.pulls {
		g.Go(func() error {
			for {
				err := p.feeder(gctx, i, sess)
				// If there are several relays, each may have only some of the tracks.
				if _, unknown := errors.AsType[*unknownTrack](err); !unknown || len(rs.c.Relays) == 1 || knows.Add(-1) == 0 {
					return err
				}
				rs.c.Log.Warn("relay does not have a track", "relay", rs.c.Relays[i], "err", err)
				select {
				case <-gctx.Done():
					return context.Cause(gctx)
				case <-time.After(otherPause):
					knows.Add(1)
				}
			}
		})
	}
	return g.Wait()
}

// works notes that the relay of a session has a track.
func (rs *relays) works(sess *client.Session) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if s, ok := rs.sessions[sess]; ok {
		rs.failed[s.relay] = nil
	}
}

// ask puts a question to the relays that are up, one after the other, until one has an answer.
func (rs *relays) ask(ctx context.Context, question func(ctx context.Context, sess *client.Session) (answered bool)) bool {
	rs.mu.Lock()
	up := maps.Clone(rs.sessions)
	rs.mu.Unlock()
	for sess, s := range up {
		actx, cancel := context.WithCancelCause(ctx)
		stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
		answered := question(actx, sess)
		stop()
		cancel(nil)
		if answered || ctx.Err() != nil {
			return answered
		}
	}
	return false
}
