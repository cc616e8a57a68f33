package relay

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

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

// keepers returns the upstreams that may have the past of a track, nearest first. Those that rest because they stalled are left out.
func (r *Relay) keepers(t object.TrackName, through []string) (list []*upstream) {
	list, _ = r.allKeepers(t, through)
	return list
}

// allKeepers says also whether any rest.
func (r *Relay) allKeepers(t object.TrackName, through []string) (list []*upstream, rest bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	dist := make(map[*upstream]int)
	for _, u := range r.usable() {
		n, ok := u.distance(t.Namespace, false)
		switch {
		case !ok || !u.passable(through):
		case u.rests(now):
			rest = true
		default:
			dist[u] = n
			list = append(list, u)
		}
	}
	fastest := 0.0
	for _, u := range list {
		fastest = max(fastest, u.speed())
	}
	slices.SortStableFunc(list, func(a, b *upstream) int {
		if slow := a.speed()*muchFaster < fastest; slow != (b.speed()*muchFaster < fastest) {
			if slow {
				return 1
			}
			return -1
		}
		return cmp.Compare(dist[a], dist[b])
	})
	return list, rest
}

// session returns that of the upstream, or nil.
func (u *upstream) current() *session {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	return u.s
}

// known returns a track that is here or upstream, knowing how far it goes; else nil, and whether an upstream does not tell such things.
func (r *Relay) known(ctx context.Context, name object.TrackName, through []string) (t *track, untold bool) {
	r.awaitArriving(ctx, name)
	t = r.lookup(name)
	if t != nil && (t.local() || t.linked()) {
		return t, false
	}
	type answer struct {
		info *moqt.TrackInfo
		err  error
	}
	answered := make(chan answer)
	over := make(chan struct{})
	defer close(over)
	asked := 0
	for _, u := range r.keepers(name, through) {
		s := u.current()
		if s == nil {
			continue
		}
		// Who takes long to answer is waited for by nobody, but must be known as such.
		if s.background(func() {
			actx, cancel := context.WithTimeout(s.s.Context(), patience(through))
			defer cancel()
			info, err := s.ask.TrackStatus(actx, name, u.hops(through)...)
			if errors.Is(err, context.DeadlineExceeded) && s.s.Context().Err() == nil {
				u.stalled("track status")
			}
			select {
			case answered <- answer{&info, err}:
			case <-over:
			}
		}) {
			asked++
		}
	}
	var enough <-chan time.Time
	for ; asked > 0; asked-- {
		select {
		case a := <-answered:
			if a.err != nil {
				refusal, ok := errors.AsType[*moqt.RequestError](a.err)
				untold = untold || ok && refusal.Code == wire.RequestNotSupported
				continue
			}
			if t == nil {
				t = r.track(name)
			}
			t.learn(a.info.Largest)
			t.describe(a.info.Properties)
			if enough == nil {
				enough = time.After(graceOfOthers)
			}
		case <-enough:
			return t, untold
		case <-ctx.Done():
			return t, untold
		}
	}
	return t, untold
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
	enough  func() bool                      // all that is wanted is here; nil: the whole span is
}

