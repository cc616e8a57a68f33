package relay

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// mirror starts a relay that keeps a whole copy.
func mirror(t testing.TB, dir string, ups ...Upstream) *server {
	t.Helper()
	return start(t, dir, "127.0.0.1:0", Config{Upstreams: ups, Mirror: []object.Namespace{{"ec"}}}, store.Config{})
}

// holds waits until a relay has groups of a track whole.
func (s *server) holds(t testing.TB, name object.TrackName, groups ...uint64) {
	t.Helper()
	wait(t, "a whole copy", func() bool {
		for _, g := range groups {
			if i, ok := s.store.Track(name).Group(g); !ok || !i.Complete {
				return false
			}
		}
		return true
	})
}

// A mirror that starts after publishing ended has everything, and serves it when nobody else has it any more.
func TestMirror(t *testing.T) {
	origin := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	p := origin.publisher(t, ts)
	groups := []uint64{3, 10, 11, 500, 70000, 1 << 40, 1<<40 + 1}
	for _, g := range groups {
		p.group(g)
	}
	p.put(part(1<<40+7, 0)) // the last one is never finished
	p.put(part(1<<40+7, 1))
	empty := object.TrackName{Namespace: ts.Namespace} // a track without a name
	p2 := origin.publisher(t, empty)
	p2.group(1)
	beyond := origin.publisher(t, object.TrackName{Namespace: object.Namespace{"other"}, Name: "x"})
	beyond.group(1)
	origin.stored(t, int64(len(groups)+2)*(parts+1)+2)
	p.c.leave()
	p2.c.leave()
	beyond.c.leave()

	m := mirror(t, t.TempDir(), origin.upstream())
	m.holds(t, ts, groups...)
	m.holds(t, empty, 1)
	wait(t, "the part of a group", func() bool { ids, _, _ := m.store.Track(ts).Objects(1<<40 + 7); return len(ids) == 2 })
	if n := m.store.Lookup(beyond.pub.Track()); n != nil {
		t.Error("what is not below the prefix was copied")
	}
	want := origin.fetchAll(t, ts, moqt.Location{})
	origin.stop()
	if got := m.fetchAll(t, ts, moqt.Location{}); !reflect.DeepEqual(got, want) || len(got) != len(groups)+1 {
		t.Errorf("the copy has %v, want %v", got, want)
	}
}

// A mirror that starts midway has what was before and what comes, though nobody watches there, and through a relay that keeps nothing
// of it; after a restart it fetches nothing again.
func TestMirrorMidway(t *testing.T) {
	origin := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	middle := edge(t, origin.upstream())
	p := origin.publisher(t, ts)
	var groups []uint64
	next := func(n int) {
		for range n {
			groups = append(groups, uint64(len(groups)*1000+1))
			p.group(groups[len(groups)-1])
		}
	}
	next(30)
	dir := t.TempDir()
	m := mirror(t, dir, middle.upstream())
	wait(t, "the link", func() bool { return m.Stats().LiveTracks == 1 })
	for range 30 { // as live groups come: what is on its way may be taken for missing
		next(1)
		m.holds(t, ts, groups[len(groups)-1])
	}
	m.holds(t, ts, groups...)
	if n := m.Stats().Duplicates; n > 3*parts {
		t.Errorf("%d objects came twice", n)
	}
	m.stop()
	next(3)
	m = mirror(t, dir, middle.upstream())
	m.holds(t, ts, groups...)
	if n := m.Stats().Backfilled; n > 4*parts {
		t.Errorf("%d objects were fetched again", n)
	}
}

// Two mirrors that are peers of each other complete each other.
func TestMirrorsOfEachOther(t *testing.T) {
	conf := Config{Gate: gate(true), Mirror: []object.Namespace{{"ec"}}}
	a := start(t, t.TempDir(), "127.0.0.1:0", conf, store.Config{})
	past := a.publisher(t, ts)
	past.group(1)
	past.group(3)
	a.stored(t, 2*(parts+1))
	past.c.leave()
	conf.Upstreams = []Upstream{a.peer()}
	b := start(t, t.TempDir(), "127.0.0.1:0", conf, store.Config{})
	p := b.publisher(t, ts)
	p.group(2)
	p.group(4)
	a.holds(t, ts, 1, 2, 3, 4)
	b.holds(t, ts, 1, 2, 3, 4)
}

