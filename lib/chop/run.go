package chop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ts"
)

// ahead is how many parts the cutter may be ahead of the one that hashes and writes.
const ahead = 16

// Run reads a transport stream from r until its end and writes its objects to sink. When ctx is cancelled it
// ends as at the end of input: what was accepted is written.
//
// Cutting and hashing run side by side; the sink is used by one goroutine.
func Run(ctx context.Context, cfg Config, r io.Reader, sink Sink) (Stats, error) {
	if err := cfg.setDefaults(); err != nil {
		return Stats{}, err
	}
	c := newCutter(&cfg)
	if cfg.Clock == ClockFile {
		c.file = &clockFile{path: cfg.ClockFile}
		defer c.file.close()
		if err := c.file.wait(ctx, cfg.Log); err != nil {
			return Stats{}, err
		}
	}
	out := make(chan delivery, ahead)
	var g errgroup.Group
	stopped := make(chan struct{}) // closed when the sink failed
	var emitted Stats
	g.Go(func() error {
		defer close(stopped)
		e := newEmitter(&cfg, sink, &emitted, c.free)
		var tick <-chan time.Time // of the health track; nil: there is none
		if c.health != nil {
			t := time.NewTicker(healthWall / 10)
			defer t.Stop()
			tick = t.C
		}
		for {
			select {
			case d, more := <-out:
				if !more {
					return errors.Join(e.lastHealth(c.health), e.finish())
				}
				if e.source == nil {
					e.setSource(cfg.sourceID(&d.chunk), d.chunk.layout.program)
				}
				if err := e.deliver(d); err != nil {
					return err
				}
			case now := <-tick:
				if err := e.idle(c.health, now); err != nil {
					return err
				}
			}
		}
	})
	g.Go(func() error {
		defer close(out)
		failed := false
		c.out = func(d delivery) {
			select {
			case out <- d:
			case <-stopped:
				failed = true
			}
		}
		w := &watch{log: cfg.Log, encoded: cfg.Rendition != ""}
		watching, stop := context.WithCancel(ctx)
		var watcher sync.WaitGroup
		watcher.Go(func() { w.run(watching) })
		defer watcher.Wait()
		defer stop()
		tr := ts.NewReader(r)
		if f, ok := r.(interface{ Regular() bool }); ok && f.Regular() { // reading then overlaps with cutting
			defer tr.ReadAhead()()
		}
		for !failed && ctx.Err() == nil {
			err := c.next(tr)
			w.look(c)
			if err == io.EOF {
				break
			} else if err != nil {
				return errors.Join(err, c.flush())
			}
		}
		if n := tr.Truncated(); n > 0 {
			cfg.Log.Warn("input ends inside a packet", "bytes", n)
		}
		return c.finish()
	})
	err := g.Wait()
	emitted.Packets, emitted.Leading = c.stats.Packets, c.stats.Leading
	return emitted, err
}

func newCutter(cfg *Config) *cutter {
	c := &cutter{cfg: cfg, grid: clock.Grid(clock.TicksOf(cfg.Duration)), partD: clock.TicksOf(cfg.Part), held: -1, free: new(pool)}
	c.prog.init(cfg)
	c.cont.Lend()
	if cfg.Meter != nil {
		c.health = &health{meter: cfg.Meter}
	}
	return c
}

// next takes the next run of packets.
func (c *cutter) next(tr *ts.Reader) error {
	run, stride, err := tr.NextRun()
	var lost *ts.SyncError
	if errors.As(err, &lost) {
		c.cfg.Log.Warn("lost sync", "offset", lost.Offset, "skipped", lost.Skipped)
		c.health.lost(lost, tr.Stride())
		c.unreadable(lost.Skipped)
		return nil
	}
	if err != nil {
		return err
	}
	return c.packets(run, stride)
}

// flush hands on what was accepted before an error.
func (c *cutter) flush() error {
	err := c.finish()
	var in *InputError
	if errors.As(err, &in) {
		return nil // the error that led here says more
	}
	return err
}

// sourceID is the configured source, or one that tells this receiver and this join from every other: host,
// transport stream and where in it the first chunk starts. The same input gives the same id.
func (c *Config) sourceID(first *chunkInfo) string {
	if c.Source != "" {
		return c.Source
	}
	head := make([]byte, first.layout.head())
	first.layout.tables(head, first.layout.patTSID, 0)
	h := object.Sum(fmt.Appendf(nil, "%d %x", first.start, head))
	return fmt.Sprintf("%s_%s", c.Host, h.String()[:8])
}
