package chop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"every.channel/ec/lib/clock"
)

// maxStep is the longest step between two PCRs that is still one clock. H.222.0 §2.7.2 allows 100 ms, real
// streams take up to a second.
const maxStep = clock.Ticks27(27_000_000)

// trustedStep is how far a clock may step forward, unannounced, and its relation to UTC still be near enough
// to pick k: reception was lost, or frames were.
const trustedStep = 60 * clock.Ticks27(27_000_000)

// timebase follows one program's clock and its relation to UTC.
type timebase struct {
	have bool
	pcr  clock.PCR
	gap  bool          // packets of the PCR PID are missing since pcr
	now  clock.Ticks27 // steady count of 27 MHz since the start, for spans only

	ref   clock.Reference
	known bool // ref is valid

	cadence cadence
}

// cadence knows how far apart bare PCRs come: those in packets without payload. Such a packet does not move the
// continuity counter (H.222.0 §2.4.3.3), so if it is lost no counter tells, but the next one is late.
type cadence struct {
	steps [64]clock.Ticks27
	n     int // steps seen, in all
	last  clock.PCR
	have  bool
	limit clock.Ticks27 // a longer step is late; 0 while there is no cadence
}

// steady is the longest cadence that is one: H.222.0 §2.7.2 asks for a PCR every 100 ms.
const steady = 27_000_000 / 10

// bare takes the PCR of a packet without payload and reports whether one before it may have been lost.
func (d *cadence) bare(pcr clock.PCR) (late bool) {
	step := pcr.Sub(d.last)
	d.last = pcr
	if !d.have || step <= 0 || step > maxStep {
		d.have = true
		return false
	}
	late = d.limit > 0 && step > d.limit
	d.steps[d.n%len(d.steps)] = step
	d.n++
	d.limit = 0
	if d.n >= 16 {
		sorted := d.steps
		known := sorted[:min(d.n, len(d.steps))]
		slices.Sort(known)
		if long := known[len(known)-1-len(known)/16]; long <= steady { // a few may have been late themselves
			d.limit = long + long/2
		}
	}
	return late
}

// tick takes a PCR, which may be flagged by discontinuity_indicator and may stand in a packet without payload. It
// reports whether the clock was reset, and whether the PCR is late.
func (t *timebase) tick(pcr clock.PCR, flagged, bare bool) (reset, late bool) {
	if !t.have {
		t.have, t.pcr, t.gap = true, pcr, false
		return false, false
	}
	step := pcr.Sub(t.pcr)
	limit := maxStep
	if t.gap {
		limit = 10 * maxStep
	}
	reset = flagged || step < 0 || step > limit
	if reset && (flagged || step < 0 || step > trustedStep) {
		t.known = false
	}
	if step > 0 && step <= trustedStep {
		t.now += step
	}
	if reset {
		t.cadence.have = false
	}
	if bare {
		late = t.cadence.bare(pcr)
	}
	t.pcr, t.gap = pcr, false
	// Keep the reference near, so that a wrap after the last table is no different from any other moment.
	if t.known && pcr.Sub(t.ref.PCR) > 60*maxStep {
		t.set(t.ref.At(pcr.PTS()))
	}
	return reset, late
}

// set says that it is utc now.
func (t *timebase) set(utc time.Time) {
	t.ref, t.known = clock.Reference{UTC: utc, PCR: t.pcr}, true
}

// plausible rejects what no broadcast clock says: a clock that was never set, or garbage that passed a CRC.
// The bounds keep group ids positive and inside 62 bits.
func plausible(utc time.Time) bool {
	return utc.Year() >= 1980 && utc.Year() < 2200
}

// clockFileWait is how long a clock file may take to get its first record: DVB repeats TDT every 30 s.
const clockFileWait = 35 * time.Second

// clockFile reads the records of `ec-tune --clock`, which may still be growing.
type clockFile struct {
	path    string
	f       *os.File
	r       *clock.RecordReader
	records []clock.Record
}

func (c *clockFile) open() error {
	if c.f != nil {
		return nil
	}
	f, err := os.Open(c.path)
	if err != nil {
		return fmt.Errorf("clock file: %w", err)
	}
	c.f, c.r = f, clock.NewRecordReader(f)
	return nil
}

func (c *clockFile) close() {
	if c.f != nil {
		c.f.Close()
	}
}

// more reads the records that have been added.
func (c *clockFile) more() error {
	for {
		rec, err := c.r.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, clock.ErrRecord):
			return &InputError{Err: fmt.Errorf("clock file %s: %w", c.path, err), Tip: "record it with ec-tune --clock FILE"}
		case err != nil:
			return fmt.Errorf("clock file: %w", err)
		case plausible(rec.UTC):
			c.records = append(c.records, rec)
		}
	}
}

// wait waits for the first record of a file that is being written, at most until the deadline.
func (c *clockFile) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clockFileWait)
	defer cancel()
	for {
		err := c.open()
		if err == nil {
			err = c.more()
		}
		if err == nil && len(c.records) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("clock file %s has no record", c.path)
			}
			return &InputError{Err: err, Tip: "record it with ec-tune --clock FILE"}
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// nearest is the record whose clock is nearest to p.
func (c *clockFile) nearest(p clock.PTS) (clock.Record, bool) {
	var best clock.Record
	var dist clock.Ticks = -1
	for _, r := range c.records {
		d := p.Sub(r.PCR.PTS())
		if d < 0 {
			d = -d
		}
		if dist < 0 || d < dist {
			best, dist = r, d
		}
	}
	return best, dist >= 0
}

// identity is the broadcast that the records name; the newest that names it whole counts.
func (c *clockFile) identity() Identity {
	for i := len(c.records) - 1; i >= 0; i-- {
		if id := recordIdentity(c.records[i]); id.Known() {
			return id
		}
	}
	return Identity{}
}

// recordIdentity is the broadcast a record names, if it names one whole.
func recordIdentity(r clock.Record) Identity {
	if r.TSID < 0 || r.System == clock.DVB && r.ONID < 0 {
		return Identity{}
	}
	id := Identity{System: string(r.System), TSID: uint16(r.TSID), Program: uint16(r.Program)}
	if r.System == clock.DVB {
		id.ONID = uint16(r.ONID)
	}
	return id
}
