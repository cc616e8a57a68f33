package chop

import (
	"encoding/binary"
	"errors"
	"strconv"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ts"
)

// chunkInfo is what the parts of a chunk share once they are settled. It never changes.
type chunkInfo struct {
	seq   int64
	start clock.PTS // of its first access unit
	naming
	layout *layout
}

// delivery is a part whose scope is settled, or damage that is told of a chunk afterwards.
type delivery struct {
	chunk   chunkInfo
	part    *part // belongs to the receiver of the delivery from now on
	promote bool
	late    bool // no part: it tells damage of a chunk that was promoted
	damage  damage
	// with the last part of a chunk:
	broken string
	claim  bool
	si     []siSection
	health *catalog.Health // nil: none is due
}

// priorities of media and of the tracks that describe it; lower is more urgent (draft-16 §7).
const (
	priorityMeta  = 64
	priorityMedia = 128
)

// catalogEvery is how often a catalog is repeated, on the broadcast's clock.
const catalogEvery = 30 * clock.Hz

// maxRepeated bounds the names that are kept to notice when one comes again.
const maxRepeated = 1 << 14

// emitter hashes parts, gives them their names and writes them, with the tracks that describe them. One goroutine owns it, beside
// the goroutine that cuts.
type emitter struct {
	cfg    *Config
	sink   Sink
	source object.Namespace
	free   *pool
	stats  *Stats

	ch       chunkInfo // the chunk of the part before
	group    uint64    // of ch
	hashes   *object.Hasher
	promoted uint64 // parts of ch that were promoted
	sent     uint64 // parts of ch that went out under the source's name
	repeated bool   // the name of ch was promoted before
	track    object.TrackName
	local    object.TrackName
	bytes    int64 // of ch
	tables   int   // PATs of ch

	done      map[string]map[uint64]object.Hash // hashes of the groups promoted, by track
	again     []repetition
	told      [maxSent]told     // what the manifest said of the newest chunks
	lastLocal map[string]uint64 // newest group of the source's own tracks, by name
	epochs    map[string]int    // how often their group ids went back
	manifest  log
	timeline  log
	si        log
	health    healthLog
	siHeld    []byte // of the si track, until the time of a chunk is known
	catalogs  map[string]*published
	props     []byte
	objects   object.Object
}

// told is what the manifest said of one chunk.
type told struct {
	seq   int64
	entry catalog.ManifestEntry
}

// published is the newest catalog of a track.
type published struct {
	log  log
	said saying
}

// saying holds everything on which a catalog depends.
type saying struct {
	layout       *layout
	local, track string
	hours        int
	slot         int64 // of catalogEvery
}

// log is a track of records whose group ids only grow, whatever the broadcast's clock does.
type log struct {
	track object.TrackName
	open  bool
	group uint64
	next  uint64
}

func (e *emitter) append(l *log, group int64, payload []byte) error {
	g := uint64(max(group, 0))
	if l.open && g > l.group {
		if err := e.close(l); err != nil {
			return err
		}
	}
	if !l.open {
		l.open, l.next = true, 0
		l.group = max(g, l.group)
	}
	h := object.Sum(payload)
	e.props = object.Properties{Hash: h, HasHash: true}.Append(e.props[:0])
	e.objects = object.Object{Group: l.group, ID: l.next, Priority: priorityMeta, Properties: e.props, Payload: payload}
	l.next++
	return e.sink.WriteObject(l.track, &e.objects)
}

// close ends the open group of l.
func (e *emitter) close(l *log) error {
	if !l.open {
		return nil
	}
	l.open = false
	e.objects = object.Object{Group: l.group, ID: l.next, Priority: priorityMeta, Status: object.EndOfGroup}
	l.group++
	return e.sink.WriteObject(l.track, &e.objects)
}

// deliver writes one part, and behind a chunk's last part the entries about the chunk.
func (e *emitter) deliver(d delivery) error {
	if d.late {
		return e.tellLate(d)
	}
	p, first := d.part, false
	p.arrange()
	if e.ch.seq != d.chunk.seq {
		e.ch, e.promoted, e.sent, e.bytes, e.tables = d.chunk, 0, 0, 0, 0
		e.hashes.Reset()
		first = true
	}
	ch := &e.ch
	ch.layout.tables(p.bytes(), ch.tsid(), e.tables)
	for i, at := range p.more {
		ch.layout.tables(p.buf[at:], ch.tsid(), e.tables+1+i)
	}
	e.tables += 1 + len(p.more)
	if p.last {
		p.buf = ch.layout.pad(p.buf, ch.tsid(), e.tables)
	}
	props := object.Properties{Hash: object.Sum(p.bytes()), HasHash: true, PTS: uint64(p.pts), HasPTS: true,
		Duration: uint64(p.duration), HasDuration: p.duration > 0}
	if p.rap {
		props.Flags |= object.RandomAccess
	}
	if p.step {
		props.Flags |= object.Discontinuity
	}
	if first {
		if err := e.begin(binary.BigEndian.Uint16(props.Hash[:])); err != nil {
			return err
		}
	}
	e.hashes.Write(props.Hash[:])
	e.stats.Bytes += int64(p.size())
	e.bytes += int64(p.size())
	var err error
	switch {
	case e.repeated && d.promote:
		e.again = append(e.again, repetition{p, props})
	case d.promote:
		if e.promoted++; e.promoted == 1 {
			err = e.broadcastCatalog(ch)
		}
		err = errors.Join(err, e.write(e.track, p, props))
	default:
		e.sent++
		err = errors.Join(e.unlike(), e.write(e.local, p, props))
	}
	if p.last && err == nil {
		return e.end(d)
	}
	return err
}

