package tune

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/ts"
)

const (
	// blockSize is what one read asks for: at 1 Gbit/s two milliseconds.
	blockSize = 256 << 10
	// sniffSize is how much is looked at to tell a transport stream from something else: ts.Reader accepts
	// up to 64 KiB of garbage in front of one.
	sniffSize = 66 << 10
	// sniffLeast is enough to recognise a stream that starts with a packet of any size.
	sniffLeast = 5 * 204
)

// writeError is a failure of the output, which connecting again does not heal.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }

// once makes one connection and copies until it ends. It returns nil at the end of a source that is not
// live, and whether anything came.
func (r *receiver) once(ctx context.Context) (delivered bool, err error) {
	c, err := r.src.open(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	live := r.src.live()
	var stalled atomic.Bool
	var silence *time.Timer
	if live && r.cfg.Stall > 0 {
		silence = time.AfterFunc(r.cfg.Stall, func() { stalled.Store(true); c.Close() })
		defer silence.Stop()
	}
	if r.tap != nil {
		r.tap.connect(c)
	}
	defer r.reportLoss(c)
	if r.tap != nil {
		defer r.tap.disconnect()
	}

	held := 0 // bytes at the front of buf that wait for the rest of their packet, or of the sniffing
	sniffing := c.sniff && r.written == 0
	for {
		// The watchdog runs while the source is waited for, not while the output is.
		if silence != nil {
			silence.Reset(r.cfg.Stall)
		}
		n, readErr := c.Read(r.buf[held : held+blockSize])
		if silence != nil {
			silence.Stop()
		}
		if readErr != nil && stalled.Load() {
			readErr = fmt.Errorf("%w for %v", errStall, r.cfg.Stall)
		}
		if ctx.Err() != nil {
			readErr = ctx.Err()
		}
		have := held + n
		if sniffing {
			stride, err := sniff(r.buf[:have], readErr != nil)
			switch {
			case err != nil && readErr != nil && readErr != io.EOF:
				return false, readErr
			case err != nil:
				return false, err
			case stride == 0:
				held = have
				continue
			}
			sniffing = false
			if r.tap != nil {
				r.tap.framer.stride = stride
			}
		}
		whole := have
		if live {
			whole -= have % ts.PacketSize
		}
		if whole > 0 {
			if !delivered {
				delivered = true
				r.arrived(c)
			}
			r.lastData = time.Now()
			if r.tap != nil {
				r.tap.heard.Store(r.lastData.UnixNano())
			}
			if err := r.write(r.buf[:whole], live); err != nil {
				return delivered, err
			}
			if r.tap != nil {
				r.tap.feed(r.buf[:whole])
			}
			held = copy(r.buf, r.buf[whole:have])
		} else {
			held = have
		}
		switch {
		case readErr == nil:
		case readErr == io.EOF && live && !c.ends:
			return delivered, errEnded
		case readErr == io.EOF && held > 0: // a whole file, whatever its length
			if err := r.write(r.buf[:held], live); err != nil {
				return delivered, err
			}
			return delivered, nil
		case readErr == io.EOF:
			return delivered, nil
		default:
			return delivered, readErr
		}
	}
}

// arrived notes the first bytes of a connection: how long there were none, if there were any before.
func (r *receiver) arrived(c connection) {
	if !r.lastData.IsZero() {
		gap := time.Since(r.lastData)
		r.cfg.Log.Warn("gap", "source", r.cfg.Address.String(), "seconds", float64(gap.Milliseconds())/1000)
		if r.tap != nil {
			r.tap.gaps.Add(1)
		}
		return
	}
	r.firstData = time.Now()
	if r.src.live() {
		r.cfg.Log.Info("receiving", "source", r.cfg.Address.String(), "channel", strings.TrimSpace(c.channel+" "+c.name))
	}
	if r.cfg.Duration > 0 {
		time.AfterFunc(r.cfg.Duration, func() { r.cancel(errDuration) })
	}
}

// write writes everything or fails. Of a live stream that no longer fits a disk the whole packets stay.
func (r *receiver) write(b []byte, live bool) error {
	n, err := r.w.Write(b)
	r.written += int64(n)
	if err == nil {
		return nil
	}
	if f, ok := r.w.(interface {
		Stat() (os.FileInfo, error)
		Truncate(int64) error
	}); ok && live {
		if i, serr := f.Stat(); serr == nil && i.Mode().IsRegular() {
			err = errors.Join(err, f.Truncate(i.Size()-r.written%ts.PacketSize))
		}
	}
	return &writeError{err}
}

// sniff tells whether b begins a transport stream, and the distance of its packets; 0 means that more
// bytes are needed. final says that no more will come.
func sniff(b []byte, final bool) (stride int, err error) {
	if len(b) < sniffLeast && !final {
		return 0, nil
	}
	t := ts.NewReader(bytes.NewReader(b))
	_, err = t.Next()
	if _, ok := errors.AsType[*ts.SyncError](err); err == nil || ok {
		return t.Stride(), nil
	}
	if len(b) < sniffSize && !final {
		return 0, nil
	}
	if err == io.EOF {
		return ts.PacketSize, nil
	}
	return 0, err
}

// reportLoss logs what a connection lost, once.
func (r *receiver) reportLoss(c connection) {
	if c.report != nil {
		if l := c.report(); l != (losses{}) {
			if r.tap != nil {
				r.tap.pastDatagrams.Add(l.datagrams)
			}
			r.cfg.Log.Warn("datagrams lost", "source", r.cfg.Address.String(), "lost", l.datagrams,
				"reordered", l.reordered, "malformed", l.malformed)
		}
	}
	if r.tap == nil {
		return
	}
	if errs, tei := r.tap.lost.Swap(0), r.tap.tei.Swap(0); errs+tei > 0 {
		r.tap.pastLost.Add(errs)
		r.tap.pastTEI.Add(tei)
		r.cfg.Log.Warn("stream damaged", "source", r.cfg.Address.String(), "packets_lost", errs, "transport_errors", tei)
	}
}
