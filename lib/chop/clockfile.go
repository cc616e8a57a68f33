package chop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
)

// clockFileWait is how long a clock file may take to get its first record: DVB repeats TDT every 30 s. After clockFileSoon a log line tells of
// the wait.
const (
	clockFileWait = 35 * time.Second
	clockFileSoon = time.Second
)

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
func (c *clockFile) wait(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, clockFileWait)
	defer cancel()
	soon := time.NewTimer(clockFileSoon)
	defer soon.Stop()
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
		case <-soon.C:
			log.Info("waiting for the clock file's first record", "file", c.path, "there", c.f != nil, "for", clockFileWait)
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

// nearest is the relation to UTC that the records near p give: the greatest of those that agree with the nearest.
func nearest(records []clock.Record, p clock.PTS) (clock.Reference, bool) {
	if len(records) == 0 {
		return clock.Reference{}, false
	}
	far := func(r clock.Record) clock.Ticks {
		d := p.Sub(r.PCR.PTS())
		return max(d, -d)
	}
	i := 0
	for j, r := range records {
		if far(r) <= far(records[i]) {
			i = j
		}
	}
	base := records[i].Reference()
	list := []clock.Reference{base}
	for _, r := range records[max(0, i-heard/2):min(len(records), i+heard/2-1)] {
		if ref := r.Reference(); agree(ref, base) {
			list = append(list, ref)
		}
	}
	return greatest(list, 0)
}
