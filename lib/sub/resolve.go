package sub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

const (
	// timelineGroups is how many buckets back from a track's newest group a timeline entry is looked for.
	timelineGroups = 60
	// defaultGrid is the length of chunks where no catalog says it.
	defaultGrid clock.Grid = 2 * clock.Hz
	// catalogPatience bounds the wait for the first catalog of a namespace that nobody published to yet.
	catalogPatience = 5 * time.Second
)

// sourcePrefix is where receivers are, docs/format/names.md.
var sourcePrefix = object.Namespace{"ec", "source"}

// resolve finds out, once, which track and which part of it is meant.
func (p *pull) resolve(ctx context.Context, sess *client.Session) error {
	p.resolving.Lock()
	defer p.resolving.Unlock()
	if p.resolved {
		return nil
	}
	if !p.named {
		if err := p.find(ctx, sess); err != nil {
			return err
		}
	}
	p.ids = idsOf(p.name)
	p.asm.allow(p.ids == tagged && catalog.IsTS(p.name.Name))
	p.to = noEnd
	from, to := p.c.From, p.c.To
	var largest *moqt.Location
	if from.kind != unset && from.kind != atGroup || to.kind != unset && to.kind != atGroup {
		info, err := sess.TrackStatus(ctx, p.name)
		if err != nil {
			return refused(p.written, err)
		}
		largest = info.Largest
	}
	var at *wall
	// span is the range of groups that a point names: the first, and the one behind the last.
	span := func(pt Point) (first, behind uint64, err error) {
		switch {
		case pt.kind == atGroup && p.ids == tagged && clock.MayBeBucket(pt.group):
			return p.ids.first(int64(pt.group)), p.ids.first(int64(pt.group) + 1), nil
		case pt.kind == atGroup:
			return pt.group, pt.group + 1, nil
		}
		if at == nil {
			if at, err = p.wallClock(ctx, sess, largest); err != nil {
				return 0, 0, err
			}
		}
		bucket, err := p.chunkAt(ctx, sess, at, pt.time)
		return p.ids.first(bucket), p.ids.first(bucket + 1), err
	}
	switch from.kind {
	case first:
		at, err := p.firstGroup(ctx, sess, largest)
		if err != nil {
			return err
		}
		p.asm.start(moqt.Location{Group: at})
	case atGroup, atTime:
		g, _, err := span(from)
		if err != nil {
			return err
		}
		p.asm.start(moqt.Location{Group: g})
		if from.kind == atTime && largest != nil && g < largest.Group {
			p.tellFirst(ctx, sess, from.time, g, largest, at)
		}
	}
	switch to.kind {
	case now:
		if largest == nil {
			p.to = moqt.Location{} // there is nothing yet
			p.asm.start(moqt.Location{})
		} else {
			p.to = moqt.Location{Group: largest.Group, Object: largest.Object + 1}
			p.asm.start(moqt.Location{Group: largest.Group})
		}
	case first:
		at, err := p.firstGroup(ctx, sess, largest)
		if err != nil {
			return err
		}
		p.to = moqt.Location{Group: at + 1}
	case atGroup, atTime:
		_, behind, err := span(to)
		if err != nil {
			return err
		}
		p.to = moqt.Location{Group: behind}
	}
	p.resolved = true
	close(p.begun)
	return nil
}

// apart is how much later than asked for a track may begin without a word: chunks are as long as their broadcaster wants.
const apart = 10 * time.Second

// tellFirst says so if the relay has nothing from the time that was asked for, and when what comes instead was on.
func (p *pull) tellFirst(ctx context.Context, sess *client.Session, asked time.Time, group uint64, largest *moqt.Location, at *wall) {
	first, err := p.groupFrom(ctx, sess, group, largest)
	if err != nil {
		return // whoever reads will see
	}
	if t := at.Time(p.ids.bucket(first)); t.Sub(asked) > apart {
		p.log.Warn("the relay has nothing from then; what comes next was on later", "track", p.name.String(), "asked", asked.UTC().Round(time.Second), "next", t.UTC().Round(time.Second), "group", first)
	}
}

// ids are what the group ids of a track count (docs/format/names.md).
type ids uint8

const (
	plain   ids = iota // groups, one after the other
	buckets            // buckets of a broadcast's clock
	tagged             // chunks and catalogs: a bucket and a tag
)

