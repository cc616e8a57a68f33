package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// shelve makes a store in dir that has groups of ts.
func shelve(t *testing.T, dir string, groups ...uint64) {
	t.Helper()
	st, err := store.Open(dir, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		for id := range uint64(parts + 1) {
			o := part(g, id)
			if _, err := st.Track(ts).Put(o, object.Sum(o.Payload)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// shelved is the file of a group.
func shelved(t *testing.T, dir string, id uint64) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "groups", ts.Namespace.String(), "*", "*", strconv.FormatUint(id, 10)+".eco"))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return list[0]
}

// harm does something to a file, another thing for each n.
func harm(t *testing.T, path string, n int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	switch n % 5 {
	case 0:
		err = os.Remove(path)
	case 1:
		b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
		err = os.WriteFile(path, b, 0o644)
	case 2:
		err = os.WriteFile(path, b[:rand.IntN(len(b))], 0o644)
	case 3:
		err = errors.Join(os.Remove(path), os.Mkdir(path, 0o755))
	case 4:
		err = errors.Join(os.Remove(path), os.Symlink(path, path)) // which nobody can open
	}
	if err != nil {
		t.Fatal(err)
	}
}

// all are the groups 1…n.
func all(n int) (list []uint64) {
	for id := range uint64(n) {
		list = append(list, id+1)
	}
	return list
}

// TestScrubHealsFromUpstream: of 300 groups 100 are harmed while a relay runs; it finds each of them and gets them from another relay. Nobody asked
// for them, and what is live is not held up.
func TestScrubHealsFromUpstream(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		const n = 300
		there, here := t.TempDir(), t.TempDir()
		shelve(t, there, all(n)...)
		shelve(t, here, all(n)...)
		good := start(t, there, pipe, Config{}, store.Config{})
		note := filepath.Join(here, ScrubFile)
		r := start(t, here, pipe, Config{Upstreams: []Upstream{good.pipeUpstream(t)}, ScrubRate: 4 << 20, ScrubFile: note}, store.Config{})
		if r.Stats().Backfilled != 0 {
			t.Fatal("fetched already")
		}
		order := rand.Perm(n)
		last := slices.Index(order, n-1) // the newest one is removed: nothing behind it shows that
		order[0], order[last] = order[last], order[0]
		for i, id := range order[:100] {
			harm(t, shelved(t, here, uint64(id)+1), i)
		}
		p := r.publisher(t, object.TrackName{Namespace: ts.Namespace, Name: "live"})
		time.Sleep(24*time.Hour + time.Minute) // the first pass may have been before the harm was done
		began := time.Now()
		p.group(1)
		if late := time.Since(began); late > time.Second {
			t.Errorf("a live group waited for %v", late)
		}
		wait(t, "a pass", func() bool { s := r.scrubbed(); return s.Over != nil })
		s := r.scrubbed()
		if s.Bad != 100 || s.Healed != 100 || len(s.Waiting) != 0 {
			t.Errorf("%d found, %d healed, %d wait", s.Bad, s.Healed, len(s.Waiting))
		}
		for _, id := range all(n) {
			if i, ok := r.store.Track(ts).Group(id); !ok || !i.Complete {
				t.Errorf("group %d: %+v", id, i)
			}
		}
		if got := r.fetchAll(t, ts, moqt.Location{}); len(got) != n || slices.ContainsFunc(all(n), func(id uint64) bool { return !slices.Equal(got[id], allIDs[:parts]) }) {
			t.Errorf("%d groups", len(got))
		}
	})
}

// TestScrubHealsFromPublisher: a publisher that lists a harmed group is asked for it, behind what is live. While nobody has it, it waits.
func TestScrubHealsFromPublisher(t *testing.T) {
	dir := t.TempDir()
	shelve(t, dir, 8, 9, 10)
	harm(t, shelved(t, dir, 9), 1)
	s := start(t, dir, "127.0.0.1:0", Config{ScrubRate: 4 << 20}, store.Config{})
	wait(t, "the harmed group to be found", func() bool { p := s.scrubbed(); return p.Over != nil && len(p.Waiting) == 1 })
	if p := s.scrubbed(); p.Waiting[0].Place != (archive.Place{Track: ts.String(), Group: 9}) || p.Bad != 1 || p.Healed != 0 {
		t.Errorf("%+v", p)
	}
	k := &keeping{groups: []uint64{9}}
	c := s.dial(t, k)
	pub, err := c.Publish(within(t, time.Minute), ts, moqt.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	(&publisher{t: t, c: c, pub: pub}).group(20)
	s.stored(t, parts+1)
	tr := s.store.Track(ts)
	wait(t, "the group", func() bool { i, ok := tr.Group(9); return ok && i.Complete })
	soon := 0
	for range 4 { // the scrub asks for it itself; now and then those who look for holes may be faster
		if err := s.store.Flush(); err != nil {
			t.Fatal(err)
		}
		harm(t, shelved(t, dir, 9), 1)
		tr.Verify(9)
		if _, err := tr.Mend(9); err != nil {
			t.Fatal(err)
		}
		if s.heal(within(t, time.Minute), ts, 9, func(context.Context, int) error { return nil }) {
			soon++
		}
		wait(t, "the group", func() bool { i, ok := tr.Group(9); return ok && i.Complete })
	}
	if soon < 2 {
		t.Errorf("healed by the scrub %d times of 4", soon)
	}
	if k.asked.Load() > 0 || k.mended.Load() == 0 {
		t.Errorf("%d requests with the lowest priority, %d others", k.mended.Load(), k.asked.Load())
	}
	if ids, ended, err := tr.Objects(9); err != nil || !ended || len(ids) != parts+1 {
		t.Errorf("%v, %v, %v", ids, ended, err)
	}
}

// TestScrubHealsNewestFromPublisher: the newest group of a track, such as a catalog, is asked for at once, too: it was whole, and does not come by itself.
func TestScrubHealsNewestFromPublisher(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		dir := t.TempDir()
		s := start(t, dir, pipe, Config{}, store.Config{})
		k := &keeping{groups: []uint64{10}}
		p := s.publishes(t, k)
		p.group(10)
		s.stored(t, parts+1)
		if err := s.store.Flush(); err != nil {
			t.Fatal(err)
		}
		tr := s.store.Track(ts)
		harm(t, shelved(t, dir, 10), 1)
		tr.Verify(10)
		if _, err := tr.Mend(10); err != nil {
			t.Fatal(err)
		}
		if !s.heal(within(t, time.Minute), ts, 10, func(context.Context, int) error { return nil }) {
			t.Error("not healed")
		}
	})
}

// TestNoScrub: without a rate nothing is read, and the status says so.
func TestNoScrub(t *testing.T) {
	if r := New(Config{Store: nil}); r.scrub != nil || r.scrubbed() != nil {
		t.Error("a scrub")
	}
}
