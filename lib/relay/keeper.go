package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/auth"
	keep "every.channel/ec/lib/client"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// A publisher of this project keeps what it has sent for a while, in memory or on disk, and lists it (docs/format/chain.md). So it can be
// asked for what is missing here, like an upstream.

// keeper is a session with such a publisher. Relay.mu guards it.
type keeper struct {
	s      *session
	u      *upstream // what FETCHes of what is missing are made at
	id     string
	since  time.Time
	tracks map[string]kept
	mute   bool // it lists nothing
	lists  map[string]*listing
	asking chan struct{} // holds a token for each list that it is asked for to mend what is missing
}

// kept is a track of a keeper.
type kept struct {
	name      object.TrackName
	published bool // it was published in this session, not only listed
}

const (
	// maxKept bounds the tracks of a keeper, and maxKeptOfAll those of all keepers. Any client may be one.
	maxKept, maxKeptOfAll = 256, 4096
	// maxNames bounds the bytes of its list of tracks; the rest is not read.
	maxNames = 256 << 10
	// maxLists bounds the lists that are read at a time to mend what is missing, and maxListsOfOne those from one keeper.
	maxLists, maxListsOfOne = 64, 2
)

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
		k = &keeper{
			s: s, since: time.Now(), u: &upstream{r: r, c: Upstream{Relay: s.name}, s: s, ours: true, publisher: true},
			tracks: make(map[string]kept), lists: make(map[string]*listing), asking: make(chan struct{}, maxListsOfOne),
		}
		k.id = fmt.Sprintf("%p", k)
		r.keepersHere[s] = k
	}
	r.noteKept(k, t.name, true)
	r.mu.Unlock()
	if first {
		s.background(func() { k.askTracks(s.s.Context()) })
	}
}

// noteKept notes a track of a keeper, unless there are too many. A track that is published takes the place of one that is only listed, and
// a track of a keeper with few takes that of one with many. Relay.mu is held.
func (r *Relay) noteKept(k *keeper, name object.TrackName, published bool) {
	key := name.String()
	if o, ok := k.tracks[key]; ok {
		k.tracks[key] = kept{o.name, o.published || published}
		return
	}
	from := k
	if len(k.tracks) < maxKept {
		if r.kept < maxKeptOfAll {
			k.tracks[key] = kept{name, published}
			r.kept++
			return
		}
		for _, o := range r.keepersHere {
			if len(o.tracks) > len(from.tracks) {
				from = o
			}
		}
	}
	for other, o := range from.tracks {
		if from == k && (o.published || !published) {
			continue
		}
		delete(from.tracks, other)
		k.tracks[key] = kept{name, published}
		return
	}
}

// may reports whether the publisher may still bring a track. It names many that it did not ask to publish.
func (k *keeper) may(name object.TrackName) bool {
	return k.s.r.ban(name) == nil && k.s.access.may(auth.Publish, name)
}

// askTracks asks which other tracks a publisher has: those of its earlier runs, which nobody publishes any more.
func (k *keeper) askTracks(ctx context.Context) {
	over, ok := k.slot(ctx)
	if !ok {
		return
	}
	defer over()
	var b []byte
	err := k.u.askList(ctx, k.s, object.TrackName{Namespace: object.Namespace{mesh.InventoryField}}, moqt.Location{}, moqt.Location{Object: 1}, nil, func(r io.Reader) (err error) {
		if b, err = io.ReadAll(io.LimitReader(r, maxNames)); len(b) == maxNames {
			b = b[:bytes.LastIndexByte(b, '\n')+1]
		}
		return err
	})
	if err != nil {
		return
	}
	r := k.s.r
	names := slices.DeleteFunc(mesh.ParseTracks(b, maxKept), func(name object.TrackName) bool { return !k.may(name) })
	r.mu.Lock()
	for _, name := range names {
		r.noteKept(k, name, false)
	}
	r.mu.Unlock()
	r.namespacesChanged()
}

