package catalog_test

import (
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
)

func TestNamingOf(t *testing.T) {
	utc := time.Date(2026, 3, 14, 15, 20, 2, 0, time.UTC)
	x := clock.TicksAt(utc)
	for name, want := range map[string]struct {
		ok, chunks bool
		length     time.Duration
		group      uint64
	}{
		"ec-atsc-2065-4--ts_t13":               {true, true, 2 * time.Second, clock.GroupID(clock.Grid(180_000).Of(x), 0xbeef)},
		"ec-atsc-2065-4--ts_t07":               {true, true, 2 * time.Second, clock.GroupID(clock.Grid(180_000).Of(x+6*3600*90_000), 0)},
		"ec-dvb-1-2-3--ts_d4000_p200_ref1_t13": {true, true, 4 * time.Second, clock.GroupID(clock.Grid(360_000).Of(x), 1)},
		"ec-dvb-1-2-3--ts_ref1_t13":            {true, true, 2 * time.Second, clock.GroupID(clock.Grid(180_000).Of(x), 1)},
		"ec-atsc-2065-4--catalog":              {true, false, 2 * time.Second, clock.GroupID(utc.Unix()/2, 7)},
		"ec-atsc-2065-4--catalog_d4000_p200":   {true, false, 4 * time.Second, clock.GroupID(utc.Unix()/4, 7)},
		"ec-source-home-4--ts":                 {},
		"ec-atsc-2065-4--other":                {},
		"ec-atsc-2065-4--catalogue":            {},
		"ec-atsc-2065-4--ts":                   {},
		"other-atsc-2065-4--ts_t13":            {},
		"ec--ts_t13":                           {},
	} {
		tn, err := object.ParseTrackName(name)
		if err != nil {
			t.Fatal(name, err)
		}
		n, ok := catalog.NamingOf(tn)
		if ok != want.ok || ok && (n.Chunks() != want.chunks || n.Length() != want.length) {
			t.Errorf("%s: %v, %v, want %+v", name, n, ok, want)
			continue
		}
		if !ok {
			continue
		}
		// A bucket begins at most its length before what is in it.
		if d := utc.Sub(n.Time(want.group)); d < 0 || d > n.Length() {
			t.Errorf("%s: group %d begins %v before %v", name, want.group, d, utc)
		}
		if far := n.Time(object.MaxVarint); far.Year() < 2190 || far.Year() > 2201 {
			t.Errorf("%s: the greatest id is of %v", name, far)
		}
	}
}
