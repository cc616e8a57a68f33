package relay

import (
	"context"
	"io"
	"slices"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay/live"
	"every.channel/ec/lib/store"
)

// backfill is one FETCH at an upstream.
type backfill struct {
	t *track
	u *upstream
	filling
	none   []*answers // these get the spans that the upstream says do not exist
	better func() float64
	src    *source

	at     moqt.Location // everything before this is stored, or known not to exist
	told   time.Time     // when serve was last told of it
	last   object.Object // the last object of the group in progress
	open   bool          // a group is in progress, and nothing of it is unknown
	broken error         // the error of serve
}

func (b *backfill) run(ctx context.Context, s span) (err error) {
	up := b.u.current()
	if up == nil {
		return moqt.ErrClosed
	}
	limit, since := patience(b.through), b.t.Born()
	actx, answered := context.WithTimeout(ctx, limit)
	r, err := up.asks(b.t).Fetch(actx, b.t.name, s.from, full(s.to), b.options())
	late := actx.Err() != nil && ctx.Err() == nil
	answered()
	if err != nil {
		if late {
			err = errStallsUpstream
		}
		return err
	}
	defer r.Cancel()
	stop := context.AfterFunc(ctx, func() { r.Cancel() })
	defer stop()
	p := &patient{r: r, u: b.u, limit: limit, better: b.better}
	defer func() { p.over(err == nil) }()
	b.src = &source{t: b.t, s: up}
	b.src.Name, b.src.Origin, b.src.Fetched, b.src.Since = up.name, store.Past, true, since
	if b.mends || b.u.publisher || b.t.r.mirrors(b.t.name.Namespace) {
		b.src.Origin = store.Copy
	}
	b.at, b.told = s.from, time.Now()
	if s.from.Object > 0 { // the first objects of the group are in the store already
		b.last, b.open = object.Object{Group: s.from.Group, ID: s.from.Object - 1}, true
	}
	for {
		o, err := p.next()
		if err == io.EOF {
			ictx, cancel := context.WithTimeout(ctx, limit)
			info, err := r.Info(ictx)
			cancel()
			if err != nil {
				if ctx.Err() == nil && ictx.Err() == context.DeadlineExceeded {
					err = errStallsUpstream
				}
				return err
			}
			b.nothing(minLocation(s.to, half(info.End)))
			return b.served()
		}
		if err != nil {
			return err
		}
		at := moqt.Location{Group: o.Group, Object: o.ID}
		behind := next(at)
		if at.Object == object.MaxVarint {
			behind = startOf(at.Group + 1)
		}
		if o.Kind != moqt.FetchedObject { // entries that were not asked for are ignored
			behind = minLocation(behind, s.to)
		}
		switch o.Kind {
		case moqt.FetchedUnknown:
			b.open, b.at = false, maxLocation(b.at, behind)
		case moqt.FetchedNonExistent:
			b.nothing(behind)
		default:
			if at.Less(b.at) || !at.Less(s.to) {
				return moqt.ErrOrder
			}
			b.nothing(at)
			if err := b.take(ctx, p, o); err != nil {
				return err
			}
			b.at = behind
		}
		if b.served() != nil {
			return b.broken
		}
	}
}

// options are those of the FETCH.
func (b *backfill) options() moqt.FetchOptions {
	o := moqt.FetchOptions{Tokens: b.u.hops(b.through)}
	if b.mends || b.u.publisher { // what is live goes before it on the uplink
		last := uint8(255)
		o.Priority = &last
	}
	return o
}

// room returns nil if there is room for a copy of a group.
func (b *backfill) room(group uint64) error {
	if b.mends || b.u.publisher {
		return b.t.r.roomFor(b.t.name, group)
	}
	return b.t.r.store.Room(b.t.name.Namespace)
}

// served tells serve of the groups that are over, and of a part of a group that takes long: whoever waits must see that something
// comes.
func (b *backfill) served() error {
	to := startOf(b.at.Group)
	if time.Since(b.told) > time.Second {
		to, b.told = b.at, time.Now()
	}
	b.broken = b.serve(to)
	return b.broken
}

// nothing notes that no object exists between the settled location and another one.
func (b *backfill) nothing(to moqt.Location) {
	if !b.at.Less(to) {
		return
	}
	if b.open && to.Group > b.last.Group {
		end := &live.Object{Place: live.Place{Prev: b.last.ID, HasPrev: true}, Object: object.Object{
			Group: b.last.Group, Subgroup: b.last.Subgroup, ID: b.last.ID + 1, Priority: b.last.Priority, Status: object.EndOfGroup,
		}}
		b.src.take(end)
		b.open = false
	}
	for _, a := range b.none {
		a.add(span{b.at, to})
	}
	b.at = to
}

// take reads an object and stores it.
func (b *backfill) take(ctx context.Context, r io.Reader, f moqt.FetchObject) error {
	o := &live.Object{Object: object.Object{Group: f.Group, Subgroup: f.Subgroup, ID: f.ID, Priority: f.Priority, Properties: slices.Clone(f.Properties)}}
	if f.Datagram {
		o.Subgroup = f.ID
	}
	if b.src.Origin == store.Copy {
		if b.src.lost = b.room(f.Group); b.src.lost != nil {
			return b.src.lost
		}
	}
	weight := min(int64(f.Size), b.t.r.c.IngestBytes)
	if err := b.src.s.ingest.Acquire(ctx, weight); err != nil {
		return err
	}
	defer b.src.s.ingest.Release(weight)
	var err error
	if b.pace != nil {
		if err := b.pace(ctx, int(f.Size)); err != nil {
			return err
		}
	}
	if o.Payload, err = readPayload(r, f.Size); err != nil {
		return err
	}
	follows := b.open && b.last.Group == f.Group && b.last.Subgroup == o.Subgroup
	o.Place, o.Size = live.Place{Prev: b.last.ID, HasPrev: follows, First: f.ID == 0}, len(o.Payload)
	b.src.take(o)
	if b.src.lost != nil {
		return b.src.lost
	}
	b.t.r.stats.backfilled.Add(1)
	b.last = object.Object{Group: f.Group, Subgroup: o.Subgroup, ID: f.ID, Priority: f.Priority}
	b.open = true
	return nil
}
