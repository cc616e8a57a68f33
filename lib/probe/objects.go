package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ts"
)

const (
	maxTracks  = 4096    // counted one by one; more are counted together
	maxOpen    = 3       // groups of a track that may be unfinished at once
	maxParts   = 1 << 16 // of a group, for its hash
	maxPending = 2       // finished chunks of a track that wait for what the manifest says about them
)

// Chunk is one group of a track.
type Chunk struct {
	V        int              `json:"v"`
	Type     string           `json:"type"` // "chunk"
	Name     string           `json:"name"` // written track name and group: ec-atsc-2065-3--ts_t13 980000000
	Track    object.TrackName `json:"track"`
	Group    uint64           `json:"group"`
	Objects  int              `json:"objects"`
	Bytes    int64            `json:"bytes"`          // of payloads
	Hash     *object.Hash     `json:"hash,omitempty"` // of the parts' hashes, docs/format/catalog.md
	Whole    bool             `json:"whole"`          // an end of group was seen and nothing before it is missing
	Missing  int64            `json:"missing,omitempty"`
	PTS      *uint64          `json:"pts,omitempty"`
	Duration uint64           `json:"duration,omitempty"` // 90 kHz
	UTC      *catalog.Time    `json:"utc,omitempty"`      // as the source's manifest or timeline in the stream says
	Jump     bool             `json:"discontinuity,omitempty"`
	Reason   string           `json:"reason,omitempty"`   // why not promoted
	Promoted int              `json:"promoted,omitempty"` // parts before the first that went out under the broadcast's name
	Damage   *catalog.Damage  `json:"damage,omitempty"`
	Verified *bool            `json:"verified,omitempty"` // with --verify: every hash is right
}

// TrackCount is what there was of one track.
type TrackCount struct {
	Track   object.TrackName `json:"track"`
	Groups  int64            `json:"groups"`
	Objects int64            `json:"objects"`
	Bytes   int64            `json:"bytes"`
	First   uint64           `json:"firstGroup"`
	Last    uint64           `json:"lastGroup"`
	Torn    int64            `json:"incompleteGroups,omitempty"`
}

// ObjectReport sums up an object stream.
type ObjectReport struct {
	V          int           `json:"v"`
	Type       string        `json:"type"` // "report"
	Final      bool          `json:"final"`
	Format     string        `json:"format"` // "eco"
	Bytes      int64         `json:"bytes"`  // of the stream
	Objects    int64         `json:"objects"`
	Payload    int64         `json:"payloadBytes"`
	Tracks     []*TrackCount `json:"tracks"`
	Corrupt    int64         `json:"corrupt"`   // places where the framing was damaged
	Truncated  bool          `json:"truncated"` // the stream ends inside a record
	Verified   *Verified     `json:"verified,omitempty"`
	Skipped    int64         `json:"tracksNotListed,omitempty"`
	Contradict int64         `json:"manifestMismatches,omitempty"` // chunks that are not what the manifest says
}

// Verified counts hashes.
type Verified struct {
	OK       int64 `json:"ok"`
	Mismatch int64 `json:"mismatch"`
	NoHash   int64 `json:"noHash"`
}

type group struct {
	Chunk
	parts  []part
	ended  bool
	end    uint64                 // the id an end of group carries
	hashes bool                   // every object had one
	bad    bool                   // one of them is wrong
	entry  *catalog.ManifestEntry // what the manifest says
}

type part struct {
	id   uint64
	hash object.Hash
}

type trackState struct {
	TrackCount
	name    string
	media   bool // chunks, not what is said about them
	open    []*group
	pending []*group
}

// objects reads an object stream.
type objects struct {
	cfg      Config
	out      *lines
	rep      ObjectReport
	tracks   map[string]*trackState
	key      []byte
	manifest bool  // a manifest is in the stream: wait for what it says
	leap     uint8 // leap seconds, for the guide of ATSC
}

func runObjects(ctx context.Context, cfg Config, r io.Reader, w io.Writer) error {
	p := &objects{cfg: cfg, out: &lines{w: w}, tracks: map[string]*trackState{}}
	p.leap = 18 // since 2017; the STT that says so is not in an object stream
	p.rep = ObjectReport{V: 1, Type: "report", Format: "eco", Tracks: []*TrackCount{}}
	if cfg.Verify {
		p.rep.Verified = &Verified{}
	}
	err := p.read(ctx, object.NewReader(r))
	if _, foreign := errors.AsType[*object.MagicError](err); foreign || errors.Is(err, object.ErrVersion) {
		return &Error{err, hintOf(err)}
	}
	for _, t := range p.sorted() {
		p.finish(t)
	}
	p.rep.Final = true
	p.report()
	if err = errors.Join(err, p.out.err); err != nil {
		return err
	}
	return p.verdict()
}

