package relay

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// rogueKeeper is a publisher that answers requests as a test says.
type rogueKeeper struct {
	moqt.UnimplementedHandler
	tracks func(ctx context.Context, r *moqt.FetchRequest)
	list   func(ctx context.Context, r *moqt.FetchRequest)
	fetch  func(ctx context.Context, r *moqt.FetchRequest)
}

func (k *rogueKeeper) Fetch(ctx context.Context, r *moqt.FetchRequest) {
	do := k.fetch
	switch {
	case len(r.Track.Namespace) == 1 && r.Track.Namespace[0] == mesh.InventoryField:
		do = k.tracks
	case r.Track.Namespace[0] == mesh.InventoryField:
		do = k.list
	}
	if do == nil {
		r.Reject(wire.RequestDoesNotExist, "")
		return
	}
	do(ctx, r)
}

func answer(r *moqt.FetchRequest, b []byte) {
	if w, err := r.Accept(moqt.FetchInfo{End: moqt.Location{Group: r.Start.Group, Object: 1}}); err == nil {
		w.WriteObject(moqt.FetchObject{Group: r.Start.Group}, b)
		w.Close()
	}
}

func listed(ids ...uint64) func(context.Context, *moqt.FetchRequest) {
	var list []mesh.Group
	for _, id := range ids {
		list = append(list, mesh.Group{ID: id, Whole: true})
	}
	return func(_ context.Context, r *moqt.FetchRequest) { answer(r, mesh.AppendInventory(nil, list)) }
}

func silent(ctx context.Context, _ *moqt.FetchRequest) { <-ctx.Done() }

// publishes publishes ts in a session that is asked with a handler.
func (s *server) publishes(t *testing.T, h moqt.Handler) *publisher {
	c := s.dial(t, h)
	pub, err := c.Publish(within(t, time.Minute), ts, moqt.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &publisher{t: t, c: c, pub: pub}
}

// keeperOf returns what the relay knows of the session of a publisher, once it is the n-th one.
func (s *server) keeperOf(t *testing.T, n int, others ...*keeper) (found *keeper) {
	wait(t, "a keeper", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, k := range s.keepersHere {
			if !slices.Contains(others, k) {
				found = k
			}
		}
		return len(s.keepersHere) == n
	})
	return found
}

// A publisher that lists many tracks costs a bounded part of memory, and nothing that is not freed.
func TestListedTracksAreBounded(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		s.publishes(t, &rogueKeeper{tracks: func(_ context.Context, r *moqt.FetchRequest) {
			var names []object.TrackName
			for i := range 20000 {
				names = append(names, object.TrackName{Namespace: object.Namespace{"invented"}, Name: fmt.Sprint(i)})
			}
			answer(r, mesh.AppendTracks(nil, names))
		}})
		k := s.keeperOf(t, 1)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(k.tracks) != maxKept || s.kept != maxKept || len(s.tracks) > 1 {
			t.Errorf("%d tracks are remembered, %d counted, %d known", len(k.tracks), s.kept, len(s.tracks))
		}
	})
}

// All publishers together do so too, and each of them has a share.
func TestKeptTracksAreShared(t *testing.T) {
	st, err := store.Open(t.TempDir(), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	r := New(Config{Store: st})
	name := func(i, j int) object.TrackName {
		return object.TrackName{Namespace: object.Namespace{fmt.Sprint(i)}, Name: fmt.Sprint(j)}
	}
	var all []*keeper
	for i := range 40 {
		s := &session{r: r}
		k := &keeper{s: s, tracks: make(map[string]kept)}
		r.keepersHere[s], all = k, append(all, k)
		for j := range maxKept + 10 {
			r.noteKept(k, name(i, j), false)
		}
	}
	r.noteKept(all[0], name(0, 1000), true)
	if _, ok := all[0].tracks[name(0, 1000).String()]; !ok {
		t.Error("a track that is published is not remembered, for tracks that are only listed")
	}
	sum := 0
	for i, k := range all {
		if sum += len(k.tracks); len(k.tracks) < maxKeptOfAll/len(all)/2 {
			t.Errorf("of publisher %d %d tracks are remembered", i, len(k.tracks))
		}
	}
	if sum != maxKeptOfAll || r.kept != sum {
		t.Errorf("%d tracks are remembered, %d counted", sum, r.kept)
	}
	for _, k := range all {
		r.forgetKeeper(k.s)
	}
	if r.kept != 0 {
		t.Errorf("%d are left", r.kept)
	}
}

// A publisher that does not say which tracks it has is not waited for for ever.
func TestSilentListOfTracks(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		var over atomic.Bool
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		s.publishes(t, &rogueKeeper{tracks: func(ctx context.Context, r *moqt.FetchRequest) {
			silent(ctx, r)
			over.Store(true)
		}})
		time.Sleep(2 * answerPatience)
		synctest.Wait()
		if !over.Load() {
			t.Error("the relay still waits")
		}
	})
}

// What a publisher says to have, ever newer and never brought, keeps nothing of another one from coming.
func TestInventedGroupsOfAPublisher(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		var from atomic.Uint64
		s.publishes(t, &rogueKeeper{
			list: func(_ context.Context, r *moqt.FetchRequest) {
				var list []mesh.Group
				for n, first := uint64(0), from.Add(1<<20); n < 20000; n++ {
					list = append(list, mesh.Group{ID: first + n, Whole: true})
				}
				answer(r, mesh.AppendInventory(nil, list))
			},
			fetch: func(ctx context.Context, r *moqt.FetchRequest) {
				time.Sleep(time.Second)
				r.Reject(wire.RequestInvalidRange, "")
			},
		})
		p := s.publishes(t, &keeping{groups: []uint64{10, 12, 14, 20}})
		p.group(10)
		p.group(20)
		began := time.Now()
		s.holds(t, ts, 12, 14)
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// A list of more groups than can be looked at is cut while it is read.
func TestNewest(t *testing.T) {
	n := newest{most: 10}
	for id := range uint64(1000) {
		if n.add(mesh.Group{ID: id}); len(n.list) > 20 {
			t.Fatalf("%d groups are held", len(n.list))
		}
	}
	if list := n.groups(); len(list) != 10 || list[0].ID != 990 || list[9].ID != 999 {
		t.Errorf("%v", list)
	}
}

// Upstreams are asked for all holes again some time after a publisher came: at first its groups do not show the hole before them.
func TestUpstreamsAreLookedAtAgain(t *testing.T) {
	k := &keeper{since: time.Now()}
	var got []int
	for _, after := range []time.Duration{0, 10 * time.Second, 30 * time.Second, 2 * time.Minute, time.Hour} {
		got = append(got, k.looks(k.since.Add(after)))
	}
	if !slices.Equal(got, []int{1, 2, 3, 4, 4}) {
		t.Errorf("%v looks", got)
	}
}