// write writes a part, whose buffers may be used again afterwards.
func (e *emitter) write(track object.TrackName, p *part, props object.Properties) error {
	e.props = props.Append(e.props[:0])
	e.objects = object.Object{Group: e.group, ID: p.id, Priority: priorityMedia, Properties: e.props, Payload: p.bytes()}
	err := e.sink.WriteObject(track, &e.objects)
	e.free.put(p)
	return err
}

// repetition is a part of a chunk whose name this run has promoted before. It is held back, because an encoder that starts anew
// may send the same bytes again, which need not be written twice.
type repetition struct {
	part  *part
	props object.Properties
}

// unlike writes the parts that were held back, because their chunk turned out to differ from the promoted one of that name.
func (e *emitter) unlike() error {
	var err error
	for _, r := range e.again {
		e.sent++
		err = errors.Join(err, e.write(e.local, r.part, r.props))
	}
	e.again = e.again[:0]
	return err
}

// begin takes up a new chunk, whose tag is known with its first part.
func (e *emitter) begin(tag uint16) error {
	ch := &e.ch
	if e.cfg.Rendition != "" {
		tag = 0 // the bytes of a rendition differ between receivers, but the names should not
	}
	e.group = clock.GroupID(ch.bucket, tag)
	name := "ts"
	if !ch.synced {
		name = "ts_unsynced"
	}
	e.local = e.localTrack(name)
	e.track = object.TrackName{}
	e.repeated = false
	if ch.synced && ch.identity.Known() {
		e.track = object.TrackName{Namespace: ch.identity.Namespace(), Name: e.cfg.trackName(clock.TimelineName(ch.hours))}
		_, e.repeated = e.done[e.track.String()][e.group]
	}
	return e.sourceCatalog(ch)
}

// localTrack returns the source's own track for a chunk. A clock that went back starts another track, so that this source never
// uses a group id twice.
func (e *emitter) localTrack(name string) object.TrackName {
	if last, ok := e.lastLocal[name]; ok && e.group <= last {
		e.epochs[name]++
	}
	e.lastLocal[name] = e.group
	if n := e.epochs[name]; n > 0 {
		name += "_e" + strconv.Itoa(n)
	}
	return object.TrackName{Namespace: e.source, Name: name}
}

// end closes a chunk's group and writes its manifest and timeline entries.
func (e *emitter) end(d delivery) error {
	ch := &e.ch
	n := d.part.id + 1
	e.stats.Chunks++
	sum, broken := e.hashes.Sum(), d.broken
	same := e.repeated && broken == "" && e.done[e.track.String()][e.group] == sum
	if e.repeated && !same {
		if err := e.unlike(); err != nil {
			return err
		}
		if broken == "" {
			broken = catalog.ReasonRepeated
		}
	}
	track, whole := e.local, broken == ""
	if whole {
		track = e.track
		e.stats.Promoted++
		e.repeats(track, e.group, sum)
	}
	if same { // it stands there
		for _, r := range e.again {
			e.free.put(r.part)
		}
		e.again = e.again[:0]
	} else {
		e.objects = object.Object{Group: e.group, ID: n, Priority: priorityMedia, Status: object.EndOfGroup}
		if err := e.sink.WriteObject(track, &e.objects); err != nil {
			return err
		}
	}
	entry := catalog.ManifestEntry{
		Group: e.group, Track: track, Scope: catalog.ScopeSource, Objects: int(n), Bytes: e.bytes,
		Hash: sum, PTS: uint64(ch.start), Reason: broken, Promoted: int(e.promoted), Damage: d.damage.entry(),
	}
	if whole {
		entry.Scope = catalog.ScopeBroadcast
		entry.Promoted = 0
	}
	if d.claim && e.track.Name != "" {
		entry.Candidates = []object.TrackName{e.track}
	}
	if entry.Damage != nil {
		e.stats.Damaged++
	}
	if ch.identity.Known() {
		e.stats.Identified++
	}
	if ch.synced {
		e.stats.Synced++
		utc := catalog.TimeOf(ch.utc.Time())
		entry.UTC = &utc
		t := catalog.TimelineEntry{Group: e.group, PTS: uint64(ch.start), UTC: utc, Track: track}
		if err := e.record(&e.timeline, ch.bucket, t); err != nil {
			return err
		}
	}
	if e.siHeld = appendSI(e.siHeld, d.si); ch.synced || len(e.siHeld) > maxHeld {
		if err := e.tellSI(ch.bucket); err != nil {
			return err
		}
	}
	e.told[ch.seq%maxSent] = told{ch.seq, entry}
	if err := e.record(&e.manifest, ch.bucket, entry); err != nil {
		return err
	}
	return e.tellHealth(d.health, ch)
}

