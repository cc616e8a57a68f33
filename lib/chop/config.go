// Package chop turns a transport stream into named objects.
//
// In: MPEG-TS (H.222.0) of a broadcast that any number of receivers may hear. Out: parts and chunks of
// canonical TS whose bytes and names are derived from the broadcast alone, so that two receivers that
// joined at different times emit identical objects, plus the receiver's own catalog, manifest, timeline
// and SI. The rules are in docs/format/chunk.md, the names in docs/format/names.md.
package chop

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"
)

// Sink takes objects in the order in which they should travel. *object.Writer is one.
type Sink interface {
	WriteObject(track object.TrackName, o *object.Object) error
}

// Identity names a broadcast. The zero value is unknown.
type Identity struct {
	System  string // "atsc" or "dvb"
	ONID    uint16 // original_network_id, DVB only
	TSID    uint16 // transport_stream_id
	Program uint16 // program_number, the service_id in DVB
}

// Known reports whether id names a broadcast.
func (id Identity) Known() bool { return id.System != "" }

// Namespace is the broadcast's namespace, docs/format/names.md.
func (id Identity) Namespace() object.Namespace {
	n := func(v uint16) string { return fmt.Sprint(v) }
	if id.System == "dvb" {
		return object.Namespace{"ec", "dvb", n(id.ONID), n(id.TSID), n(id.Program)}
	}
	return object.Namespace{"ec", id.System, n(id.TSID), n(id.Program)}
}

// ParseIdentity reads the written form of a broadcast's namespace, for example ec-atsc-2065-3.
func ParseIdentity(s string) (Identity, error) {
	var id Identity
	bad := fmt.Errorf("%q is not a broadcast: want ec-atsc-TSID-PROGRAM or ec-dvb-ONID-TSID-SID", s)
	ns, err := object.ParseNamespace(s)
	if err != nil || len(ns) < 4 || ns[0] != "ec" {
		return id, bad
	}
	var fields []*uint16
	switch {
	case ns[1] == "atsc" && len(ns) == 4:
		fields = []*uint16{&id.TSID, &id.Program}
	case ns[1] == "dvb" && len(ns) == 5:
		fields = []*uint16{&id.ONID, &id.TSID, &id.Program}
	default:
		return id, bad
	}
	id.System = ns[1]
	for i, f := range fields {
		if _, err := fmt.Sscanf(ns[2+i], "%d", f); err != nil || fmt.Sprint(*f) != ns[2+i] {
			return Identity{}, bad
		}
	}
	return id, nil
}

// Promotion says how much must be known to be clean before it goes out under the broadcast's name.
type Promotion uint8

const (
	// PromoteChunk holds a chunk until its end is known to be clean. A damaged chunk leaves nothing under the
	// broadcast's name. Costs one chunk of latency.
	PromoteChunk Promotion = iota
	// PromotePart holds a part only until its end is known to be clean: the parts before a damage are
	// promoted, the rest of the chunk is not.
	PromotePart
)

// ClockMode is where broadcast time comes from.
type ClockMode uint8

const (
	// ClockBroadcast takes ATSC STT or DVB TDT and TOT from the stream.
	ClockBroadcast ClockMode = iota
	// ClockHost falls back on Config.Now for a stream without time tables.
	ClockHost
	// ClockFile takes Config.ClockFile, recorded before the stream lost its tables.
	ClockFile
)

// Defaults.
const (
	DefaultDuration = 2 * time.Second
	DefaultPart     = 200 * time.Millisecond
)

// Config of a run. The zero value is usable.
type Config struct {
	Program  uint          // program_number, 1 … 65535; 0 (default): the only one
	Duration time.Duration // of a chunk; default 2 s, 200 ms … 60 s
	Part     time.Duration // of a part; default 200 ms, 20 ms … Duration
	Promote  Promotion     // default PromoteChunk

	Clock     ClockMode        // default ClockBroadcast
	ClockFile string           // path for ClockFile
	Now       func() time.Time // for ClockHost; default time.Now

	Verbatim  bool     // with ClockFile: the stream is the broadcast's own bytes; default: a rendition
	Source    string   // source id; default derived from Host and the stream
	Host      string   // part of the default source id; default "host"
	Broadcast Identity // overrides what the stream says; default: from the stream
	Rendition string   // names a version of the broadcast that is not its own bytes; default: none

	Meter Meter                 // measures for the health track; default: there is no such track
	Tuner func() *catalog.Tuner // for the health track: how the tuner receives, nil if nobody tells; default: nobody does

	Log *slog.Logger // default: discard
}

// maxChunk bounds what is held of one chunk. It is counted in canonical bytes, so that every receiver of
// the broadcast comes to the same answer.
const maxChunk = 128 << 20

