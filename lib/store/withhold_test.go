package store

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

// TestWithhold: what is withheld is found by nobody and not stored, what there is of it stays where it is, and is there again afterwards.
func TestWithhold(t *testing.T) {
	dir := t.TempDir()
	name := object.TrackName{Namespace: object.Namespace{"ec", "atsc", "1", "2"}, Name: "ts"}
	put := func(tr *Track, group uint64, payload string, end bool) error {
		o := object.Object{Group: group, Payload: []byte(payload)}
		_, err := tr.Put(&o, object.Sum(o.Payload))
		if err == nil && end {
			_, err = tr.Put(&object.Object{Group: group, ID: 1, Status: object.EndOfGroup}, object.Sum(nil))
		}
		return err
	}
	s := open(t, dir, Config{})
	tr := s.Track(name)
	for g := range uint64(10) {
		if err := put(tr, g, string(rune('a'+g)), g < 9); err != nil {
			t.Fatal(err)
		}
	}
	reading, err := tr.Open(4, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	of := func(n object.TrackName) []Range {
		if n.Equal(name) {
			return []Range{{3, 5}, {9, 9}}
		}
		return nil
	}
	var found []uint64
	with := Withheld{Of: of, Taken: func(h object.Hash) bool { return h == object.Sum([]byte("g")) || h == object.Sum([]byte("new")) },
		Found: func(_ object.TrackName, g uint64, _ object.Hash) { found = append(found, g) }}
	s.Withhold(with)
	gone := func(tr *Track, want ...uint64) {
		t.Helper()
		for g := range uint64(12) {
			is := false
			for _, w := range want {
				is = is || w == g
			}
			if tr.Withheld(g) != is {
				t.Errorf("group %d withheld: %v", g, !is)
			}
			r, err := tr.Open(g, 0)
			if err == nil {
				_, err = r.Next()
				r.Close()
			}
			if there := g < 10 && !is; (err == nil) != there {
				t.Errorf("group %d: %v", g, err)
			}
			if _, ok := tr.Group(g); ok && is {
				t.Errorf("group %d is told of", g)
			}
		}
	}
	if _, err := reading.Next(); !errors.Is(err, ErrWithheld) {
		t.Errorf("a reader that was open: %v", err)
	}
	if r, err := tr.Open(6, 0); err != nil {
		t.Error(err)
	} else if _, err := r.Next(); !errors.Is(err, ErrWithheld) {
		t.Errorf("a payload that is withheld: %v", err)
	}
	gone(tr, 3, 4, 5, 6, 9)
	if _, _, ok := tr.Largest(); !ok || tr.Count(0, 20) != 5 {
		t.Errorf("%d groups", tr.Count(0, 20))
	}
	for _, c := range []struct {
		group   uint64
		payload string
	}{{4, "x"}, {9, "x"}, {11, "new"}} {
		if err := put(tr, c.group, c.payload, false); !errors.Is(err, ErrWithheld) {
			t.Errorf("stored in group %d: %v", c.group, err)
		}
	}
	if s.Paused() != nil {
		t.Errorf("storing pauses: %+v", s.Paused())
	}
	if err := put(tr, 7, "new", false); !errors.Is(err, ErrWithheld) { // by somebody else than who brought the group
		t.Errorf("another payload that is withheld: %v", err)
	}
	if err := put(tr, 6, "g", false); !errors.Is(err, ErrWithheld) {
		t.Errorf("again: %v", err)
	}
	gone(tr, 3, 4, 5, 6, 9)
	if len(found) != 1 || found[0] != 6 {
		t.Errorf("found %v", found)
	}
	if n, bytes := s.Held(func(object.TrackName, uint64) bool { return true }); n != 5 || bytes == 0 {
		t.Errorf("%d groups held, %d bytes", n, bytes)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// after another start, too; and lifted
	s = open(t, dir, Config{})
	tr = s.Track(name)
	s.Withhold(Withheld{Of: of})
	gone(tr, 3, 4, 5, 9)
	s.Withhold(Withheld{})
	gone(tr)
	if err := put(tr, 9, "j", true); err != nil { // the unfinished one goes on
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if i, _ := tr.Group(9); !i.Complete {
		t.Error("group 9 is not whole")
	}

	// purged, while the track is forgotten by those who use it
	s.Withhold(Withheld{Of: func(object.TrackName) []Range { return []Range{{0, object.MaxVarint}} }})
	if s.Forget(name); s.Lookup(name) != nil || len(s.Tracks()) != 0 {
		t.Error("the track is told of")
	}
	n, _, err := s.Purge(func(_ object.TrackName, g uint64) bool { return g < 8 })
	if n != 8 || err != nil {
		t.Errorf("%d groups purged, %v", n, err)
	}
	s.Withhold(Withheld{})
	if tr = s.Track(name); tr.Count(0, 20) != 2 {
		t.Errorf("%d groups left", tr.Count(0, 20))
	}
	files, _ := filepath.Glob(filepath.Join(dir, "groups", "*", "*", "*", "*.eco"))
	if len(files) != 2 {
		t.Errorf("files: %v", files)
	}
	if err := put(tr, 3, "d", true); err != nil {
		t.Errorf("what was purged and lifted does not come again: %v", err)
	}
}

// TestWithheldAges: retention removes what is withheld, too.
func TestWithheldAges(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	s := open(t, dir, Config{MaxAge: time.Hour, now: func() time.Time { return now }})
	tr := s.Track(object.TrackName{Namespace: object.Namespace{"a"}, Name: "t"})
	for g := range uint64(3) {
		for _, o := range []object.Object{{Group: g, Payload: []byte("x")}, {Group: g, ID: 1, Status: object.EndOfGroup}} {
			if _, err := tr.Put(&o, object.Sum(o.Payload)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Withhold(Withheld{Of: func(object.TrackName) []Range { return []Range{{0, 9}} }})
	now = now.Add(2 * time.Hour)
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.Held(func(object.TrackName, uint64) bool { return true }); n != 0 {
		t.Errorf("%d groups held", n)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "groups", "*", "*", "*", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if b := s.Stats().Bytes; b != 0 {
		t.Errorf("%d bytes counted", b)
	}
}
