package store

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

// putFrom stores a group.
func putFrom(t *testing.T, from Origin, tr *Track, g uint64) error {
	t.Helper()
	for id := range uint64(parts + 1) {
		if _, err := tr.PutFrom(from, part(g, id), object.Sum(part(g, id).Payload)); err != nil {
			return err
		}
	}
	return nil
}

// On a full disk nothing goes for a copy, and for the past only what is before it; what is kept for ever goes for nobody.
func TestWhatMakesRoom(t *testing.T) {
	kept := object.TrackName{Namespace: object.Namespace{"keep", "this"}, Name: "v"}
	c := &clock{t: time.Now()}
	full, dir := &diskFull{}, t.TempDir()
	s := open(t, dir, Config{now: c.now, MaxAge: time.Hour, Rules: []Rule{{Prefix: object.Namespace{"keep"}}}})
	for g := range uint64(5) {
		putGroup(t, s.Track(kept), 10+g)
		c.add(time.Second)
	}
	for g := range uint64(5) {
		putGroup(t, s.Track(ts), 20+g)
		c.add(time.Second)
	}
	s.Close()
	s = open(t, dir, Config{now: c.now, MaxAge: time.Hour, Rules: s.c.Rules, fail: full.write})
	refill := func(n int) (int, error) { // what was removed makes room
		if s.stats.removed.Load() > 0 {
			return n, nil
		}
		return full.write(n)
	}
	s.c.fail = refill
	for name, put := range map[string]func() error{
		"a copy":              func() error { return putFrom(t, Copy, s.Track(ts), 25) },
		"the past before all": func() error { return putFrom(t, Past, s.Track(ts), 19) },
	} {
		if err := put(); !errors.Is(err, ErrFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.Stats().Removed; n != 0 {
		t.Fatalf("%d groups were removed", n)
	}
	if err := putFrom(t, Live, s.Track(ts), 30); err != nil {
		t.Error(err)
	}
	if a, b := groupIDs(s.Track(kept)), groupIDs(s.Track(ts)); len(a) != 5 || !slices.Equal(b, []uint64{24, 30}) {
		t.Errorf("left: %v, %v", a, b)
	}
}

// Of copies that came the newest first, the oldest go first, also after a restart, and what went is not wanted again.
func TestCopiesAreAsOldAsTheyAre(t *testing.T) {
	c := &clock{t: time.Now()}
	dir := t.TempDir()
	s := open(t, dir, Config{now: c.now})
	put := func(from Origin, g uint64) {
		t.Helper()
		if err := putFrom(t, from, s.Track(ts), g); err != nil {
			t.Fatal(err)
		}
		c.add(time.Second)
	}
	put(Live, 10)
	for _, g := range []uint64{8, 9, 6, 7, 4, 5} { // batches, the newest first
		put(Copy, g)
	}
	put(Live, 11)
	for _, n := range []int{6, 3} {
		s.Close()
		s = open(t, dir, Config{now: c.now})
		size := s.Stats().Bytes / int64(len(groupIDs(s.Track(ts))))
		s.keep.Load().MaxBytes = size*int64(n) + size/2
		if err := s.Maintain(); err != nil {
			t.Fatal(err)
		}
		want := []uint64{4, 5, 6, 7, 8, 9, 10, 11}[8-n:]
		if got := groupIDs(s.Track(ts)); !slices.Equal(got, want) {
			t.Fatalf("left: %v, want %v", got, want)
		}
		if !s.Gone(ts, want[0]-1) || s.Gone(ts, want[0]) || s.Gone(ts, 12) {
			t.Error("what retention removed is not known")
		}
	}
}

// There is room for copies while neither the disk nor a bound is near, and nothing went wrong a moment ago.
func TestRoom(t *testing.T) {
	c := &clock{t: time.Now()}
	free := int64(1 << 40)
	ruled := object.Namespace{"x"}
	s := open(t, t.TempDir(), Config{now: c.now, Rules: []Rule{{Prefix: ruled, MaxBytes: 1 << 20}}, disk: func(string) (int64, int64, error) { return free, 1 << 40, nil }})
	want := func(ns object.Namespace, ok bool) {
		t.Helper()
		if err := s.Room(ns); (err == nil) != ok || !ok && !errors.Is(err, ErrFull) {
			t.Errorf("%v: %v", ns, err)
		}
	}
	want(ts.Namespace, true)
	free = mostReserve - 1
	want(ts.Namespace, false)
	free = mostReserve
	want(ts.Namespace, true)
	want(ruled, true)
	s.keep.Load().ruled[0].Add(1<<20 - 1<<16)
	want(ruled, false)
	want(ts.Namespace, true)
	s.keep.Load().MaxBytes = 16000
	s.bytes.Add(15000)
	want(ts.Namespace, false)
	s.keep.Load().MaxBytes = 0
	s.c.fail = (&diskFull{}).write
	if err := putFrom(t, Live, s.Track(ts), 1); err == nil {
		t.Fatal("stored on a full disk")
	}
	want(ts.Namespace, false)
	c.add(troubleTime)
	want(ts.Namespace, true)
	if err := os.Rename(s.dir, s.dir+"-away"); err != nil {
		t.Fatal(err)
	}
	s.c.disk = diskOf
	if err := s.Room(ts.Namespace); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its folder: %v", err)
	}
}

// A group whose file somebody removed is not there, and may come again; while the folder is away nothing is forgotten.
func TestRemovedByOthers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	tr := s.Track(ts)
	for g := range uint64(3) {
		putGroup(t, tr, g)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.dir, s.dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Open(1, 0); !errors.Is(err, os.ErrNotExist) || len(groupIDs(tr)) != 3 {
		t.Errorf("%v, %v", err, groupIDs(tr))
	}
	if err := os.Rename(s.dir+"-away", s.dir); err != nil {
		t.Fatal(err)
	}
	wantGroup(t, tr, 1, allIDs, true)
	before := s.Stats().Bytes
	if err := os.Remove(tr.groups[1].current()); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Open(1, 0); !errors.Is(err, ErrNotFound) || !slices.Equal(groupIDs(tr), []uint64{0, 2}) || s.Stats().Bytes >= before {
		t.Errorf("%v, %v", err, groupIDs(tr))
	}
	if s.Gone(ts, 1) {
		t.Error("is taken for removed by retention")
	}
	putGroup(t, tr, 1)
	wantGroup(t, tr, 1, allIDs, true)
}

// A handle that was forgotten while somebody held it is the one for its name, and found again when something is stored.
func TestForget(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	tr := s.Track(ts)
	s.Forget(ts)
	if len(s.all()) != 0 {
		t.Error("not forgotten")
	}
	if s.Track(ts) != tr {
		t.Fatal("two handles for one track")
	}
	s.Forget(ts)
	putGroup(t, tr, 1)
	if s.Lookup(ts) != tr || len(s.Tracks()) != 1 {
		t.Error("what was stored is not found")
	}
	s.Forget(ts)
	if s.Lookup(ts) != tr {
		t.Error("a track with something in it was forgotten")
	}
	runtime.KeepAlive(tr)
}

// TestPauseIsSaid: that nothing can be stored is said once, and so is that it can again, once no write has failed for a while; a part that cannot be
// written is no pause.
func TestPauseIsSaid(t *testing.T) {
	c, full, log := &clock{t: time.Now()}, &diskFull{left: 1 << 20}, new(bytes.Buffer)
	s := open(t, t.TempDir(), Config{now: c.now, fail: full.write, Logger: slog.New(slog.NewTextHandler(log, nil))})
	tr := s.Track(ts)
	say := func(what string, want int) {
		t.Helper()
		if n := strings.Count(log.String(), what); n != want {
			t.Errorf("%q was said %d times, want %d: %s", what, n, want, log)
		}
	}
	putGroup(t, tr, 1)
	if s.Paused() != nil {
		t.Error("paused from the start")
	}
	full.left = 0
	for g := range uint64(5) {
		if err := putFrom(t, Live, tr, 10+g); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		c.add(time.Second)
	}
	say("storing paused", 1)
	if p := s.Paused(); p == nil || p.Objects != 5 || !strings.Contains(p.Why, "no space left") {
		t.Errorf("%+v", p)
	}
	full.left = 1 << 20
	putGroup(t, tr, 2)
	say("storing goes on", 0)
	c.add(calm)
	putGroup(t, tr, 3)
	say("storing goes on", 1)
	if s.Paused() != nil {
		t.Error("still paused")
	}
	dir := filepath.Join(s.dir, folder(object.Namespace{"closed"}.String()))
	if err := os.Mkdir(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	defer asStranger(t, filepath.Dir(s.dir))()
	closed := s.Track(object.TrackName{Namespace: object.Namespace{"closed"}, Name: "v"})
	for g := range uint64(3) {
		if err := putFrom(t, Live, closed, g); !errors.Is(err, os.ErrPermission) {
			t.Fatal(err)
		}
	}
	if list, n := s.LeftOut(); s.Paused() != nil || n != 1 || filepath.Dir(list[0].Path) != dir {
		t.Errorf("paused %v, left out %v", s.Paused(), list)
	}
	say("part of the store left out", 1)
	putGroup(t, tr, 4)
}