// maxPart bounds a part likewise; the framing allows 64 MiB.
const maxPart = 32 << 20

func (c *Config) setDefaults() error {
	if c.Duration == 0 {
		c.Duration = DefaultDuration
	}
	if c.Part == 0 {
		c.Part = min(DefaultPart, c.Duration)
	}
	if c.Duration < 200*time.Millisecond || c.Duration > time.Minute {
		return &InputError{Code: exit.Usage, Err: fmt.Errorf("duration %v is outside 200ms to 1m", c.Duration)}
	}
	if c.Part < 20*time.Millisecond || c.Part > c.Duration {
		return &InputError{Code: exit.Usage, Err: fmt.Errorf("part %v is outside 20ms to the chunk's %v", c.Part, c.Duration)}
	}
	if c.Program > 0xffff {
		return &InputError{Code: exit.Usage, Err: fmt.Errorf("program %d is above 65535", c.Program)}
	}
	for _, r := range c.Rendition {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return &InputError{Code: exit.Usage, Err: fmt.Errorf("rendition %q: only a-z and 0-9", c.Rendition)}
		}
	}
	if c.Clock == ClockFile && c.Rendition == "" && !c.Verbatim {
		c.Rendition = "filtered"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Host == "" {
		c.Host = "host"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// trackName is the name of the broadcast's track for a timeline: what would cut or encode differently has
// another name.
func (c *Config) trackName(timeline string) string {
	s := "ts"
	if c.Duration != DefaultDuration || c.Part != DefaultPart {
		s += fmt.Sprintf("_d%d_p%d", c.Duration.Milliseconds(), c.Part.Milliseconds())
	}
	if c.Rendition != "" {
		s += "_" + c.Rendition
	}
	return s + "_" + timeline
}

// InputError is bad input or a bad setting: a message, an exit code and perhaps a hint.
type InputError struct {
	Err  error
	Code int // 64 usage, 65 bad data (the default)
	Tip  string
}

func (e *InputError) Error() string { return e.Err.Error() }
func (e *InputError) Unwrap() error { return e.Err }

// ExitCode is the command's exit code.
func (e *InputError) ExitCode() int {
	if e.Code == 0 {
		return exit.BadData
	}
	return e.Code
}

// Hint is advice for the user.
func (e *InputError) Hint() string { return e.Tip }

// Stats sums up a run.
type Stats struct {
	Packets    int64 // read
	Leading    int64 // dropped before the first random access point
	Chunks     int64 // all
	Synced     int64 // of them, on broadcast time
	Identified int64 // of them, whose broadcast is known
	Promoted   int64 // of them, that went out whole under the broadcast's name
	Damaged    int64 // of them, with damage
	Late       int64 // promoted chunks of which damage was told later
	Bytes      int64 // canonical, promoted or not
}

// Report logs the sum of a run, with advice where little could be promoted.
func (s Stats) Report(cfg Config) {
	log := cfg.Log
	if log == nil || s.Chunks == 0 {
		return
	}
	log.Info("end of stream", "chunks", s.Chunks, "promoted", s.Promoted, "damaged", s.Damaged, "late", s.Late, "bytes", s.Bytes, "packets", s.Packets, "leading", s.Leading)
	if s.Synced == 0 {
		log.Warn("no chunk has the broadcast's time, so every chunk is source-scoped",
			"hint", "a broadcast with a TDT and no TOT needs 30 s; of a stream without time tables use --clock host, or --clock file:FILE with a record made by ec-tune --clock FILE")
	} else if s.Identified == 0 {
		log.Warn("no VCT or SDT named the broadcast, so every chunk is source-scoped", "hint", "name it with --broadcast ec-atsc-TSID-PROGRAM")
	}
}

// Settings reads the values of a command's flags into the config.
func (c *Config) Settings(promote, clk, broadcast string) (err error) {
	switch promote {
	case "chunk":
		c.Promote = PromoteChunk
	case "part":
		c.Promote = PromotePart
	default:
		return fmt.Errorf("--promote %q: want chunk or part", promote)
	}
	file, isFile := strings.CutPrefix(clk, "file:")
	switch {
	case isFile:
		c.Clock, c.ClockFile = ClockFile, file
	case clk == "broadcast":
		c.Clock = ClockBroadcast
	case clk == "host":
		c.Clock = ClockHost
	default:
		return fmt.Errorf("--clock %q: want broadcast, host or file:FILE", clk)
	}
	if broadcast != "" {
		if c.Broadcast, err = ParseIdentity(broadcast); err != nil {
			return err
		}
	}
	return nil
}
