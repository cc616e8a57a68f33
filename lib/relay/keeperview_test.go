package relay

import (
	"context"
	"sync"
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

// Viewers wait for a silent publisher at the same time, and may leave.
func TestViewersDoNotQueueForASilentPublisher(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p := s.publishes(t, &rogueKeeper{list: silent})
		p.group(10)
		p.group(20)
		s.stored(t, 2*(parts+1))
		began := time.Now()
		k := s.keeperOf(t, 1)
		if _, err := k.groups(within(t, time.Second), ts, 10, 20); err == nil || time.Since(began) > 2*time.Second {
			t.Errorf("who left was told after %v: %v", time.Since(began), err)
		}
		var viewers sync.WaitGroup
		for i := range 6 {
			viewers.Go(func() {
				if got := s.fetchAll(t, ts, moqt.Location{Group: uint64(i)}); len(got) != 2 {
					t.Errorf("viewer %d got %d groups", i, len(got))
				}
			})
		}
		viewers.Wait()
		if d := time.Since(began); d > answerPatience+3*time.Second {
			t.Errorf("the last one after %v", d)
		}
	})
}

// A viewer gets a bounded part of what a publisher has, and no group that others can have here goes for it.
func TestFetchOfASpool(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		var ids []uint64
		for id := range uint64(3000) {
			ids = append(ids, id)
		}
		home := &keeping{groups: ids[:10]}
		home.shy.Store(true)
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{MaxBytes: 1 << 20})
		p := s.publishes(t, home)
		for id := uint64(5000); s.store.Room(ts.Namespace) == nil; id++ {
			p.group(id)
			s.holds(t, ts, id)
		}
		home.shy.Store(false)
		had := s.Stats().Backfilled
		s.fetchAll(t, ts, moqt.Location{})
		if n := s.Stats().Backfilled - had; n > 0 || home.asked.Load() > 0 {
			t.Errorf("%d objects were fetched though there is no room, %d requests went before what is live", n, home.asked.Load())
		}
	})
	inMemory(t, func(t *testing.T) {
		var ids []uint64
		for id := range uint64(3000) {
			ids = append(ids, id)
		}
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		s.publishes(t, &rogueKeeper{list: listed(ids...)})
		k := s.keeperOf(t, 1)
		list, err := k.groups(within(t, time.Minute), ts, 100, 5000)
		if err != nil || len(list) != maxFill || list[0].ID != 100 {
			t.Errorf("%d groups, %v", len(list), err)
		}
	})
}

// What a FETCH does not get because it asks for much, the next one is asked for.
func TestRestOfASpoolIsNotDoubted(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		var ids []uint64
		for id := range uint64(3000) {
			ids = append(ids, id)
		}
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p := s.publishes(t, &rogueKeeper{list: listed(ids...), fetch: func(_ context.Context, r *moqt.FetchRequest) { r.Reject(wire.RequestInvalidRange, "") }})
		p.group(4000)
		s.stored(t, parts+1)
		tr := s.track(ts)
		all := span{to: startOf(4000)}
		if err := s.fromPublishers(within(t, time.Minute), tr, all, filling{serve: func(moqt.Location) error { return nil }}); err != nil {
			t.Error(err)
		}
		if got := tr.gaps(all); len(got) != 1 || got[0] != (span{startOf(maxFill), all.to}) {
			t.Errorf("%v is left to ask for", got)
		}
	})
}

// What a publisher did not answer to, because a viewer left or the publisher stalled, is not taken for missing everywhere.
func TestUnansweredIsNotDoubted(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p := s.publishes(t, &rogueKeeper{list: silent})
		p.group(10)
		p.group(20)
		s.stored(t, 2*(parts+1))
		tr, all := s.track(ts), span{startOf(11), startOf(20)}
		for _, patience := range []time.Duration{time.Millisecond, time.Minute} {
			ctx, leave := context.WithTimeout(context.Background(), patience)
			if err := s.fromPublishers(ctx, tr, all, filling{serve: func(moqt.Location) error { return nil }}); err != nil {
				t.Error(err)
			}
			leave()
			if got := tr.gaps(all); len(got) != 1 || got[0] != all {
				t.Errorf("after %v %v is left to ask for", patience, got)
			}
		}
	})
}

