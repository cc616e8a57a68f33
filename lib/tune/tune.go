// Package tune reads a transport stream from wherever it comes (a HDHomeRun's tuner, a URL, a file,
// multicast, stdin) and writes it out byte for byte, on and on: it waits for a tuner, notices a source
// that has gone silent, connects again, and reports what was missed. Beside the copy it counts what is
// wrong with the stream and writes down the broadcast's clock (docs/format/clock.md).
//
// An [Address] goes in; TS, log events and clock records come out. Bytes are never changed. Of a live
// source only whole packets are passed on, so that a connection which breaks within one does not tear
// the stream.
package tune

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/hdhr"
	"every.channel/ec/lib/lease"
	"every.channel/ec/lib/ts"
)

// Config says what to receive and how patiently. Zero values work except where a default is named.
type Config struct {
	Address Address
	// Device narrows an address that names a channel only: a device id, an IP address or a host name.
	Device string
	// Duration ends the reception, counted from the first byte; 0: never.
	Duration time.Duration
	// Reconnect goes on for ever when a live source that has delivered once fails.
	Reconnect bool
	// Retry is how long to wait for a source that is busy or weak before it has delivered; 0: not at all.
	Retry time.Duration
	// Stall is how long a live source may be silent before it is given up; 0: for ever.
	Stall time.Duration
	// Pace plays a file in real time, by its PCR; Loop starts it again at its end.
	Pace, Loop bool
	// Clock takes the clock records; nil: none. Lines are written one by one, by one goroutine.
	Clock io.Writer
	// Health is the path of a file that holds how the source is received, renewed every few seconds (docs/format/health.md), and
	// that is removed at the end; "": none.
	Health string
	// Status is called once a second with a line for people; nil: never.
	Status func(line string)
	Stdin  io.Reader    // of "-"
	Log    *slog.Logger // default: discards

	backoff func(attempt int, slow bool) time.Duration // replaced in tests
}

// Run receives until the source or the duration ends, and returns nil then. When ctx ends it returns
// ctx's error. The tuner has been given back when Run returns.
func Run(ctx context.Context, cfg Config, w io.Writer) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.backoff == nil {
		cfg.backoff = backoff
	}
	// The source is closed by cancelling, even while a write to w blocks.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if f, ok := w.(*os.File); ok {
		stop := watchHangup(f, cancel)
		defer stop()
	}
	src, err := newSource(&cfg)
	if err != nil {
		return err
	}
	r := &receiver{cfg: cfg, src: src, w: w, buf: make([]byte, 2*blockSize), cancel: cancel}
	if cfg.Clock != nil || cfg.Status != nil || cfg.Health != "" || src.live() {
		r.tap = newTap()
	}
	if cfg.Clock != nil {
		records := startRecords(cfg.Clock, cfg.Log)
		r.tap.record = records.put
		defer records.stop()
	}
	if cfg.Health != "" {
		stop, err := r.startHealth(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	if cfg.Status != nil {
		stop := r.startStatus(ctx)
		defer stop()
	}
	err = r.run(ctx)
	r.summary(err)
	// ctx may have ended for a reason of ours.
	if cause := context.Cause(ctx); err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		if errors.Is(cause, errDuration) {
			return nil
		}
		return cause
	}
	return err
}

// backoff is the pause before an attempt: 0.5 s doubling to 10 s, or 5 s to 60 s for a channel without
// signal, with jitter so that many receivers do not come back at once.
func backoff(attempt int, slow bool) time.Duration {
	base, limit := 500*time.Millisecond, 10*time.Second
	if slow {
		base, limit = 5*time.Second, time.Minute
	}
	d := min(base<<min(attempt, 10), limit)
	return d/2 + rand.N(d/2+1)
}

// Errors that end one connection of a source.
var (
	errStall    = errors.New("source is silent")
	errEnded    = errors.New("source has ended")
	errDuration = errors.New("duration is over")
)

// receiver is one Run.
type receiver struct {
	cfg Config
	src source
	w   io.Writer
	buf []byte
	tap *tap // nil: nobody looks

	cancel context.CancelCauseFunc // ends the Run

	written   int64
	firstData time.Time // zero before the first byte
	lastData  time.Time // the same
}

