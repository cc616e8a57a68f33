package sub

import (
	"context"
	"time"
)

// tellSilence logs that nothing of a broadcast comes, once in each silence, because who watches sees only that there is no picture.
func (e *epoch) tellSilence(ctx context.Context) error {
	if e.kind() != media {
		return nil // other tracks may have nothing new for minutes
	}
	for told := false; ; {
		idle := e.asm.idle()
		switch {
		case idle < e.p.c.silence:
			told = false
		case !told && e.fed() && e.asm.empty():
			told = true
			e.p.log.Warn("nothing comes, waiting: perhaps nobody publishes it now", "track", e.name.String(), "for", idle.Round(time.Second),
				"hint", "--from first or --from -5m reads what was on, --idle TIME waits no longer than that")
		}
		wait := e.p.c.silence - idle
		if wait <= 0 {
			wait = e.p.c.silence
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// empty reports whether nothing waits for the reader.
func (a *assembler) empty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bytes == 0
}
