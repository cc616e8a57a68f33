package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Health is one entry of a source's health track: how well its receiver receives (docs/format/health.md). Counters run from the start of the
// program that writes the track, and never go down.
type Health struct {
	V         int       `json:"v"`
	UTC       *Time     `json:"utc,omitempty"` // broadcast UTC of the chunk that ended before; nil: not known, or none ended lately
	Seconds   float64   `json:"seconds"`       // of the stream, by its PCR
	Silent    float64   `json:"silent,omitempty"`
	Packets   int64     `json:"packets"`
	Lost      int64     `json:"lostPackets"` // at least
	Scrambled int64     `json:"scrambledPackets"`
	Rate      int64     `json:"bitsPerSecond"` // since the entry before, by PCR; 0: not known
	TR101290  TR101290  `json:"tr101290"`
	Chunks    ChunkSums `json:"chunks"`
	Tuner     *Tuner    `json:"tuner,omitempty"` // nil: nobody told of one

	Unknown Unknown `json:"-"`
}

// ChunkSums counts the chunks of a source.
type ChunkSums struct {
	All      int64 `json:"all"`
	Promoted int64 `json:"promoted"` // whole, under the broadcast's name
	Damaged  int64 `json:"damaged"`
	Late     int64 `json:"late"` // promoted ones of which damage was told later
}

// TR101290 are the counters of ETSI TR 101 290 V1.4.1 §5.2.1 and §5.2.2, by their names there.
type TR101290 struct {
	Priority1 Priority1 `json:"priority1"`
	Priority2 Priority2 `json:"priority2"`
}

// Priority1 are the counters of TR 101 290 §5.2.1.
type Priority1 struct {
	SyncLoss   int64 `json:"TS_sync_loss"`
	SyncByte   int64 `json:"Sync_byte_error"`
	PAT        int64 `json:"PAT_error"`
	PAT2       int64 `json:"PAT_error_2"`
	Continuity int64 `json:"Continuity_count_error"`
	PMT        int64 `json:"PMT_error"`
	PID        int64 `json:"PID_error"`
}

// Priority2 are the counters of TR 101 290 §5.2.2.
type Priority2 struct {
	Transport        int64  `json:"Transport_error"`
	CRC              int64  `json:"CRC_error"`
	PCRRepetition    int64  `json:"PCR_repetition_error"`
	PCRDiscontinuity int64  `json:"PCR_discontinuity_indicator_error"`
	PCRAccuracy      *int64 `json:"PCR_accuracy_error"` // null: not measurable, the bit rate varies
	PTS              int64  `json:"PTS_error"`
	CAT              int64  `json:"CAT_error"`
}

// Counter is one counter of TR 101 290 with its name there.
type Counter struct {
	Name string
	N    int64
}

// Counters returns the counters in the order of TR 101 290, those that are measurable.
func (t *TR101290) Counters() []Counter {
	a, b := &t.Priority1, &t.Priority2
	list := []Counter{
		{"TS_sync_loss", a.SyncLoss}, {"Sync_byte_error", a.SyncByte}, {"PAT_error", a.PAT}, {"PAT_error_2", a.PAT2},
		{"Continuity_count_error", a.Continuity}, {"PMT_error", a.PMT}, {"PID_error", a.PID}, {"Transport_error", b.Transport},
		{"CRC_error", b.CRC}, {"PCR_repetition_error", b.PCRRepetition}, {"PCR_discontinuity_indicator_error", b.PCRDiscontinuity},
	}
	if b.PCRAccuracy != nil {
		list = append(list, Counter{"PCR_accuracy_error", *b.PCRAccuracy})
	}
	return append(list, Counter{"PTS_error", b.PTS}, Counter{"CAT_error", b.CAT})
}

// Grow makes every counter at least that of before. A counter that tells what is overdue at this moment may be lower than it was.
func (t *TR101290) Grow(before *TR101290) {
	p, q := &t.Priority1, &before.Priority1
	for _, c := range [][2]*int64{
		{&p.SyncLoss, &q.SyncLoss}, {&p.SyncByte, &q.SyncByte}, {&p.PAT, &q.PAT}, {&p.PAT2, &q.PAT2}, {&p.Continuity, &q.Continuity},
		{&p.PMT, &q.PMT}, {&p.PID, &q.PID},
		{&t.Priority2.Transport, &before.Priority2.Transport}, {&t.Priority2.CRC, &before.Priority2.CRC},
		{&t.Priority2.PCRRepetition, &before.Priority2.PCRRepetition},
		{&t.Priority2.PCRDiscontinuity, &before.Priority2.PCRDiscontinuity},
		{&t.Priority2.PTS, &before.Priority2.PTS}, {&t.Priority2.CAT, &before.Priority2.CAT},
	} {
		*c[0] = max(*c[0], *c[1])
	}
}

