package chop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
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

// clockFileWait is how long a clock file may take to get its first record: DVB repeats TDT every 30 s.
const clockFileWait = 35 * time.Second

// clockFile reads the records of `ec-tune --clock`, which may still be growing.
type clockFile struct {
	path    string
	f       *os.File
	r       *clock.RecordReader
	read    int64 // bytes, to notice that the file was begun anew
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
	c.f, c.r, c.read, c.records = f, clock.NewRecordReader(counted{f, &c.read}), 0, nil
	return nil
}

func (c *clockFile) close() {
	if c.f != nil {
		c.f.Close()
		c.f = nil
	}
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n *int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	*c.n += int64(n)
	return n, err
}

// renewed reports whether the file was begun anew: in a pipeline ec-tune and ec-chop start together, and what
// was read may be of yesterday.
func (c *clockFile) renewed() bool {
	now, err := os.Stat(c.path)
	if err != nil {
		return false // gone: what was read is all there is
	}
	was, err := c.f.Stat()
	return err == nil && (!os.SameFile(was, now) || now.Size() < c.read)
}

// more reads the records that have been added.
func (c *clockFile) more() error {
	if c.renewed() {
		c.close()
		if err := c.open(); err != nil {
			return err
		}
	}
	for {
		rec, err := c.r.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, clock.ErrRecord):
			return &InputError{Err: fmt.Errorf("clock file %s: %w", c.path, err), Tip: "record it with ec-tune --clock FILE"}
		case err != nil:
			return fmt.Errorf("clock file: %w", err)
		case psi.Plausible(rec.UTC):
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

// of returns the records of one program. A filter may have given the program another number; then the records
// must be of one program alone.
func (c *clockFile) of(program uint16) ([]clock.Record, error) {
	var mine []clock.Record
	programs := map[int]bool{}
	for _, r := range c.records {
		programs[r.Program] = true
		if r.Program == int(program) {
			mine = append(mine, r)
		}
	}
	if len(mine) > 0 {
		return mine, nil
	}
	if len(programs) > 1 {
		var list []string
		for _, p := range slices.Sorted(maps.Keys(programs)) {
			list = append(list, fmt.Sprint(p))
		}
		return nil, &InputError{Err: fmt.Errorf("clock file %s is of programs %s, the stream of %d", c.path, strings.Join(list, ", "), program),
			Tip: "say which with --broadcast, or keep the program's number through the filter"}
	}
	return c.records, nil
}

// nearest is the record whose clock is nearest to p.
func nearest(records []clock.Record, p clock.PTS) (clock.Record, bool) {
	var best clock.Record
	var dist clock.Ticks = -1
	for _, r := range records {
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

// identityIn is the broadcast that records name; the newest that names it whole counts.
func identityIn(records []clock.Record) Identity {
	for _, r := range slices.Backward(records) {
		if id := recordIdentity(r); id.Known() {
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
