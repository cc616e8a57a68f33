package relay

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// maxAnswers bounds the spans of a track that are remembered to hold nothing more than what is stored.
const (
	maxAnswers = 1024
	// doubtPause is how long what no upstream knew is not asked for again.
	doubtPause = 30 * time.Second
)

// span is what lies from a location to before another.
type span struct{ from, to moqt.Location }

func (s span) empty() bool { return !s.from.Less(s.to) }

func startOf(group uint64) moqt.Location { return moqt.Location{Group: group} }

// half turns the end of a FETCH, where Object 0 is the whole group, into the location behind it.
func half(end moqt.Location) moqt.Location {
	if end.Object == 0 {
		return startOf(end.Group + 1)
	}
	return end
}

// full is the reverse; to is not the start of group 0.
func full(to moqt.Location) moqt.Location {
	if to.Object == 0 {
		return startOf(to.Group - 1)
	}
	return to
}

// answers are spans of which all is known: what is not stored of them does not exist. They are in order and apart.
type answers struct {
	mu    sync.Mutex
	spans []span
	since time.Time // of the first one
}

func (a *answers) add(s span) {
	if s.empty() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.spans) == 0 {
		a.since = time.Now()
	}
	i, _ := slices.BinarySearchFunc(a.spans, s.from, func(o span, l moqt.Location) int { return o.to.Compare(l) })
	j := i
	for ; j < len(a.spans) && !s.to.Less(a.spans[j].from); j++ {
		s.from = minLocation(s.from, a.spans[j].from)
		s.to = maxLocation(s.to, a.spans[j].to)
	}
	a.spans = slices.Replace(a.spans, i, j, s)
	if len(a.spans) > maxAnswers {
		a.spans = slices.Delete(a.spans, 0, 1)
	}
}

// forget drops all when the first is so old.
func (a *answers) forget(age time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.since) > age {
		a.spans = nil
	}
}

// without is what of a span is not answered.
func (a *answers) without(s span) (rest []span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range a.spans {
		if !s.from.Less(o.to) {
			continue
		}
		if !o.from.Less(s.to) {
			break
		}
		if s.from.Less(o.from) {
			rest = append(rest, span{s.from, o.from})
		}
		s.from = o.to
	}
	if !s.empty() {
		rest = append(rest, s)
	}
	return rest
}

func minLocation(a, b moqt.Location) moqt.Location {
	if b.Less(a) {
		return b
	}
	return a
}

func maxLocation(a, b moqt.Location) moqt.Location {
	if a.Less(b) {
		return b
	}
	return a
}

// gaps is what of a span is neither stored nor known not to exist.
func (t *track) gaps(s span) (list []span) {
	add := func(g span) {
		if g.to = minLocation(g.to, s.to); g.empty() {
			return
		}
		if n := len(list); n > 0 && list[n-1].to == g.from {
			list[n-1].to = g.to
			return
		}
		list = append(list, g)
	}
	at := s.from
	for at.Less(s.to) {
		i, ok := t.st.Next(at.Group)
		if !ok {
			add(span{at, s.to})
			break
		}
		if i.Group > at.Group {
			add(span{at, startOf(i.Group)})
			at = startOf(i.Group)
		}
		if i.Complete {
			at = startOf(at.Group + 1)
			continue
		}
		ids, ended, _ := t.st.Objects(i.Group) // of what cannot be read, all is missing
		for _, id := range ids {
			if id >= at.Object {
				add(span{at, moqt.Location{Group: at.Group, Object: id}})
				at.Object = id + 1
			}
		}
		if !ended {
			add(span{at, startOf(at.Group + 1)})
		}
		at = startOf(at.Group + 1)
	}
	var open []span
	for _, g := range list {
		for _, g := range t.answers.without(g) {
			open = append(open, t.doubts.without(g)...)
		}
	}
	return open
}

// keepers returns the upstreams that may have the past of a track, nearest first.
func (r *Relay) keepers(t object.TrackName, through []string) (list []*upstream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dist := make(map[*upstream]int)
	for _, u := range r.usable() {
		if n, ok := u.distance(t.Namespace, false); ok && u.passable(through) {
			dist[u] = n
			list = append(list, u)
		}
	}
	slices.SortStableFunc(list, func(a, b *upstream) int { return cmp.Compare(dist[a], dist[b]) })
	return list
}

// session returns that of the upstream, or nil.
func (u *upstream) current() *session {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	return u.s
}

// known returns a track that is here or upstream, knowing how far it goes; else nil.
func (r *Relay) known(ctx context.Context, name object.TrackName, through []string) *track {
	t := r.lookup(name)
	if t != nil && (t.local() || t.linked()) {
		return t
	}
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, u := range r.keepers(name, through) {
		s := u.current()
		if s == nil {
			continue
		}
		wg.Go(func() {
			info, err := s.ask.TrackStatus(ctx, name, u.hops(through)...)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if t == nil {
				t = r.track(name)
			}
			t.learn(info.Largest)
			t.describe(info.Properties)
		})
	}
	wg.Wait()
	return t
}

// fill fetches from upstreams what the store lacks of a span, for a request that came through some relays.
func (r *Relay) fill(ctx context.Context, t *track, s span, through []string) {
	r.fillAndServe(ctx, t, s, through, func(moqt.Location) error { return nil })
}