func (r *Relay) fillWith(ctx context.Context, t *track, s span, f filling) error {
	r.refresh(t)
	for _, g := range t.gaps(s) {
		if err := f.serve(g.from); err != nil {
			return err
		}
		err := r.fillGap(ctx, t, g, f)
		if lost, ok := err.(*notStored); ok { // the disk is full, or worse: the rest would be brought for nothing
			if now, last := time.Now().UnixNano(), r.complaint.Load(); now-last > int64(10*time.Second) && r.complaint.CompareAndSwap(last, now) {
				r.log.Warn("what upstreams have is not fetched", "track", t.name.String(), "err", lost.err)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refresh forgets what upstreams said of a track too long ago, or when they were others.
func (r *Relay) refresh(t *track) {
	t.doubts.forget(doubtPause)
	r.mu.Lock()
	epoch := r.epoch
	r.mu.Unlock()
	t.answers.of(epoch)
	t.answers.forget(answerAge)
}

// whole returns a track of which nothing is missing here in a span, so that no upstream need be asked; else nil.
func (r *Relay) whole(name object.TrackName, s span) *track {
	t := r.lookup(name)
	if t == nil {
		return nil
	}
	r.refresh(t)
	if s.empty() || len(t.gaps(s)) > 0 {
		return nil
	}
	return t
}

// notStored says that what came could not be stored.
type notStored struct{ err error }

func (e *notStored) Error() string { return e.err.Error() }

// fewSpans is how many spans an upstream is asked for one by one; of more, those in which it says to have something.
const fewSpans = 3

// fillGap asks one upstream after the other. What one says does not exist, another may have: that is believed when all say so.
func (r *Relay) fillGap(ctx context.Context, t *track, g span, f filling) error {
	keepers, rest := r.allKeepers(t.name, f.through)
	sure := len(keepers) > 0 && !rest && len(f.through) == 0
	alone := len(keepers) == 1 && !rest
	said := new(answers) // what any of them says does not exist
	if alone {
		said = &t.answers
	}
	var none []span // what all have nothing of
	n := len(keepers)
	for i := 0; i < len(keepers); i++ {
		u := keepers[i]
		lacks := new(answers)
		lacking := t.gaps(g)
		if i > 0 && len(lacking) > fewSpans {
			lacking = r.within(ctx, t, u, lacking, f.through, lacks)
		}
		better := func() float64 { return r.fastest(keepers[i+1 : n]) }
		if i >= n { // the others have been asked
			better = func() float64 { return 0 }
		}
		for _, s := range lacking {
			b := backfill{t: t, u: u, filling: f, none: []*answers{said, lacks}, better: better}
			err := b.run(ctx, s)
			switch refused := (*moqt.RequestError)(nil); {
			case b.broken != nil:
				return b.broken
			case b.src != nil && b.src.lost != nil:
				return &notStored{b.src.lost}
			case err == nil:
				continue
			case errors.As(err, &refused):
				lacks.add(s)
				continue
			case err == errSlowUpstream:
				keepers = append(keepers, u) // if the others have it not
			case err == errStallsUpstream:
				u.stalled("objects")
			}
			sure = false
			r.log.Debug("upstream did not bring what is missing", "track", t.name.String(), "upstream", u.name(),
				"from", s.from.String(), "to", s.to.String(), "err", err)
			if err == errSlowUpstream || err == errStallsUpstream || ctx.Err() != nil {
				break
			}
		}
		if f.enough != nil && f.enough() {
			return nil
		}
		if i == 0 {
			none = lacks.spans
		} else {
			none = lacks.within(none)
		}
	}
	if !rest && !alone {
		for _, s := range said.within(none) {
			t.answers.add(s)
		}
	}
	if l := t.info().Largest; sure && l != nil {
		for _, rest := range t.gaps(g) { // nobody knows; where the track goes on they soon may
			t.doubts.add(span{rest.from, minLocation(rest.to, startOf(l.Group))})
		}
	}
	return nil
}

// within is what of some spans an upstream says to have something of; of the others it has nothing.
func (r *Relay) within(ctx context.Context, t *track, u *upstream, spans []span, through []string, lacks *answers) (list []span) {
	s := u.current()
	if s == nil || !u.ours {
		return spans
	}
	groups, err := u.inventory(ctx, s, t.name, spans[0].from.Group, spans[len(spans)-1].to.Group, through)
	if err != nil {
		return nil
	}
	for _, s := range spans {
		i, _ := slices.BinarySearchFunc(groups, s.from.Group, func(g mesh.Group, id uint64) int { return cmp.Compare(g.ID, id) })
		if i < len(groups) && startOf(groups[i].ID).Less(s.to) {
			list = append(list, s)
		} else {
			lacks.add(s)
		}
	}
	return list
}

// backfill is one FETCH at an upstream.
type backfill struct {
	t *track
	u *upstream
	filling
	none   []*answers // get what the upstream says does not exist
	better func() float64
	src    *source

	at     moqt.Location // everything before is settled
	told   time.Time     // when that was served
	last   object.Object // the last object of the group in progress
	open   bool          // such a group is in progress, and nothing of it is unknown
	broken error         // of serve
}

func (b *backfill) run(ctx context.Context, s span) (err error) {
	up := b.u.current()
	if up == nil {
		return moqt.ErrClosed
	}
	limit := patience(b.through)
	actx, answered := context.WithTimeout(ctx, limit)
	r, err := up.asks(b.t).Fetch(actx, b.t.name, s.from, full(s.to), moqt.FetchOptions{Tokens: b.u.hops(b.through)})
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
	b.src = &source{t: b.t, s: up, name: up.name, from: store.Past}
	if b.t.r.mirrors(b.t.name.Namespace) {
		b.src.from = store.Copy
	}
	b.at, b.told = s.from, time.Now()
	if s.from.Object > 0 { // the group began in the store
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
		if o.Kind != moqt.FetchedObject { // what was not asked for is not heard
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

// served hands on the groups that are over, and of one that takes long what is there: whoever waits must see that it goes on.
func (b *backfill) served() error {
	to := startOf(b.at.Group)
	if time.Since(b.told) > time.Second {
		to, b.told = b.at, time.Now()
	}
	b.broken = b.serve(to)
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
	for _, a := range b.none {
		a.add(span{b.at, to})
	}
	b.at = to
}

// take reads an object and stores it.
func (b *backfill) take(ctx context.Context, r io.Reader, f moqt.FetchObject) error {
	o := &obj{Object: object.Object{Group: f.Group, Subgroup: f.Subgroup, ID: f.ID, Priority: f.Priority, Properties: slices.Clone(f.Properties)}}
	if f.Datagram {
		o.Subgroup = f.ID
	}
	if b.src.from == store.Copy {
		if b.src.lost = b.t.r.store.Room(b.t.name.Namespace); b.src.lost != nil {
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
	o.place, o.size = place{prev: b.last.ID, hasPrev: follows, first: f.ID == 0}, len(o.Payload)
	b.src.take(nil, o, object.Sum(o.Payload))
	if b.src.lost != nil {
		return b.src.lost
	}
	b.t.r.stats.backfilled.Add(1)
	b.last = object.Object{Group: f.Group, Subgroup: o.Subgroup, ID: f.ID, Priority: f.Priority}
	b.open = true
	return nil
}

// fillNear fills the live edge, where many ask for the same: they wait for the first one, and find it stored. If an
// upstream is silent they all wait nearPatience, at the same time and not one after the other.
func (r *Relay) fillNear(ctx context.Context, t *track, s span, through []string) {
	ctx, cancel := context.WithTimeout(ctx, nearPatience)
	defer cancel()
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