func hintOf(err error) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return h.Hint()
	}
	return ""
}

func (p *objects) read(ctx context.Context, rd *object.Reader) error {
	last := p.cfg.Now()
	for {
		rec, err := rd.Next()
		if bad, ok := errors.AsType[*object.CorruptError](err); ok {
			p.rep.Corrupt++
			p.cfg.Log.Warn("damaged object stream", "offset", bad.Offset, "cause", bad.Err)
			if p.cfg.JSON {
				p.out.put(map[string]any{"v": 1, "type": "corrupt", "offset": bad.Offset, "error": bad.Err.Error()})
			}
			continue
		}
		if cut, ok := errors.AsType[*object.TruncatedError](err); ok {
			p.rep.Truncated = true
			p.cfg.Log.Warn("object stream is cut short", "offset", cut.Offset)
			return nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		p.rep.Bytes = rec.Offset + rec.Size
		p.record(rec)
		if p.out.err != nil {
			return p.out.err
		}
		if p.cfg.Interval > 0 {
			if now := p.cfg.Now(); now.Sub(last) >= p.cfg.Interval {
				last = now
				p.report()
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func (p *objects) record(rec *object.Record) {
	p.key = rec.Track.Name.Append(p.key[:0])
	t := p.tracks[string(p.key)]
	if t == nil {
		if len(p.tracks) >= maxTracks {
			p.rep.Skipped++
			return
		}
		n := rec.Track.Name.Name
		t = &trackState{name: string(p.key), media: !about(n)}
		t.Track = rec.Track.Name
		p.tracks[t.name] = t
		// The catalog of a source comes first in what ec-chop writes; a manifest will follow.
		p.manifest = p.manifest || n == catalog.TrackManifest || n == catalog.TrackCatalog && ofSource(t.Track.Namespace)
		if p.cfg.JSON {
			p.out.put(map[string]any{"v": 1, "type": "track", "track": t.Track, "offset": rec.Offset})
		} else {
			p.out.printf("track %s\n", t.name)
		}
	}
	if !rec.IsTrack {
		p.object(t, &rec.Object)
	}
}

// about tells the tracks that speak of others.
func about(name string) bool {
	switch name {
	case catalog.TrackCatalog, catalog.TrackManifest, catalog.TrackTimeline, catalog.TrackSI:
		return true
	}
	return false
}

// isTS tells the tracks that hold canonical TS: ts, ts_unsynced, ts_t13, ts_720p_t13 (docs/format/names.md).
func isTS(name string) bool {
	return name == catalog.TrackTS || strings.HasPrefix(name, catalog.TrackTS+"_")
}

// ofSource tells a receiver's own namespace from a broadcast's.
func ofSource(n object.Namespace) bool { return len(n) > 1 && n[0] == "ec" && n[1] == "source" }

func (p *objects) object(t *trackState, o *object.Object) {
	g := p.group(t, o.Group)
	if o.Status != object.Normal {
		if o.Status == object.EndOfGroup {
			g.ended, g.end = true, o.ID
			p.close(t, g)
		}
		return
	}
	p.rep.Objects++
	p.rep.Payload += int64(len(o.Payload))
	t.Objects++
	t.Bytes += int64(len(o.Payload))
	g.Objects++
	g.Bytes += int64(len(o.Payload))
	props, err := object.ParseProperties(o.Properties)
	if err != nil {
		p.cfg.Log.Warn("properties are malformed", "track", t.name, "group", o.Group, "object", o.ID, "cause", err)
		g.bad = true
		p.rep.Corrupt++
	}
	if props.HasPTS && g.PTS == nil {
		g.PTS = &props.PTS
	}
	g.Duration += props.Duration
	g.Jump = g.Jump || props.Flags&object.Discontinuity != 0
	g.hashes = g.hashes && props.HasHash
	if len(g.parts) < maxParts {
		g.parts = append(g.parts, part{o.ID, props.Hash})
	} else {
		g.hashes = false
	}
	p.verify(t, g, o, props)
	switch t.Track.Name {
	case catalog.TrackSI:
		if p.cfg.Sections {
			p.si(o.Payload)
		}
	case catalog.TrackManifest:
		if e, err := catalog.ParseManifestEntry(o.Payload); err == nil {
			p.entry(e)
		}
	case catalog.TrackTimeline:
		if e, err := catalog.ParseTimelineEntry(o.Payload); err == nil {
			p.utc(e)
		}
	}
}

// verify recomputes a hash.
func (p *objects) verify(t *trackState, g *group, o *object.Object, props object.Properties) {
	v := p.rep.Verified
	switch {
	case v == nil:
	case !props.HasHash:
		v.NoHash++
	case object.Sum(o.Payload) == props.Hash:
		v.OK++
	default:
		v.Mismatch++
		g.bad = true
		p.cfg.Log.Error("payload does not match its hash", "track", t.name, "group", o.Group, "object", o.ID)
	}
}

// group finds the chunk or begins it, and closes older ones of the track.
func (p *objects) group(t *trackState, id uint64) *group {
	for i := len(t.open) - 1; i >= 0; i-- {
		if t.open[i].Group == id {
			return t.open[i]
		}
	}
	if t.Groups == 0 {
		t.First = id
	}
	t.Groups++
	t.Last = id
	g := &group{hashes: true}
	g.Chunk = Chunk{V: 1, Type: "chunk", Name: fmt.Sprintf("%s %d", t.name, id), Track: t.Track, Group: id}
	t.open = append(t.open, g)
	if len(t.open) > maxOpen {
		p.close(t, t.open[0])
	}
	return g
}

// close ends a chunk: it is printed at once, or when the manifest has said what it knows.
func (p *objects) close(t *trackState, g *group) {
	t.open = slices.DeleteFunc(t.open, func(o *group) bool { return o == g })
	if !t.media {
		return
	}
	g.seal()
	if p.cfg.Verify {
		ok := !g.bad && g.hashes
		g.Verified = &ok
	}
	if !p.manifest || g.entry != nil {
		p.print(g)
		return
	}
	t.pending = append(t.pending, g)
	if len(t.pending) > maxPending {
		p.print(t.pending[0])
		t.pending = t.pending[1:]
	}
}

// seal computes what follows from all parts.
func (g *group) seal() {
	slices.SortFunc(g.parts, func(a, b part) int { return cmp.Compare(a.id, b.id) })
	n := len(g.parts)
	if n > 0 {
		g.Missing = int64(g.parts[n-1].id) + 1 - int64(n)
		if g.ended && g.end > g.parts[n-1].id {
			g.Missing = int64(g.end) - int64(n)
		}
	} else if g.ended {
		g.Missing = int64(g.end)
	}
	g.Whole = g.ended && g.Missing == 0
	if g.hashes && n > 0 {
		h := make([]object.Hash, n)
		for i := range h {
			h[i] = g.parts[i].hash
		}
		sum := catalog.HashParts(h)
		g.Hash = &sum
	}
	g.parts = nil
}

// entry takes what a manifest says about a chunk. It may come before the chunk's end or after.
func (p *objects) entry(e *catalog.ManifestEntry) {
	if p.cfg.JSON {
		p.out.put(struct {
			V     int                    `json:"v"`
			Type  string                 `json:"type"`
			Entry *catalog.ManifestEntry `json:"entry"`
		}{1, "manifest", e})
	}
	t := p.tracks[e.Track.String()]
	if t == nil {
		return
	}
	for _, g := range t.open {
		if g.Group == e.Group {
			g.entry = e
		}
	}
	for i, g := range t.pending {
		if g.Group != e.Group {
			continue
		}
		g.entry = e
		for _, done := range t.pending[:i+1] {
			p.print(done)
		}
		t.pending = t.pending[i+1:]
		return
	}
}

// compare adds what the manifest knows and checks that it speaks of what is here. Of a chunk whose first
// parts were promoted (docs/format/chunk.md) it knows all parts, of which this group holds the rest.
func (p *objects) compare(g *group) {
	e := g.entry
	if e == nil {
		return
	}
	if e.UTC != nil {
		g.UTC = e.UTC
	}
	g.Reason, g.Damage = e.Reason, e.Damage
	if g.PTS == nil {
		g.PTS = &e.PTS
	}
	if e.Scope == catalog.ScopeSource && e.Promoted > 0 {
		g.Promoted = e.Promoted
		g.Missing = max(0, g.Missing-int64(e.Promoted))
		g.Whole = g.ended && g.Missing == 0
		g.Hash = nil // of a part of the chunk; the manifest has that of the whole
		return
	}
	if g.Objects != e.Objects || g.Bytes != e.Bytes || g.Hash != nil && *g.Hash != e.Hash {
		p.rep.Contradict++
		p.cfg.Log.Warn("chunk is not what the manifest says", "chunk", g.Name)
	}
}

// si prints the sections of an si track: PID, then the section (docs/format/chunk.md).
func (p *objects) si(b []byte) {
	for len(b) >= 5 {
		pid := ts.PID(b[0]&0x1f)<<8 | ts.PID(b[1])
		n := 5 + int(b[3]&0x0f)<<8 + int(b[4])
		if n > len(b) {
			return
		}
		printSection(p.out, p.cfg.JSON, sectionLine{PID: pid}, b[2:n], p.leap)
		b = b[n:]
	}
}

// utc takes what a timeline says.
func (p *objects) utc(e *catalog.TimelineEntry) {
	t := p.tracks[e.Track.String()]
	if t == nil {
		return
	}
	for _, list := range [][]*group{t.open, t.pending} {
		for _, g := range list {
			if g.Group == e.Group && g.UTC == nil {
				g.UTC = &e.UTC
			}
		}
	}
}

// finish prints what is left of a track at the end.
func (p *objects) finish(t *trackState) {
	for len(t.open) > 0 {
		p.close(t, t.open[0])
	}
	for _, g := range t.pending {
		p.print(g)
	}
	t.pending = nil
}

func (p *objects) sorted() []*trackState {
	all := make([]*trackState, 0, len(p.tracks))
	for _, t := range p.tracks {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *trackState) int { return strings.Compare(a.name, b.name) })
	return all
}

func (p *objects) print(g *group) {
	p.compare(g)
	if t := p.tracks[g.Track.String()]; !g.Whole {
		t.Torn++
	}
	if p.cfg.JSON {
		p.out.put(g.Chunk)
		return
	}
	o := p.out
	o.printf("%s  %d objects, %d bytes", g.Name, g.Objects, g.Bytes)
	if g.Hash != nil {
		o.printf("  %.16s", g.Hash)
	}
	if g.PTS != nil {
		o.printf("  PTS %d", *g.PTS)
	}
	if g.Duration > 0 {
		o.printf(" %.3f s", clock.Ticks(g.Duration).Duration().Seconds())
	}
	if g.UTC != nil {
		o.printf("  UTC %s", g.UTC.Format("2006-01-02 15:04:05.000"))
	}
	if g.Jump {
		o.printf("  discontinuity")
	}
	if g.Missing > 0 {
		o.printf("  %d objects missing", g.Missing)
	}
	if !g.Whole && g.Missing == 0 {
		o.printf("  no end")
	}
	if g.Promoted > 0 {
		o.printf("  %d parts before went out under the broadcast's name", g.Promoted)
	}
	if g.Reason != "" {
		o.printf("  %s", g.Reason)
	}
	if d := g.Damage; d != nil {
		o.printf("  tei %d cc %d scrambled %d sync %d psi %d", d.TEI, d.Continuity, d.Scrambled, d.Sync, d.PSI)
	}
	if g.Verified != nil {
		if *g.Verified {
			o.printf("  verified")
		} else {
			o.printf("  DOES NOT VERIFY")
		}
	}
	o.printf("\n")
}

func (p *objects) report() {
	r := &p.rep
	r.Tracks = r.Tracks[:0]
	for _, t := range p.sorted() {
		r.Tracks = append(r.Tracks, &t.TrackCount)
	}
	if p.cfg.JSON {
		p.out.put(r)
		return
	}
	o := p.out
	o.printf("\nobject stream: %s, %d objects with %s in %d tracks\n", bytesText(r.Bytes), r.Objects, bytesText(r.Payload), len(r.Tracks)+int(r.Skipped))
	for _, t := range r.Tracks {
		o.printf("  %-40s %6d groups %8d objects %12d bytes", t.Track, t.Groups, t.Objects, t.Bytes)
		if t.Groups > 0 {
			o.printf("  groups %d to %d", t.First, t.Last)
		}
		if t.Torn > 0 {
			o.printf(", %d incomplete", t.Torn)
		}
		o.printf("\n")
	}
	if v := r.Verified; v != nil {
		o.printf("hashes: %d right, %d wrong, %d objects without\n", v.OK, v.Mismatch, v.NoHash)
	}
	if r.Contradict > 0 {
		o.printf("%d chunks are not what the manifest says\n", r.Contradict)
	}
	if r.Corrupt > 0 || r.Truncated {
		o.printf("damaged at %d places, cut short: %v\n", r.Corrupt, r.Truncated)
	}
}

func (p *objects) verdict() error {
	r := &p.rep
	switch {
	case r.Verified != nil && (r.Verified.Mismatch > 0 || r.Contradict > 0):
		return &Error{fmt.Errorf("%w: %d wrong hashes, %d chunks differ from the manifest", ErrMismatch, r.Verified.Mismatch, r.Contradict), ""}
	case r.Corrupt > 0:
		return &Error{fmt.Errorf("%w: the object stream at %d places", ErrDamaged, r.Corrupt), ""}
	case r.Truncated:
		return &Error{object.ErrTruncated, "all records before its end were read"}
	}
	return nil
}
