package relay

import (
	"io"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// TestFirstObject: a relay passes on that a stream begins with the first object of its subgroup (draft 18), live and from the store,
// and does not say so of one whose beginning it has not seen.
func TestFirstObject(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{CacheBytes: 1}, store.Config{})
	p := s.publisher(t, ts)
	// Group 0 has subgroups 0 and 7, which begin with objects 0 and 1. Group 1 begins with object 3, in a subgroup begun before.
	put := func(group, subgroup, id uint64, first bool, end bool) {
		w, err := p.pub.OpenSubgroup(within(t, time.Minute), moqt.SubgroupHeader{Group: group, Subgroup: subgroup, FirstObject: first})
		if err == nil {
			if err = w.WriteObject(id, nil, wire.StatusNormal, []byte{byte(group), byte(id)}); err == nil && end {
				err = w.WriteObject(id+1, nil, wire.StatusEndOfGroup, nil)
			}
			if err == nil {
				err = w.Close()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	live := s.dial(t, nil)
	wait(t, "the track", func() bool { return s.lookup(ts) != nil })
	sub, err := live.Subscribe(within(t, time.Minute), ts, from(0))
	if err != nil {
		t.Fatal(err)
	}
	put(0, 0, 0, false, false) // object 0 needs no saying
	s.stored(t, 1)
	put(0, 7, 1, true, true)
	s.stored(t, 3)
	check := func(where string, sub *moqt.Subscription, want map[[2]uint64]bool) {
		t.Helper()
		for range len(want) {
			r, err := sub.AcceptSubgroup(within(t, time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = r.Next()
			}
			if err != io.EOF {
				t.Fatal(err)
			}
			h := r.Header()
			if first, ok := want[[2]uint64{h.Group, h.Subgroup}]; !ok || h.FirstObject != first {
				t.Errorf("%s: group %d subgroup %d: first object %v", where, h.Group, h.Subgroup, h.FirstObject)
			}
		}
	}
	whole := map[[2]uint64]bool{{0, 0}: true, {0, 7}: true}
	check("live", sub, whole)
	again, err := s.dial(t, nil).Subscribe(within(t, time.Minute), ts, from(0))
	if err != nil {
		t.Fatal(err)
	}
	check("again", again, whole)
	put(1, 5, 3, false, true)
	check("begun before", sub, map[[2]uint64]bool{{1, 5}: false})
}