// A publisher that lists much and brings nothing is waited for once.
func TestSilentBringerIsWaitedForOnce(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		var list []mesh.Group
		for id := range uint64(500) {
			list = append(list, mesh.Group{ID: 2 * id, Whole: true})
		}
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		s.publishes(t, &rogueKeeper{fetch: silent})
		k, began := s.keeperOf(t, 1), time.Now()
		err := k.bring(within(t, time.Hour), s.track(ts), span{to: startOf(1000)}, list, filling{serve: func(moqt.Location) error { return nil }})
		if d := time.Since(began); err != nil || d > answerPatience+time.Second {
			t.Errorf("%v, after %v", err, d)
		}
	})
}

// What is older than everything here, or the first of a track, is not fetched while the store is near its bounds.
func TestNoRoomForATrackThatIsNotHere(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{MaxBytes: 1 << 20})
	p := s.publisher(t, ts)
	for id := uint64(100); s.store.Room(ts.Namespace) == nil; id++ {
		p.group(id)
		s.holds(t, ts, id)
	}
	m, g := mender{library{s.Relay}}, mesh.Group{ID: 7, Whole: true}
	if m.Lacks(ts, g) {
		t.Error("a group older than all would be fetched")
	}
	if m.Lacks(object.TrackName{Namespace: object.Namespace{"expired"}}, g) {
		t.Error("a group of a track that is not here would be fetched")
	}
	if g.ID = 1 << 20; !m.Lacks(ts, g) {
		t.Error("a newer group would not be fetched")
	}
}

// What one publisher does not bring is said to be unknown only when the others were asked.
func TestSecondPublisherHasIt(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		s.publishes(t, &rogueKeeper{fetch: func(_ context.Context, r *moqt.FetchRequest) { accepts(t, r).Close() }})
		first := s.keeperOf(t, 1)
		home := &keeping{groups: []uint64{12, 13}}
		home.shy.Store(true)
		s.publishes(t, home)
		second := s.keeperOf(t, 2, first)
		list := []mesh.Group{{ID: 12, Whole: true}, {ID: 13, Whole: true}}
		tr := s.track(ts)
		serve := func(to moqt.Location) error {
			for _, g := range list {
				if i, ok := tr.st.Group(g.ID); startOf(g.ID).Less(to) && (!ok || !i.Complete) {
					t.Errorf("at %v group %d is settled without the second publisher", to, g.ID)
				}
			}
			return nil
		}
		run := span{startOf(12), startOf(14)}
		if err := bringRun(within(t, time.Minute), tr, run, []*keeper{first, second}, [][]mesh.Group{list, list}, filling{serve: serve}); err != nil {
			t.Error(err)
		}
		serve(run.to)
	})
}

// A session that ends while it attaches its last track leaves nothing behind.
func TestKeeperIsForgotten(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p := s.publishes(t, &rogueKeeper{})
		k := s.keeperOf(t, 1)
		last := make(chan struct{})
		k.s.background(func() {
			defer close(last)
			for over := false; !over; time.Sleep(time.Millisecond) {
				k.s.mu.Lock()
				over = k.s.over
				k.s.mu.Unlock()
			}
			k.s.keeps(s.track(ts))
		})
		p.c.leave()
		<-last
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.keepersHere) != 0 {
			t.Error("it is remembered")
		}
	})
}

// On a relay with upstreams, too, a publisher is not asked for what it asks for itself.
func TestNotAskedForWhatItAsksFor(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		up := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		s := start(t, t.TempDir(), pipe, Config{Upstreams: []Upstream{up.pipeUpstream(t)}}, store.Config{})
		var asked atomic.Int64
		p := s.publishes(t, &rogueKeeper{list: func(_ context.Context, r *moqt.FetchRequest) {
			if r.End.Group > r.Start.Group { // the relay asks so for a viewer, and without an end for itself
				asked.Add(1)
			}
			r.Reject(wire.RequestDoesNotExist, "")
		}})
		p.group(10)
		p.group(20)
		s.stored(t, 2*(parts+1))
		fetch := func(c *client) {
			r, err := c.Fetch(within(t, time.Minute), ts, moqt.Location{Group: 10}, moqt.Location{Group: 20}, moqt.FetchOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = r.Next()
			}
		}
		if fetch(p.c); asked.Load() > 0 {
			t.Error("it was asked")
		}
		if fetch(s.dial(t, nil)); asked.Load() == 0 {
			t.Error("it was not asked for another one")
		}
	})
}
