package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	keep "every.channel/ec/lib/client"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// A publisher of this project keeps what it has sent for a while, in memory or on disk, and lists it (docs/format/chain.md). So it can be
// asked for what is missing here, like an upstream.

// keeper is a session with such a publisher. Relay.mu guards it.
type keeper struct {
	s      *session
	u      *upstream // what FETCHes of what is missing are made at
	tracks map[string]*track
	mute   bool // it lists nothing
	lists  map[string]*listing
}

// listing is what a keeper said that it has of a track, in the groups from…to, inclusive.
type listing struct {
	mu       sync.Mutex
	at       time.Time
	from, to uint64
	groups   []mesh.Group
}

// listingAge is how long the list of a keeper is used for requests of viewers, of which there may be many.
const listingAge = time.Second

// maxListing bounds the groups of a list that is remembered.
const maxListing = 4096

// keeps notes that a session publishes a track, so that it may be asked for what is missing of it.
func (s *session) keeps(t *track) {
	peer, err := s.s.Peer(s.s.Context())
	if err != nil || s.reader || s.up != nil || !mesh.Ours(peer.Implementation) {
		return
	}
	whole := span{to: startOf(object.MaxVarint)} // what nobody had may be had now
	t.answers.drop(whole)
	t.doubts.drop(whole)
	r := s.r
	r.mu.Lock()
	k, first := r.keepersHere[s], false
	if k == nil {
		first = true
		if s.ask == nil {
			s.ask = keep.Over(s.s.Context(), s.s, s.name, r.log)
		}
		k = &keeper{s: s, u: &upstream{r: r, c: Upstream{Relay: s.name}, s: s, ours: true, publisher: true}, tracks: make(map[string]*track), lists: make(map[string]*listing)}
		r.keepersHere[s] = k
	}
	k.tracks[t.name.String()] = t
	r.mu.Unlock()
	if first {
		s.background(func() { k.askTracks(s.s.Context()) })
	}
}

// askTracks asks which other tracks a publisher has: those of its earlier runs, which nobody publishes any more.
func (k *keeper) askTracks(ctx context.Context) {
	b, err := fetchList(ctx, k.s, object.TrackName{Namespace: object.Namespace{mesh.InventoryField}}, moqt.Location{}, moqt.Location{Object: 1}, nil, func(int64) {})
	if err != nil {
		return
	}
	r := k.s.r
	for _, name := range mesh.ParseTracks(b, maxTracks) {
		t := r.track(name)
		r.mu.Lock()
		if key := name.String(); k.tracks[key] == nil {
			k.tracks[key] = t
		}
		r.mu.Unlock()
	}
	r.namespacesChanged()
}

// publishersOf returns the publishers that may be asked for what is missing of a track, but not the one that asks for it.
func (r *Relay) publishersOf(t object.TrackName, asks *session) (list []*keeper) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, key := time.Now(), t.String()
	for s, k := range r.keepersHere {
		if s != asks && !k.mute && k.tracks[key] != nil && !k.u.rests(now) {
			list = append(list, k)
		}
	}
	return list
}

// groups returns what a keeper has of a track, in the groups from…to. The answer may be as old as age.
func (k *keeper) groups(ctx context.Context, name object.TrackName, from, to uint64, age time.Duration) ([]mesh.Group, error) {
	r := k.s.r
	r.mu.Lock()
	l := k.lists[name.String()]
	if l == nil {
		l = new(listing)
		k.lists[name.String()] = l
	}
	r.mu.Unlock()
	l.mu.Lock() // others wait for the same answer
	defer l.mu.Unlock()
	if time.Since(l.at) < age && l.from <= from && to <= l.to {
		return l.groups, nil
	}
	groups, err := k.u.inventory(ctx, k.s, name, from, to, nil)
	if refused := (*moqt.RequestError)(nil); errors.As(err, &refused) && refused.Code == wire.RequestNotSupported {
		r.mu.Lock()
		k.mute = true
		r.mu.Unlock()
	}
	if err != nil {
		return nil, err
	}
	if age > 0 && len(groups) <= maxListing {
		l.at, l.from, l.to, l.groups = time.Now(), from, to, groups
	}
	return groups, nil
}

