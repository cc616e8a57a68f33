package probe

import (
	"context"
	"errors"
	"fmt"
	"io"

	"every.channel/ec/lib/ts"
)

// runTS reads a transport stream.
func runTS(ctx context.Context, cfg Config, r io.Reader, w io.Writer) error {
	out := &lines{w: w}
	a := newAnalyzer(cfg, out)
	rd := ts.NewReader(r)
	last, counted := cfg.Now(), int64(0)
	var top func()
	interval := cfg.Interval
	show := func() {
		now := cfg.Now()
		r := a.report(false, a.stride, 0)
		if s := now.Sub(last).Seconds(); s > 0 {
			r.Recent = int64(float64(a.packets-counted) * ts.PacketSize * 8 / s)
		}
		last, counted = now, a.packets
		a.print(r)
	}
	if cfg.Top != nil {
		out.w = io.Discard
		pictures := &topTS{a: a}
		top = func() { out.show(cfg.Top, pictures.picture(cfg.Now())) }
		show, interval = top, topEvery
	}
	stop := every(interval, &a.mu, show)
	err := a.read(ctx, rd)
	stop()
	if _, bad := errors.AsType[*ts.FormatError](err); bad {
		return err
	}
	report := a.report(true, rd.Stride(), rd.Truncated())
	if top != nil {
		top()
	} else {
		a.print(report)
	}
	if n := rd.Truncated(); n > 0 {
		cfg.Log.Warn("the last packet is incomplete", "bytes", n)
	}
	if err != nil {
		return errors.Join(err, out.err)
	}
	if out.err != nil {
		return out.err
	}
	return a.verdict(report)
}

// read feeds all packets. While it waits for more, a report may be made.
func (a *analyzer) read(ctx context.Context, rd *ts.Reader) error {
	for {
		run, stride, err := rd.NextRun()
		if lost, ok := errors.AsType[*ts.SyncError](err); ok {
			a.mu.Lock()
			a.lostSync(lost, rd.Stride())
			a.mu.Unlock()
			a.cfg.Log.Debug("lost sync", "offset", lost.Offset, "skipped", lost.Skipped)
			continue
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.feed(run, stride); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// feed takes a run of packets.
func (a *analyzer) feed(run []byte, stride int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stride = stride
	a.arrived = a.cfg.Now()
	if a.start.IsZero() {
		a.start = a.arrived
	}
	a.take(run, stride)
	return a.out.err
}

// take counts a run of packets. Of those that only continue a unit, which are most of a stream, it looks at nothing but the first bytes.
func (a *analyzer) take(run []byte, stride int) {
	defer a.cc.Keep()
	for len(run) >= ts.PacketSize {
		p := (*ts.Packet)(run)
		a.packet(p)
		run = run[min(stride, len(run)):]
		pid := p.PID()
		st := &a.pids[pid]
		if stride != ts.PacketSize || st.kind == kindPSI || pid == ts.PIDNull {
			continue
		}
		if n := a.cc.Follow(pid, run); n > 0 {
			st.packets += int64(n / ts.PacketSize)
			a.packets += int64(n / ts.PacketSize)
			run = run[n:]
		}
	}
}

func (a *analyzer) print(r *Report) {
	switch {
	case a.cfg.JSON:
		a.out.put(r)
	case r.Final:
		a.text(r)
	default:
		a.brief(r)
	}
}

// verdict says what makes the whole stream unusable and, with Verify, whether there was damage.
func (a *analyzer) verdict(r *Report) error {
	if !a.pat {
		return &Error{ErrNoPAT, "nothing in it can be found without; was it cut from a larger stream?"}
	}
	missing, found := 0, 0
	var first *Program
	for i := range r.Programs {
		switch p := &r.Programs[i]; {
		case p.PMT:
			found++
		default:
			missing++
			if first == nil {
				first = p
			}
		}
	}
	// Receivers hand on one program but leave the others in the PAT; that is no fault while one is whole.
	if missing > 0 && found == 0 {
		return &Error{fmt.Errorf("%w: program %d should have it on PID 0x%04x", ErrNoPMT, first.Number, first.PMTPID),
			"the input is too short or that PID was filtered out"}
	}
	if !a.cfg.Verify {
		return nil
	}
	p1, p2 := r.TR.Priority1, r.TR.Priority2
	if n := p1.SyncByte + p1.Continuity + p2.Transport + p2.CRC; n > 0 || r.Cut > 0 {
		return &Error{fmt.Errorf("%w: %d sync, %d continuity, %d transport, %d checksum errors, %d bytes of a cut packet",
			ErrDamaged, p1.SyncByte, p1.Continuity, p2.Transport, p2.CRC, r.Cut), ""}
	}
	return nil
}
