package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"every.channel/ec/lib/object"
)

// EntryVersion is the "v" of manifest and timeline entries.
const EntryVersion = 1

// MaxEntryBytes bounds one entry.
const MaxEntryBytes = 64 << 10

// ErrEntry is the cause of every error about a malformed manifest or timeline entry.
var ErrEntry = errors.New("malformed entry")

// Scope says whose name a chunk went out under.
type Scope string

const (
	ScopeBroadcast Scope = "broadcast" // promoted: clean and on broadcast time
	ScopeSource    Scope = "source"
)

// Reasons why a chunk was not promoted.
const (
	ReasonDamaged       = "damaged"       // something was lost or changed between its start and its end
	ReasonUnsure        = "unsure"        // something was lost between the RAP before its start and its start
	ReasonUnconfirmed   = "unconfirmed"   // a PID fell silent near its end, so a loss there would not have shown
	ReasonUnsynced      = "unsynced"      // no broadcast time was known when it started
	ReasonUnidentified  = "unidentified"  // no VCT or SDT said which broadcast this is
	ReasonFirst         = "first"         // the first chunk after joining: what came before its start is not known
	ReasonDiscontinuity = "discontinuity" // what followed a reset of the clock, up to the next RAP
	ReasonCut           = "cut"           // the input ended inside it
	ReasonOversize      = "oversize"      // it has no end within bounds
	ReasonConflict      = "conflict"      // a relay holds another group under its name
	ReasonRepeated      = "repeated"      // the clock went back to a group that was promoted before
)

// Damage counts what was wrong with a chunk.
type Damage struct {
	TEI        int `json:"tei,omitempty"`        // packets with transport_error_indicator
	Continuity int `json:"continuity,omitempty"` // continuity gaps
	Scrambled  int `json:"scrambled,omitempty"`  // scrambled packets
	Sync       int `json:"sync,omitempty"`       // losses of packet sync
	PSI        int `json:"psi,omitempty"`        // changes of PAT or PMT
	Clock      int `json:"clock,omitempty"`      // unannounced jumps of the program clock
}

// String names what there is, such as "continuity 3, tei 1".
func (d Damage) String() string {
	var b []byte
	for _, n := range []struct {
		name string
		n    int
	}{{"tei", d.TEI}, {"continuity", d.Continuity}, {"scrambled", d.Scrambled}, {"sync", d.Sync}, {"psi", d.PSI}, {"clock", d.Clock}} {
		if n.n > 0 {
			b = fmt.Appendf(b, ", %s %d", n.name, n.n)
		}
	}
	return strings.TrimPrefix(string(b), ", ")
}

// ManifestEntry is one line of a source's manifest: where a chunk went and what was wrong with it.
type ManifestEntry struct {
	V     int              `json:"v"`
	Group uint64           `json:"group"`
	Track object.TrackName `json:"track"` // that the chunk went to
	Scope Scope            `json:"scope"`

	Objects int         `json:"objects"` // parts
	Bytes   int64       `json:"bytes"`   // of all payloads
	Hash    object.Hash `json:"hash"`    // BLAKE3 of the parts' hashes, one after the other (HashParts)

	PTS    uint64 `json:"pts"` // of the chunk's first access unit, 90 kHz, 33 bits
	UTC    *Time  `json:"utc,omitempty"`
	Reason string `json:"reason,omitempty"` // why not promoted

	// Candidates are the broadcast's tracks that a clean chunk belongs to if they hold its first part: it was not promoted
	// only because its start is not certain (unsure, first).
	Candidates []object.TrackName `json:"candidates,omitempty"`
	// Promoted counts the parts that went out under the broadcast's name before the rest of a chunk turned out damaged.
	Promoted int     `json:"promoted,omitempty"`
	Damage   *Damage `json:"damage,omitempty"`
	Late     bool    `json:"late,omitempty"` // the chunk was finished out of order

	Unknown Unknown `json:"-"`
}

// TimelineEntry is one line of a source's timeline: when a chunk was broadcast, as this receiver heard it.
type TimelineEntry struct {
	V     int              `json:"v"`
	Group uint64           `json:"group"`
	PTS   uint64           `json:"pts"`
	UTC   Time             `json:"utc"`
	Track object.TrackName `json:"track"`

	Unknown Unknown `json:"-"`
}

// Time is an instant written in UTC with milliseconds, RFC 3339.
type Time struct{ time.Time }

// TimeOf rounds t down to what Time can write.
func TimeOf(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

const timeLayout = "2006-01-02T15:04:05.000Z"

func (t Time) MarshalText() ([]byte, error) { return t.UTC().AppendFormat(nil, timeLayout), nil }

// MarshalJSON overrides that of time.Time, which writes as many digits as it needs.
func (t Time) MarshalJSON() ([]byte, error) {
	return t.UTC().AppendFormat(nil, `"`+timeLayout+`"`), nil
}

func (t *Time) UnmarshalJSON(b []byte) error {
	var v time.Time
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*t = TimeOf(v)
	return nil
}

// HashParts is the hash of a chunk, made from those of its parts in order.
func HashParts(parts []object.Hash) object.Hash {
	h := object.NewHasher()
	for i := range parts {
		h.Write(parts[i][:])
	}
	return h.Sum()
}

// Append appends the entry as one JSON object, the payload of one MoQ object.
func (e ManifestEntry) Append(b []byte) ([]byte, error) {
	e.V = EntryVersion
	return appendJSON(b, e)
}

// ParseManifestEntry reads one entry. Fields it does not know are kept.
func ParseManifestEntry(b []byte) (*ManifestEntry, error) {
	e := new(ManifestEntry)
	if err := parseEntry(b, e, &e.V); err != nil {
		return nil, err
	}
	return e, nil
}

// Append appends the entry as one JSON object, the payload of one MoQ object.
func (e TimelineEntry) Append(b []byte) ([]byte, error) {
	e.V = EntryVersion
	return appendJSON(b, e)
}

// ParseTimelineEntry reads one entry. Fields it does not know are kept.
func ParseTimelineEntry(b []byte) (*TimelineEntry, error) {
	e := new(TimelineEntry)
	if err := parseEntry(b, e, &e.V); err != nil {
		return nil, err
	}
	return e, nil
}

func parseEntry(b []byte, e any, v *int) error {
	if len(b) > MaxEntryBytes {
		return fmt.Errorf("%w: %d bytes, at most %d allowed", ErrEntry, len(b), MaxEntryBytes)
	}
	if err := json.Unmarshal(b, e); err != nil {
		return fmt.Errorf("%w: %w", ErrEntry, err)
	}
	if *v != EntryVersion {
		return fmt.Errorf("%w: version %d, this reader knows %d", ErrEntry, *v, EntryVersion)
	}
	return nil
}
