package sub

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt"
)

// counting counts what is logged.
type counting struct {
	slog.Handler
	n atomic.Int32
}

func (c *counting) Handle(context.Context, slog.Record) error {
	c.n.Add(1)
	return nil
}

// TestPausesBetweenChunksAreNoSilence: of chunks that come whole every 10 s, or every minute, nobody is told more than once that nothing comes; when
// they end, somebody is.
func TestPausesBetweenChunksAreNoSilence(t *testing.T) {
	for _, every := range []time.Duration{2 * time.Second, 9 * time.Second, 10 * time.Second, 11 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			l := alone(t, Config{}, moqt.Location{Group: chunk(1000)}, io.Discard)
			told := &counting{Handler: slog.NewTextHandler(io.Discard, nil)}
			l.e.p.log, l.e.p.c.silence = slog.New(told), 5*time.Second
			go l.e.tellSilence(l.ctx)
			for n := range 20 {
				l.put(groups(20+n, 1)...)
				time.Sleep(every)
			}
			before := told.n.Load()
			if before > 1 || every < 5*time.Second && before > 0 {
				t.Errorf("every %v: told %d times", every, before)
			}
			time.Sleep(4 * time.Minute)
			if told.n.Load() != before+1 {
				t.Errorf("every %v: not told of the end", every)
			}
		})
	}
}
