package sub

import (
	"context"
	"time"
)

// longestChunk is the most that ec-chop takes as the length of a chunk. A chunk may come all at once when it is over.
const longestChunk = time.Minute

// tellSilence logs that nothing of a broadcast comes, once in each silence, because who watches sees only that there is no picture. Pauses after
// which a broadcast has gone on, such as those between long chunks, are no silence.
func (e *epoch) tellSilence(ctx context.Context) error {
	if e.kind() != media {
		return nil // other tracks may have nothing new for minutes
	}
	silence := e.p.c.silence
	enough, told, was := silence, false, time.Duration(0)
	for {
		idle := e.asm.idle()
		if idle < was { // something came
			told = false
			if silence <= was && was <= longestChunk {
				enough = max(enough, 3*was) // the pause went on after the look, for less than silence
			}
		}
		was = idle
		if idle >= enough && !told && e.fed() && e.asm.empty() {
			told = true
			e.p.log.Warn("nothing comes, waiting: perhaps nobody publishes it now", "track", e.name.String(), "for", idle.Round(time.Second),
				"hint", "--from first or --from -5m reads what was on, --idle TIME waits no longer than that")
		}
		wait := silence - idle
		if wait <= 0 {
			wait = silence
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