func idsOf(t object.TrackName) ids {
	switch {
	case len(t.Namespace) == 0 || t.Namespace[0] != "ec":
		return plain
	case catalog.IsTS(t.Name), t.Name == catalog.TrackCatalog, strings.HasPrefix(t.Name, catalog.TrackCatalog+"_"):
		return tagged
	}
	return buckets
}

// of is how many ids so many groups take.
func (i ids) of(groups uint64) uint64 {
	if i == tagged {
		return groups * clock.GroupsPerBucket
	}
	return groups
}

// first is the least group id of a bucket.
func (i ids) first(bucket int64) uint64 { return i.of(uint64(max(bucket, 0))) }

// bucket is that of a group.
func (i ids) bucket(group uint64) int64 {
	if i == tagged {
		return clock.GroupBucket(group)
	}
	return int64(group)
}

// find finds the track that a namespace alone stands for: the current one of its catalog. A broadcast of which the
// relay has only variants, such as a transcode, has no catalog of that name; then a source tells what it promotes to.
func (p *pull) find(ctx context.Context, sess *client.Session) error {
	ns := p.name.Namespace
	c, err := readCatalog(ctx, sess, catalog.Of(ns))
	if r, ok := errors.AsType[*moqt.RequestError](err); ok && r.Code == wire.RequestDoesNotExist {
		promoted, err := promotions(ctx, sess)
		if err != nil {
			return err
		}
		if variants := promoted[ns.String()]; len(variants) > 0 {
			p.name.Name, p.named = p.current(ctx, sess, variants), true
			p.log.Info("track", "name", p.name.String(), "variants", len(variants))
			return nil
		}
	}
	if err != nil {
		return refused(p.written, err)
	}
	t := c.TS()
	if t == nil {
		return &unknownTrack{p.written, errors.New("its catalog names no transport stream track")}
	}
	if t.Namespace != "" {
		if p.name.Namespace, err = object.ParseNamespace(t.Namespace); err != nil {
			return fmt.Errorf("catalog of %s: %w", p.written, err)
		}
	}
	p.name.Name, p.named = t.Name, true
	p.follow = p.c.To.kind == unset || p.c.To.kind == atTime // the others name groups of this track
	p.log.Info("track", "name", p.name.String())
	return nil
}

// nearby is how many buckets behind the newest a variant may be that is still on.
const nearby = 30

// current is the first variant that is on, or was on last: another one may have ended long ago and only be stored.
func (p *pull) current(ctx context.Context, sess *client.Session, variants []string) string {
	at, newest := make([]int64, len(variants)), int64(0)
	for i, name := range variants {
		info, err := sess.TrackStatus(ctx, object.TrackName{Namespace: p.name.Namespace, Name: name})
		if err == nil && info.Largest != nil {
			at[i] = clock.GroupBucket(info.Largest.Group)
		}
		newest = max(newest, at[i])
	}
	return variants[slices.IndexFunc(at, func(bucket int64) bool { return bucket >= newest-nearby })]
}

// firstGroup is the first one of all.
func (p *pull) firstGroup(ctx context.Context, sess *client.Session, largest *moqt.Location) (uint64, error) {
	if largest == nil {
		return 0, nil
	}
	return p.groupFrom(ctx, sess, 0, largest)
}

// groupFrom asks for everything from a group on and looks at the first object only.
func (p *pull) groupFrom(ctx context.Context, sess *client.Session, group uint64, largest *moqt.Location) (uint64, error) {
	r, err := sess.Fetch(ctx, p.name, moqt.Location{Group: group}, moqt.Location{Group: largest.Group, Object: largest.Object + 1},
		moqt.FetchOptions{GroupOrder: wire.GroupOrderAscending})
	if err != nil {
		return 0, refused(p.written, err)
	}
	defer r.Cancel()
	for {
		o, err := r.Next()
		if errors.Is(err, io.EOF) {
			return largest.Group, nil
		}
		if err != nil {
			return 0, err
		}
		if o.Kind == moqt.FetchedObject {
			return o.Group, nil
		}
	}
}

// latest reads the payloads of the newest groups of a track, at most from so many groups back.
func latest(ctx context.Context, sess *client.Session, t object.TrackName, back uint64) (payloads [][]byte, err error) {
	info, err := sess.TrackStatus(ctx, t)
	if err != nil {
		return nil, err
	}
	if info.Largest == nil {
		return nil, nil
	}
	l := *info.Largest
	return fetchAll(ctx, sess, t, moqt.Location{Group: l.Group - min(back, l.Group)}, moqt.Location{Group: l.Group, Object: l.Object + 1})
}

