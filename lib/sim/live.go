package sim

import (
	"context"
	"io"
	"os"
	"time"

	"every.channel/ec/lib/ts"
)

// A Feed can be asked for what has been broadcast by a time. Reader and FileReader are feeds.
type Feed interface {
	// Until appends to b what is broadcast before t and not read yet, whole packets, at most as much as
	// fits without growing b.
	Until(b []byte, t time.Time) ([]byte, error)
}

// liveStep is how often a paced reader looks at the clock: the length of its bursts.
const liveStep = 20 * time.Millisecond

// live paces a Feed.
type live struct {
	ctx  context.Context // the reader's life; a Read has no other way to be told
	stop context.CancelCauseFunc
	feed Feed
	now  func() time.Time
	tick *time.Ticker
	buf  []byte
	rest []byte
}

// Live paces a feed by a clock; nil means time.Now. Packets come in bursts of about 20 ms. What a slow
// reader did not take in time is not lost, it gets it as fast as it can. It ends with ctx, with the
// cause, or when it is closed, which may be while a Read waits, with os.ErrClosed.
func Live(ctx context.Context, feed Feed, now func() time.Time) io.ReadCloser {
	if now == nil {
		now = time.Now
	}
	ctx, stop := context.WithCancelCause(ctx)
	return &live{
		ctx: ctx, stop: stop, feed: feed, now: now,
		tick: time.NewTicker(liveStep), buf: make([]byte, 0, 512*ts.PacketSize),
	}
}

// Live receives a program (0: all) from now on in real time.
func (m *Mux) Live(ctx context.Context, program uint16, now func() time.Time) io.ReadCloser {
	if now == nil {
		now = time.Now
	}
	return Live(ctx, m.Reader(now(), time.Time{}, program), now)
}

func (l *live) Read(b []byte) (int, error) {
	for len(l.rest) == 0 {
		if l.ctx.Err() != nil {
			return 0, context.Cause(l.ctx)
		}
		got, err := l.feed.Until(l.buf[:0], l.now())
		if l.rest = got; len(got) > 0 {
			break
		}
		if err != nil {
			return 0, err
		}
		select {
		case <-l.ctx.Done():
		case <-l.tick.C:
		}
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (l *live) Close() error {
	l.stop(os.ErrClosed)
	l.tick.Stop()
	return nil
}