// A list that is long, of a home that keeps a week, comes whole over a narrow line, and nobody is taken for one that stalls.
func TestLongInventory(t *testing.T) {
	for name, tt := range map[string]struct {
		rate int // bytes a second
		want bool
	}{"narrow": {200_000, true}, "a trickle": {20_000, false}, "silent": {0, false}} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(t *testing.T) {
				var all []mesh.Group
				for g := range uint64(7 * 24 * 3600) {
					all = append(all, mesh.Group{ID: g, Whole: true})
				}
				h := newRogue(ts)
				h.fetch = func(ctx context.Context, r *moqt.FetchRequest) {
					time.Sleep(300 * time.Millisecond)
					b := mesh.AppendInventory(nil, all)
					w := accepts(t, r)
					w.WriteObjectHeader(moqt.FetchObject{Group: r.Start.Group, Size: uint64(len(b))})
					for n := tt.rate / 10; len(b) > 0; b = b[min(n, len(b)):] {
						if n == 0 {
							<-ctx.Done()
							return
						}
						if _, err := w.Write(b[:min(n, len(b))]); err != nil {
							return
						}
						time.Sleep(100 * time.Millisecond)
					}
					w.Close()
				}
				r := start(t, t.TempDir(), pipe, Config{Upstreams: []Upstream{h.upstream(t)}}, store.Config{})
				synctest.Wait()
				began := time.Now()
				got, err := r.upstreamInventory(within(t, time.Minute), ts, 0, object.MaxVarint, nil)
				if (err == nil) != tt.want || tt.want && !slices.Equal(got, all) {
					t.Errorf("%d groups, %v", len(got), err)
				}
				if d := time.Since(began); d > 2*answerPatience {
					t.Errorf("after %v", d)
				}
				if _, rest := r.allKeepers(ts, nil); rest == tt.want {
					t.Errorf("is not asked for a while: %v", rest)
				}
			})
		})
	}
}

func TestInventory(t *testing.T) {
	list := []mesh.Group{{ID: 0, Whole: true}, {ID: 1, Objects: 3}, {ID: 1 << 61, Whole: true}, {ID: object.MaxVarint, Objects: 0}}
	b := mesh.AppendInventory(nil, list)
	if got, err := mesh.ParseInventory(b, 0); err != nil || !reflect.DeepEqual(got, list) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := mesh.ParseInventory(b, 1); err != nil || !reflect.DeepEqual(got, list[1:]) {
		t.Errorf("from 1: %v, %v", got, err)
	}
	for n := range len(b) {
		if got, err := mesh.ParseInventory(b[:n], 0); err == nil && !slices.Equal(got, list[:len(got)]) || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v, %v", n, got, err)
		}
	}
	if _, err := mesh.ParseInventory([]byte{5, 0, 0, 0}, 0); err == nil {
		t.Error("the same group twice")
	}
	if _, err := mesh.ParseInventory(append(b, 1, 0), 0); err == nil {
		t.Error("a group beyond the last there can be")
	}
	for range 1000 { // what is not a list is no more than an error
		junk := make([]byte, rand.IntN(40))
		for i := range junk {
			junk[i] = byte(rand.Uint32())
		}
		mesh.ParseInventory(junk, 0)
	}
	merged := mesh.MergeInventories([]mesh.Group{{ID: 1, Objects: 2}, {ID: 3, Whole: true}}, []mesh.Group{{ID: 1, Objects: 4}, {ID: 2, Whole: true}, {ID: 3, Objects: 1}})
	if want := []mesh.Group{{ID: 1, Objects: 4}, {ID: 2, Whole: true}, {ID: 3, Whole: true, Objects: 1}}; !slices.Equal(merged, want) {
		t.Errorf("%v", merged)
	}
}

func TestTrackRoute(t *testing.T) {
	for _, r := range []trackRoute{{ts, []string{newRelayID()}}, {object.TrackName{Namespace: object.Namespace{"a"}}, []string{newRelayID(), newRelayID()}}} {
		if got, ok := parseTrackRoute(r.namespace()); !ok || !reflect.DeepEqual(got, r) {
			t.Errorf("%v, %v, want %v", got, ok, r)
		}
	}
	for _, ns := range []object.Namespace{
		{routesField, stateTrack, newRelayID(), "=x"}, {routesField, stateTrack, newRelayID(), "x", "ec"}, {routesField, stateTrack, "", "=x", "ec"},
		{routesField, stateLive, newRelayID(), "=x", "ec"}, {routesField, stateTrack, "me", "=x", "ec"},
	} {
		if _, ok := parseTrackRoute(ns); ok {
			t.Errorf("%v is taken for a track", ns)
		}
	}
}