// fetchAll reads the payloads of a range that is known to be small; ones too large for what they are, are left out.
func fetchAll(ctx context.Context, sess *client.Session, t object.TrackName, start, end moqt.Location) (payloads [][]byte, err error) {
	r, err := sess.Fetch(ctx, t, start, end, moqt.FetchOptions{GroupOrder: wire.GroupOrderAscending})
	if err != nil {
		return nil, err
	}
	defer r.Cancel()
	for {
		o, err := r.Next()
		if errors.Is(err, io.EOF) {
			return payloads, nil
		}
		if err != nil {
			return payloads, err
		}
		if o.Kind != moqt.FetchedObject || o.Size > catalog.MaxBytes {
			continue
		}
		b := make([]byte, o.Size)
		if _, err := io.ReadFull(r, b); err != nil {
			return payloads, err
		}
		payloads = append(payloads, b)
	}
}

// readCatalog reads the newest catalog of a track of catalogs, waiting a little for the first one.
func readCatalog(ctx context.Context, sess *client.Session, t object.TrackName) (*catalog.Catalog, error) {
	payloads, err := latest(ctx, sess, t, 0)
	if r, ok := errors.AsType[*moqt.RequestError](err); ok && r.Code == wire.RequestNotSupported {
		payloads, err = nil, nil // a relay without TRACK_STATUS or FETCH
	}
	if err != nil {
		return nil, err
	}
	if len(payloads) == 0 {
		if payloads, err = nextObject(ctx, sess, t); err != nil {
			return nil, err
		}
	}
	c, err := catalog.Parse(payloads[len(payloads)-1])
	if err != nil {
		return nil, fmt.Errorf("%v: %w", t, err)
	}
	return c, nil
}

// nextObject subscribes for one object.
func nextObject(ctx context.Context, sess *client.Session, t object.TrackName) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, catalogPatience)
	defer cancel()
	sub, err := sess.Subscribe(ctx, t, moqt.SubscribeOptions{})
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	r, err := sub.AcceptSubgroup(ctx)
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil, &unknownTrack{t.String(), errors.New("no catalog came")}
	}
	if err != nil {
		return nil, err
	}
	defer r.Cancel(wire.ResetCancelled)
	r.SetReadDeadline(time.Now().Add(catalogPatience))
	o, err := r.Next()
	if err != nil {
		return nil, err
	}
	if o.Size > catalog.MaxBytes {
		return nil, fmt.Errorf("%v: %w", t, moqt.ErrTooLarge)
	}
	b := make([]byte, o.Size)
	_, err = io.ReadFull(r, b)
	return [][]byte{b}, err
}

// wall turns broadcast time into buckets (docs/format/chunk.md, "Name").
type wall struct {
	clock.Wall
	// timelines are those of all sources that promote into the track; none if no source told.
	timelines []object.TrackName
}

// chunkAt is the bucket of the chunk that was on at a time. Chunks start at random access points, so the one of that bucket may have
// begun later, and the one before was still on. Each source tells of what it heard: none need have heard both.
func (p *pull) chunkAt(ctx context.Context, sess *client.Session, w *wall, t time.Time) (int64, error) {
	b := w.Bucket(t)
	if len(w.timelines) == 0 || b < 2 {
		return b, nil
	}
	var at int64
	for _, timeline := range w.timelines {
		payloads, err := fetchAll(ctx, sess, timeline, moqt.Location{Group: buckets.first(b - 2)}, moqt.Location{Group: buckets.first(b)})
		if err != nil && ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		for _, payload := range payloads {
			e, err := catalog.ParseTimelineEntry(payload)
			// A chunk that the source did not promote is the same chunk, by the same group id.
			if err == nil && (e.Track.Equal(p.name) || e.Track.Namespace.HasPrefix(sourcePrefix)) && clock.GroupBucket(e.Group) <= b && !e.UTC.After(t) {
				at = max(at, clock.GroupBucket(e.Group))
			}
		}
	}
	if at == 0 {
		return b, nil
	}
	return at, nil
}