// run connects again and again, as far as the errors and the configuration allow.
func (r *receiver) run(ctx context.Context) error {
	var giveUp time.Time // of the wait for the first byte
	for attempt := 0; ; {
		start := time.Now()
		delivered, err := r.once(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			return nil
		}
		if writeErr, ok := errors.AsType[*writeError](err); ok {
			return writeErr.err
		}
		if delivered {
			attempt = 0
		}
		kind := classify(err)
		switch {
		case kind == permanent, !r.src.live():
			return explain(err)
		case r.lastData.IsZero():
			// Nothing was ever received: somebody waits at a prompt. What only time can heal is waited for.
			if giveUp.IsZero() {
				giveUp = start.Add(r.cfg.Retry)
			}
			// A sender of datagrams may not have started yet; a server that is not there is a mistyped name.
			if kind == broken && !errors.Is(err, errStall) || !time.Now().Before(giveUp) {
				return explain(err)
			}
		case !r.cfg.Reconnect:
			return explain(err)
		}
		pause := r.cfg.backoff(attempt, kind == weak)
		if !giveUp.IsZero() && r.lastData.IsZero() {
			pause = min(pause, time.Until(giveUp))
		}
		attempt++
		r.cfg.Log.Warn("source failed, trying again", "source", r.cfg.Address.String(), "err", err, "attempt", attempt,
			"pause", pause.Round(time.Millisecond).String())
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kind says what helps against an error.
type kind int

const (
	permanent kind = iota // nothing
	broken                // another connection, if there was one before
	busy                  // waiting
	weak                  // waiting longer
)

// classify tells the errors of a source apart. Codes: busy ones are tried again soon, failed tuning and
// missing data later, unknown and protected channels never.
func classify(err error) kind {
	if code, ok := hdhr.AsCode(err); ok {
		switch code {
		case hdhr.CodeSystemBusy, hdhr.CodeTunerInUse, hdhr.CodeAllTunersInUse, hdhr.CodeConnectionLimit:
			return busy
		case hdhr.CodeTuneFailed, hdhr.CodeNoVideoData:
			return weak
		}
		return permanent
	}
	if e, ok := errors.AsType[*hdhr.StreamError](err); ok {
		if e.Status >= 500 || e.Status == 429 || e.Status == 408 {
			return busy
		}
		return permanent
	}
	if _, ok := errors.AsType[*lease.HeldError](err); ok {
		return busy
	}
	if e, ok := errors.AsType[*Error](err); ok && e.permanent {
		return permanent
	}
	if _, ok := errors.AsType[*ts.FormatError](err); ok {
		return permanent
	}
	return broken
}

// Error is a failure to receive, with what a command needs to end well.
type Error struct {
	Err       error
	Code      int // exit code
	Advice    string
	permanent bool
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// ExitCode is the exit code of a command that ends with this error.
func (e *Error) ExitCode() int { return e.Code }

// Hint is a line of advice, or "".
func (e *Error) Hint() string { return e.Advice }

// explain gives an error that ends the reception its exit code and a hint.
func explain(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if _, ok := errors.AsType[*ts.FormatError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*lease.HeldError](err); ok {
		return err
	}
	e := &Error{Err: err, Code: exit.Unreachable}
	code, isCode := hdhr.AsCode(err)
	switch {
	case isCode:
		e.Code = code.ExitCode()
		switch code {
		case hdhr.CodeUnknownChannel:
			e.Advice = "ec-discover --lineup lists the channels"
		case hdhr.CodeSystemBusy, hdhr.CodeTunerInUse, hdhr.CodeAllTunersInUse:
			e.Advice = "another program is watching or recording; --retry TIME waits longer"
		case hdhr.CodeTuneFailed, hdhr.CodeNoVideoData:
			e.Advice = "the signal is too weak, or the channel is off the air; ec-discover --lineup shows the signal where the device knows it"
		case hdhr.CodeContentProtection:
			e.Advice = hintProtected
		}
	case errors.Is(err, errStall):
		e.Advice = "--stall TIME waits longer"
	default:
		if s, ok := errors.AsType[*hdhr.StreamError](err); ok {
			e.Code = s.ExitCode()
		} else if _, ok := errors.AsType[*os.PathError](err); ok {
			return err // cmdutil knows these
		}
	}
	return e
}

const hintProtected = "only the device vendor's own applications can receive it"

func usageError(format string, args ...any) error {
	return &Error{Err: fmt.Errorf(format, args...), Code: exit.Usage, permanent: true}
}