// fromPublishers fetches from publishers the objects of a span that are missing and that they have.
func (r *Relay) fromPublishers(ctx context.Context, t *track, s span, f filling) error {
	if l := t.Info().Largest; l != nil && !f.mends { // what is still to come of the newest group comes by itself
		s.to = minLocation(s.to, startOf(l.Group))
	}
	publishers := r.publishersOf(t.name, f.asks)
	if len(publishers) == 0 || s.empty() || !f.mends && len(t.gaps(s)) == 0 {
		return nil
	}
	if r.chained() { // upstreams may have what lies before
		f.serve = func(moqt.Location) error { return nil }
	}
	age := listingAge
	if f.mends {
		age = 0
	}
	lists, all := make([][]mesh.Group, len(publishers)), []mesh.Group(nil)
	for i, k := range publishers {
		lists[i], _ = k.groups(ctx, t.name, s.from.Group, s.to.Group, age)
		all = mesh.MergeInventories(all, lists[i])
	}
	for _, run := range lackingRuns(all, s, func(g mesh.Group) bool { return library{r}.Lacks(t.name, g) }) {
		if err := f.serve(run.from); err != nil {
			return err
		}
		for i, k := range publishers {
			if err := k.bring(ctx, t, run, lists[i], f); err != nil || ctx.Err() != nil {
				return err
			}
			if f.enough != nil && f.enough() {
				return nil
			}
		}
	}
	if !f.mends && !r.chained() {
		for _, g := range t.gaps(s) { // nobody else can be asked
			t.doubts.add(g)
		}
	}
	return nil
}

// bring fetches what is missing of a span from a publisher that listed some groups.
func (k *keeper) bring(ctx context.Context, t *track, s span, list []mesh.Group, f filling) error {
	for _, has := range lackingRuns(list, s, func(mesh.Group) bool { return true }) {
		for _, gap := range t.storeGaps(has) {
			b := backfill{t: t, u: k.u, filling: f, better: func() float64 { return 0 }}
			err := b.run(ctx, gap)
			switch {
			case b.broken != nil:
				return b.broken
			case b.src != nil && b.src.lost != nil:
				return &notStored{b.src.lost}
			case err == errStallsUpstream:
				k.u.stalled("objects")
			}
			if err != nil {
				k.s.r.log.Debug("publisher did not bring what is missing", "track", t.name.String(), "source", k.s.name, "from", gap.from.String(), "to", gap.to.String(), "err", err)
			}
			if ctx.Err() != nil {
				return nil
			}
		}
	}
	return nil
}

// lackingRuns returns the spans of successive groups of a list that are lacked, ascending, within s.
func lackingRuns(groups []mesh.Group, s span, lacks func(mesh.Group) bool) (list []span) {
	apart := true
	for _, g := range groups {
		one := span{maxLocation(s.from, startOf(g.ID)), minLocation(s.to, startOf(g.ID+1))}
		if one.empty() {
			continue
		}
		if !lacks(g) {
			apart = true
			continue
		}
		if apart {
			list, apart = append(list, one), false
		} else {
			list[len(list)-1].to = one.to
		}
	}
	return list
}

// forgetKeeper forgets what a session keeps.
func (r *Relay) forgetKeeper(s *session) {
	r.mu.Lock()
	delete(r.keepersHere, s)
	r.mu.Unlock()
}

// fillable reports whether somebody can be asked for what is missing of a track, other than who asks for it.
func (r *Relay) fillable(t *track, asks *session) bool {
	return r.chained() || len(r.publishersOf(t.name, asks)) > 0
}
