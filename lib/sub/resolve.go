package sub

import (
	"context"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
)

// resolve finds out which track is meant, and which part of it. Each relay is asked over its own session. The first relay that
// can tell decides for all, and the answers of the others are not waited for.
func (p *pull) resolve(ctx context.Context, sess *client.Session) (*epoch, error) {
	if e := p.current(); e != nil {
		return e, nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(p.asking, stop)()
	e, err := p.firstEpoch(ctx, sess)
	if err != nil {
		if now := p.current(); now != nil {
			return now, nil
		}
		return nil, err
	}
	now := p.begin(e)
	if now == e && !p.named {
		p.log.Info("track", "name", e.name.String())
	}
	return now, nil
}

// firstEpoch asks one relay what the name means.
func (p *pull) firstEpoch(ctx context.Context, sess *client.Session) (*epoch, error) {
	t := track{written: p.written, name: p.name}
	follow := false
	if !p.named {
		var err error
		if t.name, follow, err = p.find(ctx, sess); err != nil {
			return nil, err
		}
	}
	return p.newEpoch(ctx, sess, t, follow, p.c.From)
}

// newEpoch asks a relay where in a track to begin and end.
func (p *pull) newEpoch(ctx context.Context, sess *client.Session, t track, follow bool, from Point) (*epoch, error) {
	t.ids = idsOf(t.name)
	t.log = p.c.Log.With("track", t.name.String())
	q := &lookup{track: t, sess: sess}
	start, to, err := q.bounds(ctx, from, p.c.To)
	if err != nil {
		return nil, err
	}
	e := &epoch{
		track: t, p: p, follow: follow, to: to, asm: newAssembler(p.c.Buffer),
		exhausted: map[int]bool{}, followed: make(chan struct{}),
	}
	e.ctx, e.leave = context.WithCancel(p.ctx)
	e.asm.allow(t.ids == tagged && catalog.IsTS(t.name.Name))
	if start != nil {
		e.asm.start(*start)
	}
	return e, nil
}

// lookup finds the places in a track that people name. It asks one relay, and asks for each fact once.
type lookup struct {
	track
	sess    *client.Session
	largest *moqt.Location // the largest location of the track; nil: the track has no object, or nobody needs to know
	wall    *wall          // nil until a time is looked for
}

// bounds returns the location to begin at, nil for where the subscription begins, and the location before which to end.
func (q *lookup) bounds(ctx context.Context, from, to Point) (start *moqt.Location, end moqt.Location, err error) {
	if from.asks() || to.asks() {
		info, err := q.sess.TrackStatus(ctx, q.name)
		if err != nil {
			return nil, end, refused(q.written, err)
		}
		q.largest = info.Largest
	}
	if start, err = q.start(ctx, from); err != nil {
		return nil, end, err
	}
	if start == nil && to.kind == now {
		start = &moqt.Location{}
		if q.largest != nil {
			start.Group = q.largest.Group
		}
	}
	end, err = q.end(ctx, to)
	return start, end, err
}

func (q *lookup) start(ctx context.Context, from Point) (*moqt.Location, error) {
	switch from.kind {
	case first:
		group, err := q.firstGroup(ctx, q.sess, q.largest)
		return &moqt.Location{Group: group}, err
	case atGroup, atTime:
		group, _, err := q.span(ctx, from)
		if err != nil {
			return nil, err
		}
		if from.kind == atTime && q.largest != nil && group < q.largest.Group {
			q.tellFirst(ctx, from, group)
		}
		return &moqt.Location{Group: group}, nil
	}
	return nil, nil
}

func (q *lookup) end(ctx context.Context, to Point) (moqt.Location, error) {
	switch to.kind {
	case now:
		if q.largest == nil {
			return moqt.Location{}, nil // the track has no object yet
		}
		return moqt.Location{Group: q.largest.Group, Object: q.largest.Object + 1}, nil
	case first:
		group, err := q.firstGroup(ctx, q.sess, q.largest)
		return moqt.Location{Group: group + 1}, err
	case atGroup, atTime:
		_, behind, err := q.span(ctx, to)
		return moqt.Location{Group: behind}, err
	}
	return noEnd, nil
}

// span returns the range of groups that a point names: the first group, and the one behind the last.
func (q *lookup) span(ctx context.Context, pt Point) (first, behind uint64, err error) {
	switch {
	case pt.kind == atGroup && q.ids == tagged && clock.MayBeBucket(pt.group):
		return q.ids.first(int64(pt.group)), q.ids.first(int64(pt.group) + 1), nil
	case pt.kind == atGroup:
		return pt.group, pt.group + 1, nil
	}
	if q.wall == nil {
		if q.wall, err = q.wallClock(ctx); err != nil {
			return 0, 0, err
		}
	}
	bucket, err := q.chunkAt(ctx, pt.time)
	return q.ids.first(bucket), q.ids.first(bucket + 1), err
}
