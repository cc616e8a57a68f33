package store

import (
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

// TestKeepAnew: other bounds hold at once, for tracks that are there and those that come, and what lies under a rule is counted for it.
func TestKeepAnew(t *testing.T) {
	now := time.Unix(1_780_000_000, 0)
	s := open(t, t.TempDir(), Config{now: func() time.Time { return now }})
	put := func(ns string, groups int) *Track {
		tr := s.Track(object.TrackName{Namespace: object.Namespace{ns}, Name: "t"})
		for g := range uint64(groups) {
			for _, o := range []object.Object{{Group: g, Payload: make([]byte, 1000)}, {Group: g, ID: 1, Status: object.EndOfGroup}} {
				if r, err := tr.Put(&o, object.Sum(o.Payload)); r != Stored || err != nil {
					t.Fatal(r, err)
				}
			}
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		return tr
	}
	old := put("old", 10)
	sum, _ := old.Summary()
	s.Keep(Config{Rules: []Rule{{Prefix: object.Namespace{"other"}}, {Prefix: object.Namespace{"old"}, MaxBytes: sum.Bytes / 2}}})
	if n := s.keep.Load().ruled[1].Load(); n != sum.Bytes {
		t.Errorf("%d bytes under the rule, %d are there", n, sum.Bytes)
	}
	now = now.Add(48 * time.Hour)
	fresh := put("new", 3)
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if after, _ := old.Summary(); after.Groups != 5 {
		t.Errorf("%d groups left under a rule for half of ten", after.Groups)
	}
	s.Keep(Config{MaxAge: time.Hour})
	now = now.Add(2 * time.Hour)
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	for _, tr := range []*Track{old, fresh} {
		if after, ok := tr.Summary(); ok {
			t.Errorf("%v: %d groups that are too old", tr.Name(), after.Groups)
		}
	}
	if k := s.Kept(); k.MaxAge != time.Hour || k.Rules != nil {
		t.Errorf("kept: %+v", k)
	}
}