// slot waits until a list may be read from a keeper; over must be called when it was.
func (k *keeper) slot(ctx context.Context) (over func(), ok bool) {
	select {
	case k.asking <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	select {
	case k.s.r.lists <- struct{}{}:
		return func() { <-k.s.r.lists; <-k.asking }, true
	case <-ctx.Done():
		<-k.asking
		return nil, false
	}
}

// publishersOf returns the publishers that may be asked for what is missing of a track, but not the one that asks for it, and whether others
// rest because they stalled.
func (r *Relay) publishersOf(t object.TrackName, asks *session) (list []*keeper, rest bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, key := time.Now(), t.String()
	for s, k := range r.keepersHere {
		if _, ok := k.tracks[key]; !ok || s == asks || k.mute || r.barred(key, s) {
			continue
		}
		if k.u.rests(now) {
			rest = true
			continue
		}
		list = append(list, k)
	}
	return list, rest
}

// fromPublishers fetches from publishers the objects of a span that are missing and that they have, for somebody who waits for them.
func (r *Relay) fromPublishers(ctx context.Context, t *track, s span, f filling) error {
	if l := t.Info().Largest; l != nil && !f.mends { // what is still to come of the newest group comes by itself
		s.to = minLocation(s.to, startOf(l.Group))
	}
	publishers, _ := r.publishersOf(t.name, f.asks)
	if len(publishers) == 0 || s.empty() {
		return nil
	}
	gaps := t.gaps(s)
	if len(gaps) == 0 {
		return nil
	}
	s = span{gaps[0].from, gaps[len(gaps)-1].to}
	if r.chained() { // upstreams may have what lies before
		f.serve = func(moqt.Location) error { return nil }
	}
	lists, all, errs := make([][]mesh.Group, len(publishers)), []mesh.Group(nil), make([]error, len(publishers))
	var asking sync.WaitGroup
	wait, answered := context.WithTimeout(ctx, listingWait)
	defer answered()
	for i, k := range publishers {
		asking.Go(func() { lists[i], errs[i] = k.groups(wait, t.name, s.from.Group, s.to.Group) })
	}
	asking.Wait()
	for _, list := range lists {
		if all = mesh.MergeInventories(all, list); len(list) == maxFill { // it may have more, for the next request
			s.to = minLocation(s.to, startOf(list[len(list)-1].ID+1))
		}
	}
	for _, run := range lackingRuns(all, s, func(g mesh.Group) bool { return mender{library{r}}.Lacks(t.name, g) }) {
		if err := f.serve(run.from); err != nil {
			return err
		}
		if err := bringRun(ctx, t, run, publishers, lists, f); err != nil || ctx.Err() != nil || f.enough != nil && f.enough() {
			return err
		}
	}
	_, rest := r.publishersOf(t.name, f.asks)
	if r.chained() || rest || ctx.Err() != nil || errors.Join(errs...) != nil {
		return nil // somebody may still know of what is missing
	}
	for _, g := range t.gaps(s) {
		t.doubts.add(g)
	}
	return nil
}

// bringRun fetches a span from one publisher after the other. What one of them does not have, the next one may have; so only the last
// one tells what is settled.
func bringRun(ctx context.Context, t *track, run span, publishers []*keeper, lists [][]mesh.Group, f filling) error {
	quiet := f
	quiet.serve = func(moqt.Location) error { return nil }
	last := -1
	for i, list := range lists {
		if len(lackingRuns(list, run, anyGroup)) > 0 {
			last = i
		}
	}
	for i, k := range publishers[:last+1] {
		how := quiet
		if i == last {
			how = f
		}
		if err := k.bring(ctx, t, run, lists[i], how); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// bring fetches what is missing of a span from a publisher that listed some groups.
func (k *keeper) bring(ctx context.Context, t *track, s span, list []mesh.Group, f filling) error {
	if !k.may(t.name) {
		return nil
	}
	for _, has := range lackingRuns(list, s, anyGroup) {
		for _, gap := range t.storeGaps(has) {
			if k.rests() {
				return nil
			}
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
			if ctx.Err() != nil || f.enough != nil && f.enough() {
				return nil
			}
		}
	}
	return nil
}

// rests reports whether a keeper must not be asked at the moment.
func (k *keeper) rests() bool {
	k.s.r.mu.Lock()
	defer k.s.r.mu.Unlock()
	return k.mute || k.u.rests(time.Now())
}

func anyGroup(mesh.Group) bool { return true }

// longestRun is how many groups are asked for at a time.
const longestRun = 64

// lackingRuns returns the spans of successive groups of a list that are lacked, ascending, within s.
func lackingRuns(groups []mesh.Group, s span, lacks func(mesh.Group) bool) (list []span) {
	apart, n := true, 0
	for _, g := range groups {
		one := span{maxLocation(s.from, startOf(g.ID)), minLocation(s.to, startOf(g.ID+1))}
		if one.empty() {
			continue
		}
		if !lacks(g) {
			apart = true
			continue
		}
		if apart || n == longestRun {
			list, apart, n = append(list, one), false, 0
		}
		list[len(list)-1].to = one.to
		n++
	}
	return list
}

// forgetKeeper forgets what a session keeps.
func (r *Relay) forgetKeeper(s *session) {
	r.mu.Lock()
	if k := r.keepersHere[s]; k != nil {
		r.kept -= len(k.tracks)
		delete(r.keepersHere, s)
	}
	r.mu.Unlock()
}

// fillable reports whether somebody can be asked for what is missing of a track, other than who asks for it.
func (r *Relay) fillable(t *track, asks *session) bool {
	list, _ := r.publishersOf(t.name, asks)
	return r.chained() || len(list) > 0
}
