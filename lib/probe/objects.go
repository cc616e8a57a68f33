package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ts"
)

const (
	maxTracks  = 4096    // counted one by one; more are counted together
	maxOpen    = 3       // groups of a track that may be unfinished at once
	maxParts   = 1 << 16 // of a group, for its hash
	maxPending = 2       // finished chunks of a track that wait for what the manifest says about them
)

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
	Late       int64         `json:"toldLate,omitempty"`           // chunks that the manifest named again, with what was learnt later
}

// Verified counts hashes.
type Verified struct {
	OK       int64 `json:"ok"`
	Mismatch int64 `json:"mismatch"`
	NoHash   int64 `json:"noHash"`
}

type trackState struct {
	TrackCount
	seen
	name    string
	media   bool // chunks, not what is said about them
	open    []*group
	pending []*group
}

// objects reads an object stream.
type objects struct {
	cfg Config

	mu       sync.Mutex // guards all below: a report may be due while objects are awaited
	out      *lines
	rep      ObjectReport
	tracks   map[string]*trackState
	key      []byte
	manifest bool                       // a manifest is in the stream: wait for what it says
	leap     uint8                      // leap seconds, for the guide of ATSC
	healths  map[string]*catalog.Health // the newest of each source, for Config.Top
}

func runObjects(ctx context.Context, cfg Config, r io.Reader, w io.Writer) error {
	p := &objects{cfg: cfg, out: &lines{w: w}, tracks: map[string]*trackState{}, healths: map[string]*catalog.Health{}}
	p.leap = 18 // since 2017; the STT that says so is not in an object stream
	p.rep = ObjectReport{V: 1, Type: "report", Format: "eco", Tracks: []*TrackCount{}}
	if cfg.Verify {
		p.rep.Verified = &Verified{}
	}
	show, interval := p.report, cfg.Interval
	if cfg.Top != nil {
		p.out.w = io.Discard
		top := &topObjects{p: p, bytes: map[*trackState]int64{}}
		show, interval = func() { p.out.show(cfg.Top, top.picture(cfg.Now())) }, topEvery
	}
	stop := every(interval, &p.mu, show)
	err := p.read(ctx, object.NewReader(r))
	stop()
	if _, foreign := errors.AsType[*object.MagicError](err); foreign || errors.Is(err, object.ErrVersion) {
		return &Error{err, exit.Hint(err)}
	}
	for _, t := range p.sorted() {
		p.finish(t)
	}
	p.rep.Final = true
	if cfg.Top == nil {
		show = p.report
	}
	show()
	if err = errors.Join(err, p.out.err); err != nil {
		return err
	}
	return p.verdict()
}

func (p *objects) read(ctx context.Context, rd *object.Reader) error {
	for {
		rec, err := rd.Next()
		if err == io.EOF {
			return nil
		}
		if done, err := p.next(rec, err); done || err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// next takes what the reader returned, and tells whether it was the last.
func (p *objects) next(rec *object.Record, err error) (done bool, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bad, ok := errors.AsType[*object.CorruptError](err); ok {
		p.rep.Corrupt++
		p.cfg.Log.Warn("damaged object stream", "offset", bad.Offset, "err", bad.Err)
		if p.cfg.JSON {
			p.out.put(map[string]any{"v": 1, "type": "corrupt", "offset": bad.Offset, "error": bad.Err.Error()})
		}
		return false, p.out.err
	}
	if cut, ok := errors.AsType[*object.TruncatedError](err); ok {
		p.rep.Truncated = true
		p.cfg.Log.Warn("object stream is cut short", "offset", cut.Offset)
		return true, nil
	}
	if err != nil {
		return true, err
	}
	p.rep.Bytes = rec.Offset + rec.Size
	p.record(rec)
	return false, p.out.err
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
	case catalog.TrackCatalog, catalog.TrackManifest, catalog.TrackTimeline, catalog.TrackSI, catalog.TrackHealth:
		return true
	}
	return false
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
		p.cfg.Log.Warn("properties are malformed", "track", t.name, "group", o.Group, "object", o.ID, "err", err)
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
	case catalog.TrackCatalog:
		p.catalog(t, o.Payload)
	case catalog.TrackManifest:
		if e, err := catalog.ParseManifestEntry(o.Payload); err == nil {
			p.entry(e)
		}
	case catalog.TrackTimeline:
		if e, err := catalog.ParseTimelineEntry(o.Payload); err == nil {
			p.utc(e)
		}
	case catalog.TrackHealth:
		if h, err := catalog.ParseHealth(o.Payload); err == nil {
			p.health(t, h)
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
	g := &group{hashes: true, began: p.cfg.Now()}
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

// entry takes what a manifest says about a chunk. It may come before the chunk's end or after.
func (p *objects) entry(e *catalog.ManifestEntry) {
	if p.cfg.JSON {
		p.out.put(struct {
			V     int                    `json:"v"`
			Type  string                 `json:"type"`
			Entry *catalog.ManifestEntry `json:"entry"`
		}{1, "manifest", e})
	}
	if e.Late {
		p.rep.Late++
		if !p.cfg.JSON {
			p.out.printf("%v %d  told late: %s", e.Track, e.Group, e.Reason)
			p.damage(e.Damage)
			p.out.printf("\n")
		}
		return // of a chunk that it named before
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

// catalog prints what there is to watch.
func (p *objects) catalog(t *trackState, b []byte) {
	c, err := catalog.Parse(b)
	if err != nil {
		p.cfg.Log.Warn("catalog is malformed", "track", t.name, "err", err)
		return
	}
	if p.cfg.JSON {
		p.out.put(map[string]any{"v": 1, "type": "catalog", "track": t.Track, "catalog": c})
		return
	}
	p.out.printf("catalog of %v:", t.Track.Namespace)
	for _, tr := range c.Tracks {
		p.out.printf(" %s %q %q", object.Written(tr.Name), tr.Packaging, tr.Codec)
	}
	if c.EC != nil {
		for _, k := range slices.Sorted(maps.Keys(c.EC.Labels)) {
			p.out.printf(", %s %q", k, c.EC.Labels[k])
		}
		if c.EC.Broadcast != "" {
			p.out.printf(", promotes to %q", c.EC.Broadcast)
		}
	}
	p.out.printf("\n")
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

func (p *objects) report() {
	r := &p.rep
	r.Tracks = r.Tracks[:0]
	for _, t := range p.sorted() {
		r.Tracks = append(r.Tracks, &t.TrackCount)
	}
	switch o := p.out; {
	case p.cfg.JSON:
		o.put(r)
		return
	case !r.Final:
		o.printf("%s, %d objects with %s in %d tracks, damaged at %d places\n", bytesText(r.Bytes), r.Objects, bytesText(r.Payload), len(r.Tracks), r.Corrupt)
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
	if r.Late > 0 {
		o.printf("%d chunks were found to be damaged after they had been promoted\n", r.Late)
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