// repeats notes that a name is used, and reports whether it was used before.
func (e *emitter) repeats(t object.TrackName, group uint64, sum object.Hash) bool {
	track := t.String()
	groups := e.done[track]
	if _, ok := groups[group]; ok {
		return true
	}
	if groups == nil || len(groups) >= maxRepeated {
		groups = make(map[uint64]object.Hash)
		e.done[track] = groups
	}
	groups[group] = sum
	return false
}

// tellLate writes a second manifest entry for a chunk of which parts were promoted, after something showed that it may lack packets.
func (e *emitter) tellLate(d delivery) error {
	was := &e.told[d.chunk.seq%maxSent]
	if was.seq != d.chunk.seq || was.entry.Scope != catalog.ScopeBroadcast && was.entry.Promoted == 0 {
		return nil
	}
	entry := was.entry
	e.stats.Late++
	entry.Late, entry.Reason, entry.Damage = true, catalog.ReasonDamaged, d.damage.entry()
	return e.record(&e.manifest, int64(e.manifest.group), entry)
}

// maxHeld is how many bytes of sections are held for a chunk whose time is known.
const maxHeld = 1 << 20

// tellSI writes the sections that were heard. They wait for a chunk whose time is known, so that readers find them there.
func (e *emitter) tellSI(bucket int64) error {
	if len(e.siHeld) == 0 {
		return nil
	}
	err := e.append(&e.si, bucket, e.siHeld)
	e.siHeld = nil
	return err
}

// record appends an entry to a log.
func (e *emitter) record(l *log, group int64, entry interface{ Append([]byte) ([]byte, error) }) error {
	b, err := entry.Append(nil)
	if err != nil {
		return err
	}
	return e.append(l, group, b)
}

// entry returns the damage as the manifest has it; nil without damage.
func (d *damage) entry() *catalog.Damage {
	if !d.any() {
		return nil
	}
	return &catalog.Damage{TEI: int(d[taintTEI]), Continuity: int(d[taintContinuity]), Scrambled: int(d[taintScrambled]),
		Sync: int(d[taintSync]), PSI: int(d[taintPSI]), Clock: int(d[taintClock])}
}

// finish closes all open groups.
func (e *emitter) finish() error {
	if err := e.tellSI(int64(e.si.group)); err != nil {
		return err
	}
	for _, l := range []*log{&e.timeline, &e.si, &e.manifest, &e.health.log} {
		if err := e.close(l); err != nil {
			return err
		}
	}
	return nil
}

// said reports whether the newest catalog of a track says everything that holds at ch, and is not too old; if not, the next one will.
func (e *emitter) said(track object.TrackName, ch *chunkInfo) bool {
	name := catalog.For(track)
	p := e.catalogs[name.String()]
	if p == nil {
		p = &published{log: log{track: name}}
		e.catalogs[name.String()] = p
	}
	now := saying{ch.layout, e.local.Name, e.track.Name, ch.hours, clock.Bucket(ch.utc, catalogEvery)}
	same := p.said == now
	p.said = now
	return same
}

// catalogBucket counts chunk lengths in UTC and not on the broadcaster's clock, which may be restarted.
func (e *emitter) catalogBucket(ch *chunkInfo) int64 {
	return max(clock.Bucket(ch.utc, clock.TicksOf(e.cfg.Duration)), 0)
}

