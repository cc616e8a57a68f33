package sub

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"
)

var (
	homeTS       = object.TrackName{Namespace: home, Name: catalog.TrackTS}
	homeManifest = object.TrackName{Namespace: home, Name: catalog.TrackManifest}
)

// tells puts the catalog of a receiver that promotes to a track of the broadcast, and its manifest: into which track each chunk went.
func tells(t testing.TB, relay *relaytest.Relay, by object.Namespace, promotes string, went map[int]object.TrackName) {
	t.Helper()
	c := catalog.Catalog{Tracks: []catalog.Track{}, EC: &catalog.Private{Broadcast: broadcast.String(), Source: by.String(), BroadcastTrack: promotes}}
	relay.Put(catalog.Of(by), object.Object{Group: 1, Payload: encoded(t, c)})
	for n, to := range went {
		e := catalog.ManifestEntry{Group: chunk(n), Track: to, Scope: catalog.ScopeBroadcast}
		if to.Namespace.HasPrefix(sourcePrefix) {
			e.Scope, e.Reason = catalog.ScopeSource, catalog.ReasonDamaged
		}
		relay.Put(object.TrackName{Namespace: by, Name: catalog.TrackManifest}, object.Object{Group: chunk(n) >> clock.TagBits, Payload: encoded(t, e)})
	}
}

// lacking puts chunks of a track without some of them.
func lacking(relay *relaytest.Relay, name object.TrackName, first, n int, gone ...int) {
	relay.Put(name, without(groups(first, n), func(o object.Object) bool {
		for _, g := range gone {
			if o.Group == chunk(g) {
				return true
			}
		}
		return false
	})...)
}

// TestGapsAreNamed: what is missing between the two places is counted and named, at the edges too. Receivers tell the ids, and what
// they did not publish; that is no loss.
func TestGapsAreNamed(t *testing.T) {
	t.Parallel()
	other := object.Namespace{"ec", "source", "other", "3"}
	ids := func(list ...int) (s string) {
		for i, n := range list {
			s += []string{"", "…"}[min(i, 1)] + fmt.Sprint(chunk(n))
		}
		return s
	}
	all := func(of object.TrackName) map[int]object.TrackName {
		went := map[int]object.TrackName{}
		for n := 10; n < 30; n++ {
			went[n] = of
		}
		return went
	}
	with := func(went map[int]object.TrackName, n int, to object.TrackName) map[int]object.TrackName {
		if went[n] = to; to.Name == "" {
			delete(went, n)
		}
		return went
	}
	for _, test := range []struct {
		name                 string
		gone                 []int
		told                 func(*testing.T, *relaytest.Relay)
		missing, unpublished int64
		names                []string
	}{
		{"nobody tells", []int{15, 18, 19}, nil, 3, 0, []string{"bucket 15, bucket 18…19"}},
		{"at the edges", []int{10, 11, 28, 29}, nil, 4, 0, []string{"bucket 10…11, bucket 28…29"}},
		{"a receiver tells", []int{10, 15, 18, 19, 29}, func(t *testing.T, r *relaytest.Relay) { tells(t, r, home, name.Name, all(name)) },
			5, 0, []string{ids(10), ids(15), ids(18, 19), ids(29)}},
		{"it did not publish two", []int{15, 18, 19}, func(t *testing.T, r *relaytest.Relay) {
			tells(t, r, home, name.Name, with(with(all(name), 15, homeTS), 19, homeTS))
		}, 1, 2, []string{ids(18)}},
		{"it did not publish one, another did", []int{15}, func(t *testing.T, r *relaytest.Relay) {
			tells(t, r, home, name.Name, with(all(name), 15, homeTS))
			tells(t, r, other, name.Name, all(name))
		}, 1, 0, []string{ids(15)}},
		{"it did not publish it", []int{15}, func(t *testing.T, r *relaytest.Relay) {
			tells(t, r, home, name.Name, with(all(name), 15, homeTS))
		}, 0, 1, nil},
		{"it was away, and did not publish what it heard last and first", []int{15, 16, 17, 18}, func(t *testing.T, r *relaytest.Relay) {
			none := object.TrackName{}
			tells(t, r, home, name.Name, with(with(with(with(all(name), 15, homeTS), 16, none), 17, none), 18, homeTS))
		}, 2, 2, []string{"bucket 16…17"}},
		{"a receiver of another variant tells", []int{15}, func(t *testing.T, r *relaytest.Relay) {
			tells(t, r, home, "ts_d1000_p100_t13", with(all(object.TrackName{Namespace: broadcast, Name: "ts_d1000_p100_t13"}), 15, homeTS))
		}, 1, 0, []string{"bucket 15"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			relay := relaytest.New(t)
			lacking(relay, name, 10, 20, test.gone...)
			relay.Put(name, groups(30, 2)...)
			if test.told != nil {
				test.told(t, relay)
			}
			c := config(t, relay)
			c.From, c.To = at(10), at(29)
			s, err := Run(testContext(t), c, io.Discard)
			if s.MissingGroups != test.missing || s.Unpublished != test.unpublished || s.MissingObjects != 0 || !gapped(err, test.missing > 0) {
				t.Fatalf("%+v, %v", s, err)
			}
			if want := strings.Join(test.names, ", "); err != nil && !strings.HasSuffix(err.Error(), ": "+name.String()+" "+want) {
				t.Errorf("%v, want %s", err, want)
			}
			c.AllowGaps = true
			if s, err := Run(testContext(t), c, io.Discard); err != nil || s.MissingGroups != test.missing {
				t.Errorf("gaps allowed: %+v, %v", s, err)
			}
		})
	}
}

