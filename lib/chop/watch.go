package chop

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// silent is how long a live input may give no output before a message says why: short enough for the message to be there within 5
// s.
const silent = 4 * time.Second

// starting is how long an encoder before ec-chop may take for its first bytes: ffmpeg looks at a broadcast for 5 s before it
// writes.
const starting = 12 * time.Second

// watch tells people why an input gives no output: within 5 s, and again when the reason changes.
type watch struct {
	log     *slog.Logger
	encoded bool // the input comes from an encoder

	mu     sync.Mutex
	read   int64 // packets
	cut    int64 // parts
	reason string

	looked    time.Time // the fields below belong to the cutter
	scrambled int64
	heard     int64
	age       clock.Ticks27 // how long the chunk lasts that is being received
	longest   clock.Ticks27 // of the chunks before
}

// look takes a look at the cutter.
func (w *watch) look(c *cutter) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read = c.stats.Packets
	switch cut := c.cutParts; {
	case c.awaitsTOT():
		w.reason = awaitsTOT
	case w.endless(c):
		w.reason = fmt.Sprintf("program %d has no random access point on PID %d, with which the next chunk could begin", c.prog.number, c.prog.cutPID)
	case cut != w.cut:
		w.cut, w.reason = cut, ""
	default:
		w.reason = w.why(c)
	}
	if now.Sub(w.looked) >= time.Second { // only what was heard since then counts
		w.looked, w.scrambled, w.heard = now, c.scrambled, c.heard[c.prog.cutPID].pos
	}
}

// endless reports whether parts are held because their chunk does not end when it should: its end shows whether it is clean.
func (w *watch) endless(c *cutter) bool {
	var age clock.Ticks27
	if c.cur != nil && c.cur.chunk != nil {
		age = c.base.now - c.cur.chunk.beganAt
	}
	if age < w.age {
		w.longest = max(w.longest, w.age)
	}
	w.age = age
	return c.cfg.Promote == PromoteChunk && age > max(clock.TicksOf(c.cfg.Duration).Ticks27(), w.longest)+second
}

// awaitsTOT is the reason while chunks wait for their time.
const awaitsTOT = "a TDT told the time, and 30 s must show that no TOT says otherwise"

// why returns the reason at this moment, which may differ from the first one.
func (w *watch) why(c *cutter) string {
	pr := &c.prog
	switch {
	case !pr.inForce || pr.cutPID == ts.PIDNull:
		return c.why().Error()
	case c.scrambled > w.scrambled:
		return fmt.Sprintf("program %d is scrambled, on PID %d and perhaps others", pr.number, pr.cutPID)
	case c.heard[pr.cutPID].pos != w.heard && c.chunks == 0:
		return c.why().Error()
	case c.heard[pr.cutPID].pos == w.heard:
		return fmt.Sprintf("nothing comes on PID %d, where program %d has its %s", pr.cutPID, pr.number, pr.codec)
	}
	return fmt.Sprintf("program %d has no access unit with a time stamp on PID %d", pr.number, pr.cutPID)
}

// run logs the reason until ctx ends.
func (w *watch) run(ctx context.Context) {
	tick := time.NewTicker(time.Second / 4)
	defer tick.Stop()
	var read, cut int64
	said := ""
	start := time.Now()
	input, output := start, start // when there was input, and output, last
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			w.mu.Lock()
			if w.read != read {
				if read == 0 && w.encoded {
					output = now // output was not possible before
				}
				read, input = w.read, now
			}
			if w.cut != cut {
				cut, output = w.cut, now
			}
			reason := w.reason
			w.mu.Unlock()
			patience := silent
			if w.encoded && read == 0 {
				patience = starting
			}
			if now.Sub(input) >= patience {
				reason = strings.TrimPrefix(reason+"; no input comes", "; ")
			}
			switch {
			case now.Sub(output) < silent:
				if said != "" {
					w.log.Info("the stream is being cut again")
				}
				said = ""
			case reason != "" && reason != said:
				w.log.Warn("nothing to publish: "+reason, "packets", read, "seconds", int(now.Sub(output).Seconds()))
				said = reason
			}
		}
	}
}