// wallClock finds what ties the track's groups to UTC: an entry of the timeline of any source that promotes into
// it (docs/format/names.md), else the name of its timeline, which is good for half an hour either way.
func (p *pull) wallClock(ctx context.Context, sess *client.Session, largest *moqt.Location) (*wall, error) {
	if largest == nil {
		return nil, &unknownTrack{p.written, errors.New("nothing was published yet, so no time is known")}
	}
	grid := defaultGrid
	if c, err := readCatalog(ctx, sess, catalog.For(p.name)); err == nil && c.EC != nil && c.EC.Duration > 0 {
		grid = clock.Grid(c.EC.Duration)
	}
	sources, err := p.sources(ctx, sess)
	if err != nil {
		return nil, err
	}
	var found *wall
	var timelines []object.TrackName
	newest := p.ids.bucket(largest.Group)
	from := moqt.Location{Group: buckets.first(newest - timelineGroups)}
	for _, ns := range sources {
		t := object.TrackName{Namespace: ns, Name: catalog.TrackTimeline}
		timelines = append(timelines, t)
		if found != nil {
			continue
		}
		payloads, err := fetchAll(ctx, sess, t, from, moqt.Location{Group: buckets.first(newest)})
		if err != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		for i := len(payloads) - 1; i >= 0; i-- {
			e, err := catalog.ParseTimelineEntry(payloads[i])
			if err == nil && e.Track.Equal(p.name) {
				base := grid.Start(clock.GroupBucket(e.Group)) // x of the entry lies within one grid length of it
				x := clock.ExtendFrom(clock.PTS(e.PTS), base)
				found = &wall{Wall: clock.Wall{Grid: grid, X: x, UTC: e.UTC.Time}}
				break
			}
		}
	}
	if found != nil {
		found.timelines = timelines
		return found, nil
	}
	hours, _, ok := catalog.TSTrack(p.name.Name)
	if !ok {
		return nil, &noTimeline{p.name}
	}
	p.log.Warn("no source's timeline ties the track to time, taking its name: good for 30 min either way", "track", p.name.String())
	return &wall{Wall: clock.WallOfTimeline(grid, hours)}, nil
}

// noTimeline is a track whose groups cannot be tied to a time.
type noTimeline struct{ name object.TrackName }

func (e *noTimeline) Error() string {
	return fmt.Sprintf("no timeline says when the groups of %v were broadcast", e.name)
}
func (*noTimeline) ExitCode() int { return 69 }
func (*noTimeline) Hint() string  { return "name groups instead; ec-sub --list shows which there are" }

// sources are the namespaces whose timeline may speak of the track: its own, or those that promote into it.
func (p *pull) sources(ctx context.Context, sess *client.Session) ([]object.Namespace, error) {
	ns := p.name.Namespace
	if ns.HasPrefix(sourcePrefix) {
		return []object.Namespace{ns}, nil
	}
	all, err := namespaces(ctx, sess, sourcePrefix)
	if err != nil {
		p.log.Debug("relay lists no sources", "error", err)
		return nil, nil
	}
	var list []object.Namespace
	for _, s := range all {
		c, err := readStored(ctx, sess, catalog.Of(s))
		if err == nil && c != nil && c.EC != nil && c.EC.Broadcast == ns.String() {
			list = append(list, s)
		}
	}
	return list, nil
}

// readStored is readCatalog without waiting; nil if there is none.
func readStored(ctx context.Context, sess *client.Session, t object.TrackName) (*catalog.Catalog, error) {
	payloads, err := latest(ctx, sess, t, 0)
	if err != nil || len(payloads) == 0 {
		return nil, err
	}
	return catalog.Parse(payloads[len(payloads)-1])
}

// quiet is how long a list of namespaces must not grow to be taken for whole; SUBSCRIBE_NAMESPACE has no end.
const quiet = 300 * time.Millisecond

// namespaces lists what the relay has below a prefix at this moment.
func namespaces(ctx context.Context, sess *client.Session, prefix object.Namespace) (list []object.Namespace, err error) {
	s, err := sess.SubscribeNamespace(ctx, prefix, moqt.SubscribeNamespaceOptions{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for {
		next, cancel := context.WithTimeout(ctx, quiet)
		e, err := s.Next(next)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil: // quiet, or the list was ended
			return list, nil
		case !e.Done:
			list = append(list, e.Namespace)
		}
	}
}
