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

// track is a track that relays are asked about.
type track struct {
	written string // the name as given, of the track or its namespace
	name    object.TrackName
	ids     ids
	log     *slog.Logger // names the track in each line
}

// epoch is one track as it is read: from a beginning that a relay told, until the broadcast goes on under another track or
// reading ends. Feeders, one for each session, put objects into the assembler; one reader takes them out. The fields above mu
// never change, so no lock is needed to read them.
type epoch struct {
	track
	p       *pull
	follow  bool           // if the broadcast goes on under another track, reading goes on there
	to      moqt.Location  // exclusive
	asked   *moqt.Location // nil, or the place from which on everything was asked for
	nearest bool           // what is missing at the edges was not asked for
	asm     *assembler
	ctx     context.Context // the context of the epoch and not of any caller, because feeders come from many sessions
	leave   context.CancelFunc

	feeders  sync.WaitGroup // Add is called with mu held, and never after ended was set
	followed chan struct{}  // closed when it is known which epoch follows
	next     *epoch         // the epoch that follows; valid once followed is closed; nil: none

	declaring sync.Once // a lock other than mu, because the output may be slow
	declared  atomic.Bool

	mu        sync.Mutex // guards what follows; relays.mu may be taken under it
	ended     bool
	feeding   int          // feeders at work
	exhausted map[int]bool // relays that will bring nothing more
}

// feedFrom brings the objects that a relay has, over one session. When it has brought all of them it stays, because the reader
// may need the session to fetch missing objects. It returns when the epoch or ctx ends, or the session fails.
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

// join counts a feeder that begins, and returns false if the epoch has ended.
func (e *epoch) join() bool {
	e.asm.touch() // before the feeder is counted: with a feeder at work, the time since the last object counts
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

// end makes the feeders leave, and waits until they have left. No feeder joins after that.
func (e *epoch) end() {
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	e.leave()
	e.feeders.Wait()
}

// fed reports whether a feeder is at work that could bring something.
func (e *epoch) fed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.feeding > 0
}

// given stands for a relay in exhaust when it is only known that some relay was given up.
const given = -1

// exhaust notes that a relay has brought everything it will ever bring, or was given up. When that holds for all relays, the
// reader is told.
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

// someExhausted reports whether some relay has brought everything it will ever bring.
func (e *epoch) someExhausted() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.exhausted) > 0
}

// declare writes the track's record, once. It returns when the record is written, even if another goroutine writes it, because
// objects must come after it.
func (e *epoch) declare(properties []byte) (err error) {
	e.declaring.Do(func() {
		err = e.p.out.track(e.name, properties)
		e.declared.Store(true)
	})
	return err
}
