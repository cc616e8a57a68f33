package relay

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// gaps returns the parts of a span that are not stored and not known to be missing everywhere.
func (t *track) gaps(s span) (open []span) {
	for _, g := range t.storeGaps(s) {
		for _, g := range t.answers.without(g) {
			open = append(open, t.doubts.without(g)...)
		}
	}
	return open
}

// storeGaps returns the parts of a span that are not stored.
func (t *track) storeGaps(s span) (list []span) {
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
		ids, ended, _ := t.st.Objects(i.Group) // a group that cannot be read counts as missing
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
	return lessWithheld(list, t.st.Ranges())
}

// keepers returns the upstreams that may have the past of a track, nearest first. Upstreams that rest, because they stalled, are
// left out.
func (r *Relay) keepers(t object.TrackName, through []string) (list []*upstream) {
	list, _ = r.allKeepers(t, through)
	return list
}

// allKeepers returns the same, and reports whether any such upstream rests.
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

// current returns the session with the upstream, or nil.
func (u *upstream) current() *session {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	return u.s
}

// fill fetches from upstreams and publishers the objects of a span that the store lacks, for a request of a session that came through the
// relays in through.
func (r *Relay) fill(ctx context.Context, t *track, s span, through []string, asks *session) {
	r.fillAndServe(ctx, t, s, through, asks, func(moqt.Location) error { return nil })
}

// fillAndServe does the same step by step, for a session that asks. Before each call of serve, everything before the location that serve is given has been
// stored, or cannot be had. Only an error of serve is returned.
func (r *Relay) fillAndServe(ctx context.Context, t *track, s span, through []string, asks *session, serve func(moqt.Location) error) error {
	return r.fillWith(ctx, t, s, filling{through: through, asks: asks, serve: serve})
}

// filling says how a span is filled.
type filling struct {
	through []string                         // relays that the request came through
	serve   func(moqt.Location) error        // gets the location before which everything is settled
	pace    func(context.Context, int) error // waits before a payload of so many bytes; nil: no wait
	enough  func() bool                      // reports that all that is wanted is here; nil: the whole span is wanted
	asks    *session                         // who asked for it, and has not got it; nil: nobody
	mends   bool                             // nobody waits for it: it comes after everything that is live, to be kept
}

func (r *Relay) fillWith(ctx context.Context, t *track, s span, f filling) error {
	r.refresh(t)
	if !f.mends {
		if err := r.fromPublishers(ctx, t, s, f); err != nil {
			return r.notKept(t, err)
		}
	}
	if !r.chained() {
		return nil
	}
	for _, g := range t.gaps(s) {
		if err := f.serve(g.from); err != nil {
			return err
		}
		err := r.fillGap(ctx, t, g, f)
		if _, ok := err.(*notStored); ok {
			return r.notKept(t, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// notKept logs that what was fetched could not be stored: more would be fetched for nothing. Another error is returned.
func (r *Relay) notKept(t *track, err error) error {
	lost, ok := err.(*notStored)
	if !ok {
		return err
	}
	if now, last := time.Now().UnixNano(), r.complaint.Load(); now-last > int64(10*time.Second) && r.complaint.CompareAndSwap(last, now) {
		r.log.Warn("what others have is not fetched", "track", t.name.String(), "err", lost.err)
	}
	return nil
}

// refresh forgets what upstreams said of a track if they said it too long ago, or if the upstreams are others now.
func (r *Relay) refresh(t *track) {
	t.doubts.forget(doubtPause)
	r.mu.Lock()
	epoch := r.epoch
	r.mu.Unlock()
	t.answers.of(epoch)
	t.answers.forget(answerAge)
}

// whole returns a track of which the store lacks nothing in a span, so that no upstream need be asked; otherwise nil.
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

// notStored is the error that fetched objects could not be stored.
type notStored struct{ err error }

func (e *notStored) Error() string { return e.err.Error() }

// fewSpans is how many spans an upstream is asked for one by one. If there are more, it is first asked in which of them it has
// groups.
const fewSpans = 3

// fillGap asks one upstream after the other. If one says that something does not exist, another may still have it; it is believed
// when all of them say so.
func (r *Relay) fillGap(ctx context.Context, t *track, g span, f filling) error {
	keepers, rest := r.allKeepers(t.name, f.through)
	sure := len(keepers) > 0 && !rest && len(f.through) == 0
	alone := len(keepers) == 1 && !rest
	said := new(answers) // what at least one of them says does not exist
	if alone {
		said = &t.answers
	}
	var none []span // the spans in which none of them has anything
	n := len(keepers)
	for i := 0; i < len(keepers); i++ {
		u := keepers[i]
		lacks := new(answers)
		lacking := t.gaps(g)
		if i > 0 && len(lacking) > fewSpans {
			lacking = r.within(ctx, t, u, lacking, f.through, lacks)
		}
		better := func() float64 { return r.fastest(keepers[i+1 : n]) }
		if i >= n { // it is asked a second time, and no other is left
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
				keepers = append(keepers, u) // it is asked again after all others
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
	if l := t.Info().Largest; sure && l != nil {
		for _, rest := range t.gaps(g) { // nobody knows these spans; only near the live edge they may soon know more
			t.doubts.add(span{rest.from, minLocation(rest.to, startOf(l.Group))})
		}
	}
	return nil
}

// within returns those spans in which an upstream says that it has groups. The other spans are added to lacks.
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

// fillNear fills the live edge of a track. Many subscribers ask for it at the same time: they wait for the first request, and
// find the objects stored. If an upstream is silent, all of them wait nearPatience, at the same time and not one after the other.
func (r *Relay) fillNear(ctx context.Context, t *track, s span, through []string, asks *session) {
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
	r.fill(ctx, t, s, through, asks)
}
