package clock

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// RecordVersion is the "v" of a record.
const RecordVersion = 1

// ErrRecord: a line is not a record of the broadcast clock.
var ErrRecord = errors.New("not a clock record")

// Record is one line of a clock file (docs/format/clock.md): broadcast UTC against the program's clock where a
// time table was heard, and which broadcast it was, for streams that lose their tables on the way.
type Record struct {
	UTC    time.Time // what the table says
	PCR    PCR       // the program's clock at the table
	System string    // "atsc" or "dvb"; empty: not known
	ONID   uint16    // original_network_id, DVB only
	TSID   uint16
	// Program is the program_number that was selected or the only one; 0: not known.
	Program uint16
	Name    string // for people
}

type recordJSON struct {
	V       int       `json:"v"`
	UTC     time.Time `json:"utc"`
	PCR     uint64    `json:"pcr"`
	System  string    `json:"system,omitempty"`
	ONID    uint16    `json:"onid,omitempty"`
	TSID    uint16    `json:"tsid,omitempty"`
	Program uint16    `json:"program,omitempty"`
	Name    string    `json:"name,omitempty"`
}

// Append appends the record as a line of JSON with its line end.
func (r Record) Append(b []byte) []byte {
	line, err := json.Marshal(recordJSON{RecordVersion, r.UTC.UTC(), uint64(r.PCR), r.System, r.ONID, r.TSID, r.Program, r.Name})
	if err != nil { // only a year outside 0…9999, which no table can say
		return b
	}
	return append(append(b, line...), '\n')
}

// ParseRecord reads a line. Fields it does not know are skipped.
func ParseRecord(line []byte) (Record, error) {
	var j recordJSON
	if err := json.Unmarshal(line, &j); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	switch {
	case j.V != RecordVersion:
		return Record{}, fmt.Errorf("%w: version %d", ErrRecord, j.V)
	case j.PCR >= uint64(Wrap)*300:
		return Record{}, fmt.Errorf("%w: PCR %d", ErrRecord, j.PCR)
	case j.UTC.IsZero():
		return Record{}, fmt.Errorf("%w: no utc", ErrRecord)
	case j.System != "" && j.System != "atsc" && j.System != "dvb":
		return Record{}, fmt.Errorf("%w: system %q", ErrRecord, j.System)
	}
	return Record{j.UTC, PCR(j.PCR), j.System, j.ONID, j.TSID, j.Program, j.Name}, nil
}