// TestGapsOfLongChunks: chunks that are longer than a bucket leave out ids, at the edges as elsewhere.
func TestGapsOfLongChunks(t *testing.T) {
	relay := relaytest.New(t)
	for n := 10; n < 40; n += 3 {
		list := groups(n, 1)
		for i := range list[:3] {
			p := object.Properties{PTS: uint64(n*180000 + i*180000), HasPTS: true, Duration: 180000, HasDuration: true}
			list[i].Properties = p.Append(nil)
		}
		relay.Put(name, list...)
	}
	c := config(t, relay)
	for _, test := range []struct {
		from, to int
		missing  int64
	}{{11, 33, 0}, {8, 33, 0}, {5, 33, 3}} { // chunk 10 may be the first one from 8 on, and not from 5 on
		c.From, c.To = at(test.from), at(test.to)
		if s, err := Run(testContext(t), c, io.Discard); s.MissingGroups != test.missing || !gapped(err, test.missing > 0) {
			t.Errorf("from %d to %d: %+v, %v", test.from, test.to, s, err)
		}
	}
}

// TestTracksThatSkip: ids of a source's tracks and of catalogs skip. What is missing shows where another track tells.
func TestTracksThatSkip(t *testing.T) {
	timeline := object.TrackName{Namespace: home, Name: catalog.TrackTimeline}
	relay := relaytest.New(t)
	lacking(relay, homeTS, 10, 10, 12, 13, 16) // 12 and 13 went to the broadcast
	tells(t, relay, home, name.Name, map[int]object.TrackName{10: homeTS, 11: homeTS, 12: name, 13: name, 14: homeTS, 16: homeTS, 18: homeTS, 19: homeTS})
	for n := 10; n < 20; n++ {
		if n != 15 && n != 17 {
			relay.Put(timeline, object.Object{Group: uint64(n), Payload: []byte("{}")})
		}
	}
	for _, g := range []uint64{3, 9} {
		relay.Put(catalog.Of(broadcast), object.Object{Group: g << clock.TagBits, Payload: []byte("{}")})
	}
	for track, missing := range map[string]int64{homeTS.String(): 1, homeManifest.String(): 0, timeline.String(): 0, catalog.Of(broadcast).String(): 0} {
		c := config(t, relay)
		c.Names, c.From, c.To = []string{track}, point(t, "first"), point(t, "now")
		s, err := Run(testContext(t), c, io.Discard)
		if s.MissingGroups != missing || s.Unpublished != 0 || !gapped(err, missing > 0) {
			t.Errorf("%s: %+v, %v", track, s, err)
		}
		if missing > 0 && !strings.Contains(err.Error(), fmt.Sprint(chunk(16))) {
			t.Errorf("%s: %v", track, err)
		}
	}
	relay.Put(timeline, object.Object{Group: 21, Payload: []byte("{}")})
	e := encoded(t, catalog.ManifestEntry{Group: chunk(20), Track: homeTS, Scope: catalog.ScopeSource})
	relay.Put(homeManifest, object.Object{Group: 20, Payload: e}, object.Object{Group: 21, Payload: e})
	c := config(t, relay)
	c.Names, c.From, c.To = []string{timeline.String()}, point(t, "first"), point(t, "now")
	if s, err := Run(testContext(t), c, io.Discard); s.MissingGroups != 1 || !gapped(err, true) || !strings.HasSuffix(err.Error(), " 20") {
		t.Errorf("the manifest tells of the timeline's group: %+v, %v", s, err)
	}
}