// fillAndServe does so step by step: everything before the location that serve is told is stored, or cannot be had. Only
// an error of serve is returned.
func (r *Relay) fillAndServe(ctx context.Context, t *track, s span, through []string, serve func(moqt.Location) error) error {
	return r.fillWith(ctx, t, s, filling{through: through, serve: serve})
}

// filling is how a span is filled.
type filling struct {
	through []string                         // relays that the request came through
	serve   func(moqt.Location) error        // is told of what is settled
	pace    func(context.Context, int) error // waits before a payload of so many bytes; nil: for nothing
}

func (r *Relay) fillWith(ctx context.Context, t *track, s span, f filling) error {
	through, serve := f.through, f.serve
	t.doubts.forget(doubtPause)
	for _, g := range t.gaps(s) {
		if err := serve(g.from); err != nil {
			return err
		}
		keepers := r.keepers(t.name, through)
		sure := len(keepers) > 0 && len(through) == 0
		for _, u := range keepers {
			for _, rest := range t.gaps(g) { // what the ones before did not have
				b := backfill{t: t, u: u, filling: f}
				err := b.run(ctx, rest, through)
				if b.broken != nil {
					return b.broken
				}
				if refused := (*moqt.RequestError)(nil); err != nil && !errors.As(err, &refused) {
					sure = false
					r.log.Debug("upstream did not bring what is missing", "track", t.name.String(), "upstream", u.name(),
						"from", rest.from.String(), "to", rest.to.String(), "err", err)
				}
			}
		}
		if l := t.info().Largest; sure && l != nil {
			for _, rest := range t.gaps(g) { // nobody knows; where the track goes on they soon may
				t.doubts.add(span{rest.from, minLocation(rest.to, startOf(l.Group))})
			}
		}
	}
	return nil
}

// backfill is one FETCH at an upstream.
type backfill struct {
	t *track
	u *upstream
	filling
	src *source

	at     moqt.Location // everything before is settled
	last   object.Object // the last object of the group in progress
	open   bool          // such a group is in progress, and nothing of it is unknown
	broken error         // of serve
}

func (b *backfill) run(ctx context.Context, s span, through []string) error {
	up := b.u.current()
	if up == nil {
		return moqt.ErrClosed
	}
	r, err := up.asks(b.t).Fetch(ctx, b.t.name, s.from, full(s.to), moqt.FetchOptions{Tokens: b.u.hops(through)})
	if err != nil {
		return err
	}
	defer r.Cancel()
	stop := context.AfterFunc(ctx, func() { r.Cancel() })
	defer stop()
	b.src = &source{t: b.t, s: up, name: up.name}
	b.at = s.from
	if s.from.Object > 0 { // the group began in the store
		b.last, b.open = object.Object{Group: s.from.Group, ID: s.from.Object - 1}, true
	}
	for {
		o, err := r.Next()
		if err == io.EOF {
			info, err := r.Info(ctx)
			if err != nil {
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
			if err := b.take(ctx, r, o); err != nil {
				return err
			}
			b.at = behind
		}
		if b.served() != nil {
			return b.broken
		}
	}
}

// served hands on the groups that are over.
func (b *backfill) served() error {
	b.broken = b.serve(startOf(b.at.Group))
	return b.broken
}

// nothing notes that nothing is between what is settled and a location.
func (b *backfill) nothing(to moqt.Location) {
	if !b.at.Less(to) {
		return
	}
	if b.open && to.Group > b.last.Group {
		end := &obj{place: place{prev: b.last.ID, hasPrev: true}, Object: object.Object{
			Group: b.last.Group, Subgroup: b.last.Subgroup, ID: b.last.ID + 1, Priority: b.last.Priority, Status: object.EndOfGroup,
		}}
		b.src.take(nil, end, object.Sum(nil))
		b.open = false
	}
	b.t.answers.add(span{b.at, to})
	b.at = to
}

// take reads an object and stores it.
func (b *backfill) take(ctx context.Context, r *moqt.FetchReader, f moqt.FetchObject) error {
	o := &obj{Object: object.Object{Group: f.Group, Subgroup: f.Subgroup, ID: f.ID, Priority: f.Priority, Properties: slices.Clone(f.Properties)}}
	if f.Datagram {
		o.Subgroup = f.ID
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
	o.place, o.size = place{prev: b.last.ID, hasPrev: follows, first: f.ID == 0}, len(o.Payload)
	b.src.take(nil, o, object.Sum(o.Payload))
	b.t.r.stats.backfilled.Add(1)
	b.last = object.Object{Group: f.Group, Subgroup: o.Subgroup, ID: f.ID, Priority: f.Priority}
	b.open = true
	return nil
}

// fillNear fills the live edge, where many ask for the same: they wait for the first one, and find it stored.
func (r *Relay) fillNear(ctx context.Context, t *track, s span, through []string) {
	if len(through) == 0 { // relays do not wait for each other
		select {
		case t.filling <- struct{}{}:
			defer func() { <-t.filling }()
		case <-ctx.Done():
			return
		}
	}
	r.fill(ctx, t, s, through)
}
