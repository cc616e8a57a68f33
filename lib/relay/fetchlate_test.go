package relay

import (
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// TestFetchTimedOut: a range that FILL_TIMEOUT left no time for is told from one that nobody knows, where the draft has both.
func TestFetchTimedOut(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	p := s.publisher(t, ts)
	for _, group := range []uint64{1, 3} {
		w, err := p.pub.OpenSubgroup(within(t, time.Minute), moqt.SubgroupHeader{Group: group})
		if err == nil {
			if err = w.WriteObject(0, nil, wire.StatusNormal, []byte("x")); err == nil {
				err = w.Close()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		s.stored(t, int64(group+1)/2)
	}
	for _, v := range wire.Versions() {
		for _, none := range []*time.Duration{nil, new(time.Duration)} {
			c := s.dialWith(t, &moqt.Config{Versions: []moqt.Version{v}})
			r, err := c.Fetch(within(t, time.Minute), ts, moqt.Location{Group: 1}, moqt.Location{Group: 3, Object: 1}, moqt.FetchOptions{FillTimeout: none})
			if err != nil {
				t.Fatal(err)
			}
			unknown := 0
			for {
				o, err := r.Next()
				if err != nil {
					break
				}
				if o.Kind == moqt.FetchedUnknown {
					unknown++
					if late := none != nil && v.Has(wire.Fills); o.TimedOut != late {
						t.Errorf("%v, patience %v: %+v", v, none, o)
					}
				}
			}
			if unknown == 0 {
				t.Errorf("%v: nothing is unknown", v)
			}
		}
	}
}
