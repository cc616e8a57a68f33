package tune

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"every.channel/ec/lib/hdhr"
)

// startStatus shows a status line once a second until stop is called.
func (r *receiver) startStatus(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		start, last, lastBytes := time.Now(), time.Now(), int64(0)
		signal := ""
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			c := r.tap.snapshot()
			if n%2 == 0 {
				signal = ""
				if t, ok := askSignal(ctx, c); ok {
					signal = fmt.Sprintf("ss %d%% snq %d%%", t.Strength, t.Quality)
				}
			}
			now, bytes := time.Now(), r.tap.bytes.Load()
			mbit := float64(bytes-lastBytes) * 8 / 1e6 / now.Sub(last).Seconds()
			last, lastBytes = now, bytes
			r.cfg.Status(r.statusLine(c, signal, mbit, now.Sub(start)))
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// askSignal asks the tuner how well it receives; ok is false where there is none, and where it does not say.
func askSignal(ctx context.Context, c connection) (t hdhr.TunerInfo, ok bool) {
	if c.signal == nil {
		return t, false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return c.signal(ctx)
}

func (r *receiver) statusLine(c connection, signal string, mbit float64, up time.Duration) string {
	parts := []string{strings.TrimSpace(r.cfg.Address.String() + " " + c.name)}
	if signal != "" {
		parts = append(parts, signal)
	}
	parts = append(parts, fmt.Sprintf("%.2f Mbit/s", mbit),
		fmt.Sprintf("lost %d TEI %d", r.tap.lost.Load()+r.tap.pastLost.Load(), r.tap.tei.Load()+r.tap.pastTEI.Load()))
	if c.report != nil {
		if l := c.report(); l.datagrams > 0 {
			parts = append(parts, fmt.Sprintf("datagrams lost %d", l.datagrams))
		}
	}
	if n := r.tap.gaps.Load(); n > 0 {
		parts = append(parts, fmt.Sprintf("gaps %d", n))
	}
	up = up.Round(time.Second)
	parts = append(parts, fmt.Sprintf("%d:%02d:%02d", int(up.Hours()), int(up.Minutes())%60, int(up.Seconds())%60))
	return strings.Join(parts, "  ")
}

// summary logs what a live source brought in all. A reader that has enough, as in "| head", is not told.
func (r *receiver) summary(err error) {
	if !r.src.live() || r.lastData.IsZero() || errors.Is(err, syscall.EPIPE) {
		return
	}
	attrs := []any{"source", r.cfg.Address.String(), "bytes", r.written, "seconds", r.lastData.Sub(r.firstData).Round(time.Second).Seconds()}
	if r.tap != nil {
		attrs = append(attrs, "lost", r.tap.lost.Load()+r.tap.pastLost.Load(), "tei", r.tap.tei.Load()+r.tap.pastTEI.Load(), "gaps", r.tap.gaps.Load())
	}
	r.cfg.Log.Info("received", attrs...)
}
