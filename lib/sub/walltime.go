package sub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

const (
	// timelineGroups is how many buckets back from a track's newest group a timeline entry is looked for.
	timelineGroups = 60
	// defaultGrid is the length of chunks where no catalog says it.
	defaultGrid clock.Grid = 2 * clock.Hz
)

// wall turns broadcast time into buckets (docs/format/chunk.md, "Name").
type wall struct {
	clock.Wall
	// timelines are the timeline tracks of all sources that promote into the track; none if no source told.
	timelines []object.TrackName
}

// wallClock finds an entry that ties the track's groups to UTC: from the timeline of any source that promotes into the track
// (docs/format/names.md). Without one it uses the timeline's number in the track's name, which is good for half an hour either
// way.
func (q *lookup) wallClock(ctx context.Context) (*wall, error) {
	if q.largest == nil {
		return nil, &unknownTrack{q.written, errors.New("nothing was published yet, so no time is known")}
	}
	grid := defaultGrid
	if c, err := readCatalog(ctx, q.sess, catalog.For(q.name)); err == nil && c.EC != nil && c.EC.Duration > 0 {
		grid = clock.Grid(c.EC.Duration)
	}
	sources, err := q.sources(ctx)
	if err != nil {
		return nil, err
	}
	var w wall
	for _, s := range sources {
		w.timelines = append(w.timelines, object.TrackName{Namespace: s.namespace, Name: catalog.TrackTimeline})
	}
	for _, timeline := range w.timelines {
		var found bool
		if w.Wall, found, err = q.tie(ctx, timeline, grid); found || err != nil {
			return &w, err
		}
	}
	hours, _, ok := catalog.TSTrack(q.name.Name)
	if !ok {
		return nil, &noTimeline{q.name}
	}
	q.log.Warn("no source's timeline ties the track to time, taking its name: good for 30 min either way")
	return &wall{Wall: clock.WallOfTimeline(grid, hours)}, nil
}

// tie returns what the newest entry about the track in a timeline says.
func (q *lookup) tie(ctx context.Context, timeline object.TrackName, grid clock.Grid) (w clock.Wall, found bool, _ error) {
	newest := q.ids.bucket(q.largest.Group)
	from, to := moqt.Location{Group: buckets.first(newest - timelineGroups)}, moqt.Location{Group: buckets.first(newest)}
	payloads, err := fetchAll(ctx, q.sess, timeline, from, to)
	if err != nil && ctx.Err() != nil {
		return w, false, context.Cause(ctx)
	}
	for i := len(payloads) - 1; i >= 0; i-- {
		e, err := catalog.ParseTimelineEntry(payloads[i])
		if err == nil && e.Track.Equal(q.name) {
			base := grid.Start(clock.GroupBucket(e.Group)) // the x of the entry lies within one grid length of base
			return clock.Wall{Grid: grid, X: clock.ExtendFrom(clock.PTS(e.PTS), base), UTC: e.UTC.Time}, true, nil
		}
	}
	return w, false, nil
}

// chunkAt returns the bucket of the chunk that was on air at a time. Chunks start at random access points, so the chunk of that
// time's bucket may have begun later, while the chunk before it was still on air. Each source tells of the chunks that it heard,
// and none need have heard both.
func (q *lookup) chunkAt(ctx context.Context, at time.Time) (int64, error) {
	b := q.wall.Bucket(at)
	if len(q.wall.timelines) == 0 || b < 2 {
		return b, nil
	}
	var heard int64
	for _, timeline := range q.wall.timelines {
		payloads, err := fetchAll(ctx, q.sess, timeline, moqt.Location{Group: buckets.first(b - 2)}, moqt.Location{Group: buckets.first(b)})
		if err != nil && ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		for _, payload := range payloads {
			e, err := catalog.ParseTimelineEntry(payload)
			// A chunk that the source did not promote has the same group id as the broadcast's chunk.
			if err == nil && (e.Track.Equal(q.name) || e.Track.Namespace.HasPrefix(sourcePrefix)) && clock.GroupBucket(e.Group) <= b && !e.UTC.After(at) {
				heard = max(heard, clock.GroupBucket(e.Group))
			}
		}
	}
	if heard == 0 {
		return b, nil
	}
	return heard, nil
}

// noTimeline is the error that a track's groups cannot be tied to a time.
type noTimeline struct{ name object.TrackName }

func (e *noTimeline) Error() string {
	return fmt.Sprintf("no timeline says when the groups of %v were broadcast", e.name)
}
func (*noTimeline) ExitCode() int { return 69 }
func (*noTimeline) Hint() string  { return "name groups instead; ec-sub --list shows which there are" }