// publish writes a catalog. Each is a group of its own, so the newest group is always whole. The newest has the highest group id, because
// readers take that one for the one that holds: where the bucket has not grown, the group goes into the next bucket.
func (e *emitter) publish(track object.TrackName, ch *chunkInfo, c *catalog.Catalog) error {
	l := &e.catalogs[catalog.For(track).String()].log
	data, err := c.Encode()
	if err != nil {
		return err
	}
	sum := object.Sum(data)
	tag := binary.BigEndian.Uint16(sum[:])
	group := clock.GroupID(e.catalogBucket(ch), tag)
	if group <= l.group { // two chunks in one bucket, whose tags have no order, or UTC went back or is not known any more
		group = clock.GroupID(clock.GroupBucket(l.group)+1, tag)
	}
	if e.repeats(l.track, group, sum) { // it stands there
		return nil
	}
	l.group = group
	if err := e.append(l, int64(group), data); err != nil {
		return err
	}
	l.open = false
	e.objects = object.Object{Group: group, ID: 1, Priority: priorityMeta, Status: object.EndOfGroup}
	return e.sink.WriteObject(l.track, &e.objects)
}

// media describes a track of canonical TS by its chunk alone.
func (e *emitter) media(ch *chunkInfo, name string) catalog.Track {
	m := ch.layout
	init := make([]byte, m.head())
	m.tables(init, ch.tsid(), 0)
	t := catalog.Track{
		Name: name, Packaging: catalog.PackagingM2TS, IsLive: true, Role: "video", Codec: m.video,
		M2TSPacketSize: ts.PacketSize, M2TSProgramNumber: int(m.program), M2TSPMTPID: int(m.pmtPID), M2TSPCRPID: int(m.pcrPID),
		M2TSRandomAccess: true, InitData: init, EC: &catalog.Private{},
	}
	for _, s := range m.streams {
		t.EC.Streams = append(t.EC.Streams, catalog.Stream{PID: int(s.pid), Type: int(s.kind), Codec: s.codec, Lang: s.lang})
	}
	if m.audioOnly {
		t.Role = "audio"
	}
	return t
}

// tsid returns the transport_stream_id: the broadcast's, or as long as that is not known the PAT's.
func (ch *chunkInfo) tsid() uint16 {
	if ch.identity.Known() {
		return ch.identity.TSID
	}
	return ch.layout.patTSID
}

// grid returns the private members that both catalogs have.
func (e *emitter) grid(track string) *catalog.Private {
	return &catalog.Private{Track: track, Duration: uint64(clock.TicksOf(e.cfg.Duration)), Part: uint64(clock.TicksOf(e.cfg.Part))}
}

// broadcastCatalog describes the broadcast's track, with nothing that another receiver may have heard differently.
func (e *emitter) broadcastCatalog(ch *chunkInfo) error {
	if e.said(e.track, ch) {
		return nil
	}
	ec := e.grid(e.track.Name)
	ec.Timeline = &ch.hours
	return e.publish(e.track, ch, &catalog.Catalog{Tracks: []catalog.Track{e.media(ch, e.track.Name)}, EC: ec})
}

// sourceCatalog describes this receiver: its own tracks, the track to which it promotes, and its labels for people.
func (e *emitter) sourceCatalog(ch *chunkInfo) error {
	if e.said(e.local, ch) {
		return nil
	}
	ec := e.grid(e.local.Name)
	ec.Source = e.source.String()
	if e.track.Name != "" {
		ec.Broadcast = e.track.Namespace.String()
		ec.BroadcastTrack = e.track.Name
		ec.Timeline = &ch.hours
	}
	for k, v := range ch.layout.label {
		if v != "" {
			if ec.Labels == nil {
				ec.Labels = make(map[string]string)
			}
			ec.Labels[k] = v
		}
	}
	c := &catalog.Catalog{Tracks: []catalog.Track{e.media(ch, e.local.Name)}, EC: ec}
	names := []string{catalog.TrackManifest, catalog.TrackTimeline, catalog.TrackSI}
	if e.cfg.Meter != nil {
		names = append(names, catalog.TrackHealth)
	}
	for _, name := range names {
		c.Tracks = append(c.Tracks, catalog.Track{Name: name, Packaging: "ec-" + name, IsLive: true})
	}
	return e.publish(e.local, ch, c)
}

func newEmitter(cfg *Config, sink Sink, stats *Stats, free *pool) *emitter {
	return &emitter{cfg: cfg, sink: sink, stats: stats, free: free, hashes: object.NewHasher(),
		done: make(map[string]map[uint64]object.Hash), lastLocal: make(map[string]uint64), epochs: make(map[string]int),
		catalogs: make(map[string]*published)}
}

// setSource names the receiver.
func (e *emitter) setSource(id string, program uint16) {
	e.source = object.Namespace{"ec", "source", id, strconv.Itoa(int(program))}
	e.manifest.track = object.TrackName{Namespace: e.source, Name: catalog.TrackManifest}
	e.timeline.track = object.TrackName{Namespace: e.source, Name: catalog.TrackTimeline}
	e.si.track = object.TrackName{Namespace: e.source, Name: catalog.TrackSI}
	e.health.track = object.TrackName{Namespace: e.source, Name: catalog.TrackHealth}
}
