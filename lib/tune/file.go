package tune

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

type fileSource struct {
	path       string
	pace, loop bool
	log        *slog.Logger
}

func (s *fileSource) live() bool { return false }

func (s *fileSource) open(ctx context.Context) (connection, error) {
	f, err := openFile(s.path)
	if err != nil {
		return connection{}, err
	}
	var r io.ReadCloser = f
	if s.loop {
		r = &looper{File: f}
	}
	if s.pace {
		p := newPacer(ctx, r, s.log)
		if s.loop {
			r.(*looper).again = p.restart
		}
		r = p
	}
	return connection{ReadCloser: r, sniff: true, service: service{tsid: -1, onid: -1}}, nil
}

// looper reads a file for ever.
type looper struct {
	*os.File
	again func()
	any   bool // something was read since the start
}

func (l *looper) Read(b []byte) (int, error) {
	for {
		n, err := l.File.Read(b)
		if n > 0 {
			l.any = true
			return n, nil
		}
		if err != io.EOF || !l.any {
			return n, err
		}
		if _, err := l.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		l.any = false
		if l.again != nil {
			l.again()
		}
	}
}

// pacer hands on a stream at the speed of its own clock: the packet with a PCR is held back until the
// PCR is due, counted from the first. A clock that jumps starts anew without a pause.
type pacer struct {
	ctx   context.Context
	r     io.ReadCloser
	log   *slog.Logger
	buf   []byte // read, not handed on
	store []byte
	eof   error

	framer framer
	pid    ts.PID
	known  bool
	last   clock.PCR
	due    time.Time
	silent int // packets since the last PCR
}

// A PCR is due every 100 ms (H.222.0 §2.7.2); a step beyond this is a jump.
const maxStep = 2 * time.Second

// newPacer returns a pacer of r; ctx ends its pauses.
func newPacer(ctx context.Context, r io.ReadCloser, log *slog.Logger) *pacer {
	return &pacer{ctx: ctx, r: r, log: log, store: make([]byte, 64<<10), framer: framer{stride: ts.PacketSize}}
}

func (p *pacer) Close() error { return p.r.Close() }

func (p *pacer) restart() { p.known = false }

func (p *pacer) Read(b []byte) (int, error) {
	if len(p.buf) == 0 {
		if p.eof != nil {
			return 0, p.eof
		}
		var n int
		n, p.eof = p.r.Read(p.store)
		p.buf = p.store[:n]
		if n == 0 {
			return 0, p.eof
		}
	}
	n := p.untilClock(p.buf[:min(len(b), len(p.buf))])
	n = copy(b, p.buf[:n])
	p.buf = p.buf[n:]
	if wait := time.Until(p.due); p.known && wait > 0 {
		if err := sleep(p.ctx, wait); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// untilClock returns how much of b lies before the next change of due, and makes that change.
func (p *pacer) untilClock(b []byte) int {
	return p.framer.feed(b, func(pkt *ts.Packet) bool {
		v, ok := pkt.PCR()
		if p.silent++; p.known && p.silent > 100_000 {
			p.known = false // its program is gone; follow another
		}
		if !ok || p.known && pkt.PID() != p.pid {
			return true
		}
		now := time.Now()
		pcr := clock.PCR(v)
		step := pcr.Sub(p.last).Duration()
		switch {
		case !p.known, step <= 0, step > maxStep, pkt.Discontinuity():
			p.due = now
		default:
			p.due = p.due.Add(step)
			if now.Sub(p.due) > maxStep {
				p.due = now // the reader was slow for long; do not run after it
			}
		}
		p.pid, p.known, p.last, p.silent = pkt.PID(), true, pcr, 0
		return !p.due.After(now)
	})
}