// TestTornGroup: a chunk whose rest its receiver did not publish, because it turned out damaged, is no loss.
func TestTornGroup(t *testing.T) {
	for _, withheld := range []bool{true, false} {
		relay := relaytest.New(t)
		relay.Lose = func(_ object.TrackName, o *object.Object) bool { return o.Group == chunk(12) && o.ID == 1 }
		relay.Put(name, groups(10, 6)...)
		went := map[int]object.TrackName{12: name}
		if withheld {
			went[12] = homeTS
		}
		tells(t, relay, home, name.Name, went)
		c := config(t, relay)
		c.From, c.To = at(10), at(14)
		s, err := Run(testContext(t), c, io.Discard)
		if lost := s.MissingObjects == 1; lost == withheld || s.Unpublished == 1 != withheld || !gapped(err, !withheld) {
			t.Errorf("withheld %v: %+v, %v", withheld, s, err)
		}
	}
}

// TestOneOfTwoNames: a track of which nothing is there is part of what was asked for.
func TestOneOfTwoNames(t *testing.T) {
	relay := relaytest.New(t)
	relay.Put(name, groups(10, 5)...)
	empty := object.TrackName{Namespace: broadcast, Name: "ts_t14"}
	relay.Put(empty, groups(30, 1)...)
	c := config(t, relay)
	c.Names, c.From, c.To = []string{name.String(), empty.String()}, point(t, "first"), point(t, "now")
	if s, err := Run(testContext(t), c, io.Discard); err != nil || s.Objects != 18 {
		t.Errorf("both are there: %+v, %v", s, err)
	}
	c.Names[1] = object.TrackName{Namespace: broadcast, Name: "ts_t15"}.String()
	relay.Put(object.TrackName{Namespace: broadcast, Name: "ts_t15"}, object.Object{Group: chunk(30), Status: object.EndOfGroup})
	if s, err := Run(testContext(t), c, io.Discard); s.Objects != 15 || !gapped(err, true) || !strings.Contains(err.Error(), "nothing of "+c.Names[1]) {
		t.Errorf("one is empty: %+v, %v", s, err)
	}
}

// TestRangesThatAreNone: a range that is inverted is a mistake, 64; a group that is not there is 69, and Config.Nearest takes another.
func TestRangesThatAreNone(t *testing.T) {
	relay := relaytest.New(t)
	lacking(relay, name, 10, 20, 15, 16, 17)
	plain := object.TrackName{Namespace: object.Namespace{"other"}, Name: "video"}
	for _, o := range groups(0, 5) {
		o.Group = 100 + o.Group>>clock.TagBits
		relay.Put(plain, o)
	}
	for _, test := range []struct {
		track    object.TrackName
		from, to Point
		code     int
		nearest  uint64 // the first group that comes with Config.Nearest
	}{
		{name, Point{}, at(20), exit.Usage, 0},
		{name, at(20), point(t, "first"), exit.Usage, 0},
		{name, Point{kind: atGroup, group: chunk(20)}, at(19), exit.Usage, 0},
		{name, point(t, "first"), at(8), exit.Unreachable, chunk(10)},
		{name, at(4), at(8), exit.Unreachable, chunk(10)},
		{name, at(15), at(17), exit.Unreachable, chunk(18)},
		{name, at(40), point(t, "now"), exit.Unreachable, chunk(29)},
		{name, at(16), at(18), exit.BadData, chunk(18)},
		{plain, Point{kind: atGroup, group: 90}, Point{kind: atGroup, group: 92}, exit.Unreachable, 100},
		{plain, Point{kind: atGroup, group: 98}, Point{kind: atGroup, group: 102}, exit.BadData, 100},
	} {
		c := config(t, relay)
		c.Names, c.From, c.To = []string{test.track.String()}, test.from, test.to
		began := time.Now()
		_, err := Run(testContext(t), c, io.Discard)
		if code, ok := exit.Of(err); !ok || code != test.code {
			t.Errorf("%+v to %+v: %v", test.from, test.to, err)
		}
		if time.Since(began) > time.Minute {
			t.Errorf("%+v to %+v: only after %v", test.from, test.to, time.Since(began))
		}
		if test.nearest == 0 {
			continue
		}
		var out bytes.Buffer
		c.Nearest = true
		if s, err := Run(testContext(t), c, &out); err != nil || s.Objects == 0 || s.MissingGroups > 0 {
			t.Errorf("%+v to %+v, nearest: %+v, %v", test.from, test.to, s, err)
		}
		rec := object.NewReader(&out)
		for {
			r, err := rec.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !r.IsTrack {
				if r.Object.Group != test.nearest {
					t.Errorf("%+v to %+v, nearest: begins with group %d, want %d", test.from, test.to, r.Object.Group, test.nearest)
				}
				break
			}
		}
	}
}
