package sub

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// track is one that relays are asked about.
type track struct {
	written string // the name as given, of the track or its namespace
	name    object.TrackName
	ids     ids
	log     *slog.Logger // says which track
}

// epoch is one track as it is read: from its beginning, which a relay told, until the broadcast goes on under another track or
// reading ends. Feeders, one for each session, put what comes into the assembler; one reader takes it out. The first fields never
// change, so nobody who has an epoch needs a lock for them.
type epoch struct {
	track
	p      *pull
	follow bool          // another track may become the current one of the namespace
	to     moqt.Location // exclusive
	asm    *assembler
	ctx    context.Context // the epoch's, which no caller's context is: feeders come from many sessions
	leave  context.CancelFunc

	feeders  sync.WaitGroup // Add is called under mu and never once ended is set
	followed chan struct{}  // closed when it is known what follows
	next     *epoch         // is read once followed is closed; nil: nothing

	declaring sync.Once // not mu, because the output may be slow
	declared  atomic.Bool

	mu        sync.Mutex // guards what follows; relays.mu may be taken under it
	ended     bool
	feeding   int          // feeders that are there
	exhausted map[int]bool // relays that will bring nothing more
}

// feedFrom brings what a relay has over one session. When that is all, it stays: the reader may need the session to fetch
// what is missing. It returns when the epoch or ctx ends, or the session fails.
func (e *epoch) feedFrom(ctx context.Context, relay int, sess *client.Session) error {
	if !e.join() {
		return nil
	}
	defer e.part()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	if err := e.feed(ctx, sess); err != nil && !errors.Is(err, errTrackOver) {
		return err
	}
	e.exhaust(relay)
	<-ctx.Done()
	return context.Cause(ctx)
}

// join counts a feeder that begins, if the epoch did not end.
func (e *epoch) join() bool {
	e.asm.touch() // before it is counted, or the time since something came would count against it
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return false
	}
	e.feeders.Add(1)
	e.feeding++
	return true
}

func (e *epoch) part() {
	e.mu.Lock()
	e.feeding--
	e.mu.Unlock()
	e.feeders.Done()
}

// end makes the feeders leave and waits until they did. None comes after that.
func (e *epoch) end() {
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	e.leave()
	e.feeders.Wait()
}

// fed reports whether a relay is there that could bring something.
func (e *epoch) fed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.feeding > 0
}

// given is the relay of which exhaust knows only that some relay was given up.
const given = -1

// exhaust notes that a relay brought all it will ever bring, or that one was given up. When that is all of them the reader is
// told.
func (e *epoch) exhaust(relay int) {
	e.mu.Lock()
	if relay != given {
		e.exhausted[relay] = true
	}
	all := len(e.exhausted) > 0
	for i := range e.p.c.Relays {
		all = all && (e.exhausted[i] || e.p.rs.hopeless(i))
	}
	e.mu.Unlock()
	if all {
		e.asm.finish()
	}
}

// someExhausted reports whether a relay brought all it will ever bring.
func (e *epoch) someExhausted() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.exhausted) > 0
}

// declare writes the track's record, once. It returns when that is written, whoever does it: objects come after it.
func (e *epoch) declare(properties []byte) (err error) {
	e.declaring.Do(func() {
		err = e.p.out.track(e.name, properties)
		e.declared.Store(true)
	})
	return err
}
