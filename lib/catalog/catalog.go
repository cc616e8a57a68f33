package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
)

// MSFVersion is the version field that players accept.
const MSFVersion = "draft-01"

// MaxBytes bounds a catalog.
const MaxBytes = 1 << 20

// Names of tracks, docs/format/names.md.
const (
	TrackCatalog  = "catalog"
	TrackManifest = "manifest"
	TrackTimeline = "timeline"
	TrackSI       = "si"
	TrackHealth   = "health"
	TrackTS       = "ts" // prefix of ts_t00 … ts_t26 in a broadcast's namespace
)

// Packagings.
const (
	PackagingM2TS = "m2ts"
	PackagingCMAF = "cmaf"
)

// ErrCatalog is the cause of every error about a payload that is no catalog.
var ErrCatalog = errors.New("not a catalog")

// Catalog is an MSF catalog.
type Catalog struct {
	Version     Version    `json:"version"`
	GeneratedAt *int64     `json:"generatedAt,omitempty"` // Unix ms; leave nil where bytes must not depend on when
	IsComplete  bool       `json:"isComplete,omitempty"`
	Tracks      []Track    `json:"tracks"`
	InitData    []InitData `json:"initDataList,omitempty"`
	EC          *Private   `json:"ec,omitempty"`

	// Unknown keeps the fields that are not ours.
	Unknown Unknown `json:"-"`
}

// Track is one track of a catalog. Zero values are left out, except isLive.
type Track struct {
	Name          string   `json:"name"`
	Namespace     string   `json:"namespace,omitempty"` // left out: the catalog's own, which all players understand
	Packaging     string   `json:"packaging"`
	IsLive        bool     `json:"isLive"`
	Role          string   `json:"role,omitempty"`
	Label         string   `json:"label,omitempty"`
	MimeType      string   `json:"mimeType,omitempty"`
	Codec         string   `json:"codec,omitempty"`
	Width         int      `json:"width,omitempty"`
	Height        int      `json:"height,omitempty"`
	Framerate     float64  `json:"framerate,omitempty"`
	Samplerate    int      `json:"samplerate,omitempty"`
	ChannelConfig string   `json:"channelConfig,omitempty"`
	Bitrate       int64    `json:"bitrate,omitempty"` // bit/s
	Lang          string   `json:"lang,omitempty"`
	Timescale     int      `json:"timescale,omitempty"`
	RenderGroup   int      `json:"renderGroup,omitempty"`
	AltGroup      int      `json:"altGroup,omitempty"`
	TargetLatency int      `json:"targetLatency,omitempty"` // ms
	TrackDuration int64    `json:"trackDuration,omitempty"` // ms
	Depends       []string `json:"depends,omitempty"`
	InitRef       string   `json:"initRef,omitempty"`  // id in Catalog.InitData
	InitData      []byte   `json:"initData,omitempty"` // base64; of m2ts: PAT and PMT packets

	// Transport stream packaging, draft-gregoire-moq-msfts §6.
	M2TSPacketSize       int   `json:"m2tsPacketSize,omitempty"` // 188 or 192
	M2TSPacketsPerObject int   `json:"m2tsPacketsPerObject,omitempty"`
	M2TSProgramNumber    int   `json:"m2tsProgramNumber,omitempty"`
	M2TSPMTPID           int   `json:"m2tsPmtPid,omitempty"`
	M2TSPCRPID           int   `json:"m2tsPcrPid,omitempty"`
	M2TSSIPIDs           []int `json:"m2tsSiPids,omitempty"`
	M2TSRandomAccess     bool  `json:"m2tsRandomAccess,omitempty"` // every group starts at a random access point

	EC      *Private `json:"ec,omitempty"`
	Unknown Unknown  `json:"-"`
}

// InitData is initialisation data that tracks refer to.
type InitData struct {
	ID   string `json:"id"`
	Type string `json:"type"` // "inline"
	Data []byte `json:"data"` // base64

	Unknown Unknown `json:"-"`
}

