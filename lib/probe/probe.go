// Package probe says what a transport stream or an object stream holds and what is wrong with it.
// Either of the two flows in, told apart by its first bytes; text for people, or JSON Lines with
// "v":1 in every line, flows out. It reads once, forwards only, in bounded memory.
//
// Measurements and their names are those of ETSI TR 101 290 V1.4.1 §5.2, priority 1 and 2; the framing of
// objects is docs/format/eco.md.
package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"
)

// Config says how to look and what to print. The zero value prints text once, at the end.
type Config struct {
	JSON     bool          // JSON Lines instead of text
	Sections bool          // print tables as they change, decoded
	Verify   bool          // recompute every hash; damage makes Run return an error
	Interval time.Duration // print a report so often, whether data arrives or not; 0, the default, only at the end

	// Top gets a picture of what there is, for people, every second and at the end; nothing else is printed then. Nil: there are no pictures.
	Top func(picture string) error

	Now func() time.Time // default time.Now; when data arrived
	Log *slog.Logger     // default: none
}

// Error is bad input: exit code 65.
type Error struct {
	Err  error
	hint string
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// ExitCode is that of bad data.
func (e *Error) ExitCode() int { return exit.BadData }

// Hint says what to do, or is "".
func (e *Error) Hint() string { return e.hint }

// Causes of an Error.
var (
	ErrNoPAT    = errors.New("no PAT in the transport stream")
	ErrNoPMT    = errors.New("no PMT for a program")
	ErrDamaged  = errors.New("the input is damaged")
	ErrMismatch = errors.New("the input does not verify")
	ErrTrack    = errors.New("no such track")
)

// Run reads r to its end and reports on w. After damage it goes on; what cannot be read at all, and with
// Verify any damage, is an error, returned after the report.
func Run(ctx context.Context, cfg Config, r io.Reader, w io.Writer) error {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r, objects, err := sniff(r)
	if err != nil {
		return err
	}
	if objects {
		return runObjects(ctx, cfg, r, w)
	}
	return runTS(ctx, cfg, r, w)
}

// sniff tells whether r is an object stream. It reads no more than it must.
func sniff(r io.Reader) (io.Reader, bool, error) {
	head := make([]byte, len(object.Magic))
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, false, err
	}
	head = head[:n]
	// A damaged header or a missing one is for object.Reader to report: "ECO" is left, or a record begins.
	objects := n > 0 && bytes.HasPrefix([]byte(object.Magic), head) ||
		bytes.HasPrefix(head, []byte("\xecOT")) || bytes.HasPrefix(head, []byte("\xecOO")) || n > 4 && string(head[1:4]) == object.Magic[1:4]
	return io.MultiReader(bytes.NewReader(head), r), objects, nil
}

// lines writes text or JSON, line by line; after an error nothing.
type lines struct {
	w    io.Writer
	line []byte // of text, not ended yet
	err  error
}

func (l *lines) put(v any) {
	if l.err != nil {
		return
	}
	b, err := json.Marshal(v)
	if err == nil {
		_, err = l.w.Write(append(b, '\n'))
	}
	l.err = err
}

func (l *lines) printf(format string, a ...any) {
	l.line = fmt.Appendf(l.line, format, a...)
	if n := len(l.line); n == 0 || l.line[n-1] != '\n' {
		return
	}
	if l.err == nil {
		_, l.err = l.w.Write(l.line)
	}
	l.line = l.line[:0]
}

// show hands a picture on; after an error nothing.
func (l *lines) show(to func(string) error, picture string) {
	if l.err == nil {
		l.err = to(picture)
	}
}

// every calls f each interval, holding mu, until the returned stop is called, which waits for it.
func every(interval time.Duration, mu *sync.Mutex, f func()) (stop func()) {
	if interval <= 0 {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				mu.Lock()
				f()
				mu.Unlock()
			}
		}
	}()
	return func() { close(done); <-ended }
}