// Tuner is what a receiver knows of its tuner and of the way from there: the file of ec-tune --health, and a member of Health.
type Tuner struct {
	V   int  `json:"v"`
	UTC Time `json:"utc"` // when this was, by the clock of the receiver's machine
	// Percent, as the device tells; nil: it does not.
	Strength *int `json:"signalStrength,omitempty"`
	Quality  *int `json:"signalQuality,omitempty"`
	Symbol   *int `json:"symbolQuality,omitempty"`

	Bytes     int64   `json:"bytes"`
	Lost      int64   `json:"lostPackets"`     // by continuity counters, on all PIDs, at least
	TEI       int64   `json:"transportErrors"` // packets that the tuner could not correct
	Gaps      int64   `json:"gaps"`            // times that nothing came, and then something again
	Silent    float64 `json:"silent"`          // seconds since the last bytes
	Datagrams int64   `json:"lostDatagrams,omitempty"`
}

// MaxTunerBytes bounds the record of a tuner.
const MaxTunerBytes = 4096

// ErrTuner is the cause of every error about a malformed record of a tuner.
var ErrTuner = errors.New("not a record of a tuner")

// Append appends the record as one line.
func (t Tuner) Append(b []byte) ([]byte, error) {
	t.V = EntryVersion
	b, err := appendJSON(b, t)
	if err != nil {
		return b, err
	}
	return append(b, '\n'), nil
}

// ParseTuner reads the record of a tuner.
func ParseTuner(b []byte) (*Tuner, error) {
	t := new(Tuner)
	if len(b) > MaxTunerBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTuner, MaxTunerBytes)
	}
	if err := json.Unmarshal(b, t); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTuner, err)
	}
	if t.V != EntryVersion {
		return nil, fmt.Errorf("%w: version %d, this reader knows %d", ErrTuner, t.V, EntryVersion)
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	return t, nil
}

// check reports values that cannot be.
func (t *Tuner) check() error {
	for _, p := range []*int{t.Strength, t.Quality, t.Symbol} {
		if p != nil && (*p < 0 || *p > 100) {
			return fmt.Errorf("%w: %d %%", ErrTuner, *p)
		}
	}
	if min(t.Bytes, t.Lost, t.TEI, t.Gaps, t.Datagrams) < 0 || t.Silent < 0 {
		return fmt.Errorf("%w: a number below 0", ErrTuner)
	}
	return nil
}

// Fresh reports whether the record is about as old as records are written often, or a little older.
func (t *Tuner) Fresh(now time.Time) bool {
	age := now.Sub(t.UTC.Time)
	return age > -StaleTuner && age < StaleTuner
}

// TunerEvery is how often a tuner's record is written, and StaleTuner the age from which on it says nothing any more.
const (
	TunerEvery = 5 * time.Second
	StaleTuner = 30 * time.Second
)

// Append appends the entry as one JSON object, the payload of one MoQ object.
func (h Health) Append(b []byte) ([]byte, error) {
	h.V = EntryVersion
	return appendJSON(b, h)
}

// ParseHealth reads one entry. Fields it does not know are kept.
func ParseHealth(b []byte) (*Health, error) {
	h := new(Health)
	if err := parseEntry(b, h, &h.V); err != nil {
		return nil, err
	}
	least := min(h.Packets, h.Lost, h.Scrambled, h.Rate, h.Chunks.All, h.Chunks.Promoted, h.Chunks.Damaged, h.Chunks.Late)
	for _, c := range h.TR101290.Counters() {
		least = min(least, c.N)
	}
	if least < 0 || h.Seconds < 0 || h.Silent < 0 {
		return nil, fmt.Errorf("%w: a number below 0", ErrEntry)
	}
	if h.Tuner != nil {
		if err := h.Tuner.check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrEntry, err)
		}
	}
	return h, nil
}

func (h Health) MarshalJSON() ([]byte, error) {
	type plain Health
	return marshal(plain(h), h.Unknown)
}

func (h *Health) UnmarshalJSON(b []byte) (err error) {
	type plain Health
	h.Unknown, err = unmarshal(b, (*plain)(h))
	return err
}