// Private is what this project adds, under "ec", to a catalog or to one of its tracks.
type Private struct {
	// Broadcast is the written namespace of the broadcast that a source promotes its clean chunks to.
	Broadcast string `json:"broadcast,omitempty"`
	// Source is the written namespace of the receiver; only in source-scoped catalogs.
	Source string `json:"source,omitempty"`
	// Track is the catalog's current transport stream track, `ts_t13`.
	Track string `json:"track,omitempty"`
	// BroadcastTrack is the track of Broadcast that clean chunks go to; only in source-scoped catalogs.
	BroadcastTrack string `json:"broadcastTrack,omitempty"`
	// Timeline is the timeline id of that track, -13 to 13; nil when not known.
	Timeline *int `json:"timeline,omitempty"`
	// Duration and Part are the chunk grid in 90 kHz ticks.
	Duration uint64 `json:"duration,omitempty"`
	Part     uint64 `json:"part,omitempty"`
	// Streams lists the elementary streams of a transport stream track.
	Streams []Stream `json:"streams,omitempty"`
	// Labels are for people: "callsign", "channel", "service". Only in source-scoped catalogs.
	Labels map[string]string `json:"labels,omitempty"`

	Unknown Unknown `json:"-"`
}

// Stream is an elementary stream of a transport stream (H.222.0 §2.4.4.9).
type Stream struct {
	PID   int    `json:"pid"`
	Type  int    `json:"type"` // stream_type
	Codec string `json:"codec,omitempty"`
	Lang  string `json:"lang,omitempty"`

	Unknown Unknown `json:"-"`
}

// Version is a string; some publishers write a number.
type Version string

func (v *Version) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(v))
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*v = Version(n)
	return nil
}

// Append appends the catalog as JSON, with the version filled in if it is empty.
func (c Catalog) Append(b []byte) ([]byte, error) {
	if c.Version == "" {
		c.Version = MSFVersion
	}
	if c.Tracks == nil {
		c.Tracks = []Track{}
	}
	return appendJSON(b, c)
}

// Encode returns the catalog as JSON.
func (c Catalog) Encode() ([]byte, error) { return c.Append(nil) }

// Parse reads a catalog. It is lenient: versions and fields it does not know are kept.
func Parse(b []byte) (*Catalog, error) {
	if len(b) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrCatalog, len(b), MaxBytes)
	}
	var c Catalog
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCatalog, err)
	}
	if c.Version == "" && c.Tracks == nil {
		return nil, fmt.Errorf("%w: neither version nor tracks", ErrCatalog)
	}
	return &c, nil
}

// TS returns the transport stream track to play: the one the private fields call current, else the
// last one of packaging m2ts. It is nil if there is none.
func (c *Catalog) TS() *Track {
	var found *Track
	for i := range c.Tracks {
		t := &c.Tracks[i]
		if t.Packaging != PackagingM2TS || t.Namespace != "" {
			continue
		}
		if c.EC != nil && c.EC.Track == t.Name {
			return t
		}
		found = t
	}
	return found
}

// Init returns a track's initialisation data, inline or referred to.
func (c *Catalog) Init(t *Track) []byte {
	if len(t.InitData) > 0 || t.InitRef == "" {
		return t.InitData
	}
	for _, d := range c.InitData {
		if d.ID == t.InitRef {
			return d.Data
		}
	}
	return nil
}

// TSTrack reports the timeline of a broadcast's track, `ts_t07` → -6 (docs/format/chunk.md), its variant, “ for the
// broadcast's own bytes in the usual chunks or `_d4000_p200_ref1` for others, and whether name is one.
func TSTrack(name string) (timeline int, variant string, ok bool) {
	rest, ok := strings.CutPrefix(name, TrackTS)
	i := len(rest) - len("_t00")
	if !ok || i < 0 || rest[i] != '_' || rest[0] != '_' {
		return 0, "", false
	}
	if timeline, ok = clock.ParseTimeline(rest[i+1:]); !ok {
		return 0, "", false
	}
	return timeline, rest[:i], true
}

// IsTS reports whether a track holds chunks: `ts`, `ts_unsynced`, `ts_t13`, `ts_ref1_t13`. Their group ids are those of
// docs/format/chunk.md, a bucket and a tag.
func IsTS(name string) bool { return name == TrackTS || strings.HasPrefix(name, TrackTS+"_") }

// For returns the catalog that describes a track. Each variant of a broadcast has its own, `catalog_ref1`, because two
// publishers must not write different catalogs under one name; all timelines of a variant share one.
func For(t object.TrackName) object.TrackName {
	_, variant, _ := TSTrack(t.Name)
	return object.TrackName{Namespace: t.Namespace, Name: TrackCatalog + variant}
}

// Of returns the catalog track of a namespace.
func Of(ns object.Namespace) object.TrackName {
	return object.TrackName{Namespace: ns, Name: TrackCatalog}
}
