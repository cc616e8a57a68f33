package sub

import (
	"context"
	"errors"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
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
	t.ids = idsOf(t.name)
	t.log = p.c.Log.With("track", t.name.String())
	q := &lookup{track: t, sess: sess}
	b, err := q.bounds(ctx, p.c.From, p.c.To)
	if err == nil {
		err = q.there(ctx, p.c.From, p.c.To, p.c.Nearest, &b)
	}
	if err != nil {
		return nil, err
	}
	e := p.newEpoch(t, follow, b)
	e.nearest = p.c.Nearest
	if from := p.c.From.kind; (from == atGroup || from == atTime || q.unreadable) && !e.nearest {
		e.asked = b.start
	}
	return e, nil
}

// nextEpoch asks a relay about a track to which a broadcast moved: it is read from its first group on.
func (p *pull) nextEpoch(ctx context.Context, sess *client.Session, t track, follow bool) (*epoch, error) {
	t.ids = idsOf(t.name)
	t.log = p.c.Log.With("track", t.name.String())
	b, err := (&lookup{track: t, sess: sess}).bounds(ctx, Point{kind: first}, p.c.To)
	if err != nil {
		return nil, err
	}
	e := p.newEpoch(t, follow, b)
	e.nearest = p.c.Nearest
	return e, nil
}

// newEpoch makes an epoch of a track between two places.
func (p *pull) newEpoch(t track, follow bool, b bounds) *epoch {
	e := &epoch{
		track: t, p: p, follow: follow, to: b.end, asm: newAssembler(p.c.Buffer),
		exhausted: map[int]bool{}, followed: make(chan struct{}),
	}
	e.ctx, e.leave = context.WithCancel(p.ctx)
	e.asm.allow(t.ids == tagged && catalog.IsTS(t.name.Name))
	if b.start != nil {
		e.asm.start(*b.start)
	}
	return e
}

// bounds are the location to begin at, nil for where the subscription begins, and the location before which to end.
type bounds struct {
	start *moqt.Location
	end   moqt.Location
}

// lookup finds the places in a track that people name. It asks one relay, and asks for each fact once.
type lookup struct {
	track
	sess    *client.Session
	largest *moqt.Location // the largest location of the track; nil: the track has no object, or nobody needs to know
	told    bool           // the relay told the largest location
	wall    *wall          // nil until a time is looked for
	// unreadable: the track's first group is one that the relay has and cannot give.
	unreadable bool
}

// bounds returns the location to begin at and the location before which to end.
func (q *lookup) bounds(ctx context.Context, from, to Point) (b bounds, err error) {
	if from.kind != unset || to.kind != unset {
		info, err := q.sess.TrackStatus(ctx, q.name)
		r, _ := errors.AsType[*moqt.RequestError](err)
		if unable := r != nil && r.Code == wire.RequestNotSupported; err != nil && (!unable || from.asks() || to.asks()) {
			return b, refused(q.written, err)
		}
		q.largest, q.told = info.Largest, err == nil
	}
	if b.start, err = q.start(ctx, from); err != nil {
		return b, err
	}
	if b.start == nil && to.kind == now {
		b.start = &moqt.Location{}
		if q.largest != nil {
			b.start.Group = q.largest.Group
		}
	}
	b.end, err = q.end(ctx, to)
	return b, err
}

func (q *lookup) start(ctx context.Context, from Point) (*moqt.Location, error) {
	switch from.kind {
	case first:
		group, unreadable, err := q.firstThere(ctx, q.sess, q.largest)
		q.unreadable = unreadable
		return &moqt.Location{Group: group}, err
	case atGroup, atTime:
		group, _, err := q.span(ctx, from)
		if err != nil {
			return nil, err
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
