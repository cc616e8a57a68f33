package clock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// System is the family of standards of a broadcast, as in its namespace.
type System string

// The systems that broadcast time comes from.
const (
	ATSC System = "atsc"
	DVB  System = "dvb"
)

// Record says what time a time table gave where in a program's clock, and whose broadcast it is: what
// is lost when a filter drops the tables. See docs/format/clock.md.
type Record struct {
	UTC     time.Time // of the table
	PCR     PCR       // of the program when the table came; seconds of error do no harm
	System  System
	TSID    int    // −1: not known
	ONID    int    // original network id; −1: not known, or ATSC
	Program int    // program number; 0: not known
	Name    string // of the service; a label, not identity
	Channel string // virtual channel, "5.1"; a label too
}

// Reference is the record as a point of a program's clock.
func (r Record) Reference() Reference { return Reference{UTC: r.UTC, PCR: r.PCR} }

// maxRecord bounds a line.
const maxRecord = 4096

// ErrRecord says that a line of a clock record is not one.
var ErrRecord = errors.New("not a clock record")

// record is the JSON form.
type record struct {
	V       int       `json:"v"`
	UTC     time.Time `json:"utc"`
	PCR     *PCR      `json:"pcr"`
	System  System    `json:"system"`
	TSID    *int      `json:"tsid,omitempty"`
	ONID    *int      `json:"onid,omitempty"`
	Program int       `json:"program,omitempty"`
	Name    string    `json:"name,omitempty"`
	Channel string    `json:"channel,omitempty"`
}

// Append appends the record as a line, newline included.
func (r Record) Append(b []byte) []byte {
	j := record{V: 1, UTC: r.UTC.UTC(), PCR: &r.PCR, System: r.System, Program: r.Program, Name: r.Name, Channel: r.Channel}
	if r.TSID >= 0 {
		j.TSID = &r.TSID
	}
	if r.ONID >= 0 {
		j.ONID = &r.ONID
	}
	line, err := json.Marshal(j)
	if err != nil {
		return b // only a year beyond 9999 can do this, and no table holds one
	}
	return append(append(b, line...), '\n')
}

// ParseRecord reads a line. Fields that it does not know are skipped.
func ParseRecord(line []byte) (Record, error) {
	if len(line) > maxRecord {
		return Record{}, fmt.Errorf("line of %d bytes: %w", len(line), ErrRecord)
	}
	var j record
	if err := json.Unmarshal(line, &j); err != nil {
		return Record{}, fmt.Errorf("%w: %v", ErrRecord, err)
	}
	id := func(p *int) (int, bool) {
		if p == nil {
			return -1, true
		}
		return *p, *p >= 0 && *p <= 0xffff
	}
	r := Record{UTC: j.UTC, System: j.System, Program: j.Program, Name: j.Name, Channel: j.Channel}
	var okT, okO bool
	r.TSID, okT = id(j.TSID)
	r.ONID, okO = id(j.ONID)
	switch {
	case j.V != 1:
		return Record{}, fmt.Errorf("%w: version %d", ErrRecord, j.V)
	case j.UTC.IsZero(), j.PCR == nil:
		return Record{}, fmt.Errorf("%w: no utc or no pcr", ErrRecord)
	case *j.PCR >= SystemWrap:
		return Record{}, fmt.Errorf("%w: pcr %d", ErrRecord, *j.PCR)
	case j.System != ATSC && j.System != DVB:
		return Record{}, fmt.Errorf("%w: system %q", ErrRecord, j.System)
	case !okT, !okO, j.Program < 0, j.Program > 0xffff:
		return Record{}, fmt.Errorf("%w: tsid, onid or program out of range", ErrRecord)
	}
	r.PCR = *j.PCR
	return r, nil
}

// RecordReader reads records from a file that may still be growing.
type RecordReader struct {
	r    io.Reader
	buf  []byte // not yet returned
	skip bool   // the rest of a line that was too long
}

// NewRecordReader returns a reader of r.
func NewRecordReader(r io.Reader) *RecordReader { return &RecordReader{r: r} }

// Next returns the next record. At the end of what is there it returns io.EOF, keeps the beginning of a
// line that is not complete, and may be called again. A line that is no record is an error that Is
// ErrRecord; the next call goes on with the next line.
func (r *RecordReader) Next() (Record, error) {
	for {
		if i := bytes.IndexByte(r.buf, '\n'); i >= 0 {
			line := r.buf[:i]
			r.buf = r.buf[i+1:]
			if r.skip {
				r.skip = false
				return Record{}, fmt.Errorf("line longer than %d bytes: %w", maxRecord, ErrRecord)
			}
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			return ParseRecord(line)
		}
		if len(r.buf) > maxRecord {
			r.buf, r.skip = r.buf[:0], true
		}
		r.buf = append(make([]byte, 0, len(r.buf)+maxRecord), r.buf...)
		n, err := r.r.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		if n == 0 && err == nil {
			err = io.ErrNoProgress
		}
		if n == 0 {
			return Record{}, err
		}
	}
}
