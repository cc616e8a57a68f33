package hdhr

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// tuner is one tuner's state. Device.mu guards everything but pids; a stream keeps its own rate.
type tuner struct {
	n          int
	channel    string // as it was set, "auto:533000000"; "none"
	sel        Selection
	vchannel   string // "none" unless tuned by virtual channel
	channelMap string // "": the device's
	filter     string // as it was set; "" means everything
	target     string // "none", "rtp://…", "udp://…"
	lockKey    uint32 // 0: not locked
	lockedBy   netip.Addr
	client     netip.Addr // of the HTTP client that has the tuner, if one has
	stop       func()     // ends the stream to target

	pids atomic.Pointer[pidSet] // what goes to target; nil means everything
	rate *rate                  // of the stream that runs, or of none
}

func newTuner(n int) *tuner {
	t := &tuner{n: n}
	t.clear()
	return t
}

// clear sets the tuner to nothing; a lock stays.
func (t *tuner) clear() {
	t.channel, t.vchannel, t.filter, t.target, t.sel = "none", "none", "", "none", Selection{}
	t.client = netip.Addr{}
	t.pids.Store(nil)
	t.rate = new(rate)
}

// holder is the address of whoever has the tuner; a target counts because somebody listens there.
func (t *tuner) holder() (netip.Addr, bool) {
	switch {
	case t.client.IsValid():
		return t.client, true
	case t.lockKey != 0:
		return t.lockedBy, true
	}
	return netip.Addr{}, t.target != "none"
}

// acquire gives an HTTP client a tuner: the one asked for, or the first free one when n is below 0.
func (d *Device) acquire(n int, s Selection, client netip.Addr) (*tuner, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ending {
		return nil, CodeSystemBusy
	}
	var t *tuner
	if n >= 0 {
		if n >= len(d.tuners) {
			return nil, CodeUnknownChannel
		}
		t = d.tuners[n]
		if _, held := t.holder(); held {
			return nil, CodeTunerInUse
		}
	} else {
		i := slices.IndexFunc(d.tuners, func(t *tuner) bool { _, held := t.holder(); return !held })
		if i < 0 {
			return nil, CodeAllTunersInUse
		}
		t = d.tuners[i]
	}
	d.sessions.Add(1)
	t.clear()
	t.client, t.sel, t.channel = client, s, "auto:"+itoa(s.Frequency)
	if s.Channel.Number != "" {
		t.vchannel = s.Channel.Number
	}
	return t, nil
}

// release ends an HTTP client's use of a tuner.
func (d *Device) release(t *tuner) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t.clear()
	d.sessions.Done()
}

// releaseAll ends every stream to a target and lets none start.
func (d *Device) releaseAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ending = true
	for _, t := range d.tuners {
		d.stopTarget(t)
	}
}

// stopTarget ends the stream to a target, if there is one. Device.mu is held.
func (d *Device) stopTarget(t *tuner) {
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
	t.target = "none"
}

// channelByNumber finds a virtual channel in the lineup.
func (d *Device) channelByNumber(number string) (Channel, bool) {
	for _, c := range d.cfg.Backend.Lineup() {
		if c.Number == number {
			return c, true
		}
	}
	return Channel{}, false
}

// selection finds what a frequency in Hz means: clients may be off by the fraction of a channel that
// their channel map is. program 0 is the whole multiplex.
func (d *Device) selection(frequency int64, program int) Selection {
	const tolerance = 500_000
	s := Selection{Frequency: frequency, Program: program}
	for _, c := range d.cfg.Backend.Lineup() {
		if off := c.Frequency - frequency; c.Frequency == 0 || off > tolerance || off < -tolerance {
			continue
		}
		s.Frequency = c.Frequency
		if program != 0 && c.Program == program {
			s.Channel = c
			break
		}
	}
	return s
}

// rate measures a stream: totals, and bits and packets per second over the last second or so.
type rate struct {
	bytes, bps, pps atomic.Int64
	since           time.Time // of mark; touched by the stream's goroutine only
	mark            int64
}

// start begins a measurement; the goroutine that calls it is the one that calls add.
func (r *rate) start(now time.Time) { r.since = now }

// add counts n bytes received.
func (r *rate) add(n int, now time.Time) {
	total := r.bytes.Add(int64(n))
	if dt := now.Sub(r.since); dt >= 500*time.Millisecond {
		bps := int64(float64(total-r.mark) * 8 / dt.Seconds())
		r.bps.Store(bps)
		r.pps.Store(bps / 8 / (7 * packetSize))
		r.since, r.mark = now, total
	}
}

// packetSize is the size of a TS packet (H.222.0 §2.4.3.2).
const packetSize = 188

// pidSet is the set of PIDs that a filter lets through.
type pidSet [8192 / 64]uint64

func (s *pidSet) add(pid int)      { s[pid/64] |= 1 << (pid % 64) }
func (s *pidSet) has(pid int) bool { return s[pid/64]&(1<<(pid%64)) != 0 }

// keep moves the whole packets in b that pass the set to its front.
func (s *pidSet) keep(b []byte) []byte {
	out := b[:0]
	for ; len(b) >= packetSize; b = b[packetSize:] {
		pid := int(b[1]&0x1f)<<8 | int(b[2]) // H.222.0 §2.4.3.2
		if s.has(pid) {
			out = append(out, b[:packetSize]...)
		}
	}
	return out
}

// tune opens a selection; every error is a Code.
func (d *Device) tune(ctx context.Context, s Selection) (io.ReadCloser, error) {
	r, err := d.cfg.Backend.Tune(ctx, s)
	if err != nil {
		return nil, asCode(err)
	}
	return r, nil
}
