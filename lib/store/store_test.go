package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

var (
	ts      = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}
	catalog = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "catalog"}
)

const parts = 5 // objects of a test group before its end

// part is a pure function of its arguments, so that every process of a test knows what must be there.
func part(group, id uint64) *object.Object {
	if id == parts {
		return &object.Object{Group: group, ID: id, Status: object.EndOfGroup}
	}
	payload := bytes.Repeat([]byte(fmt.Sprintf("%d/%d ", group, id)), 40+int(id))
	return &object.Object{Group: group, ID: id, Priority: 128, Payload: payload,
		Properties: object.Properties{PTS: group, HasPTS: true, Hash: object.Sum(payload), HasHash: true}.Append(nil)}
}

func open(t testing.TB, dir string, c Config) *Store {
	t.Helper()
	s, err := Open(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t testing.TB, tr *Track, o *object.Object, want Result) {
	t.Helper()
	if got, err := tr.Put(o, object.Sum(o.Payload)); got != want || err != nil {
		t.Fatalf("Put %d/%d: %v, %v; want %v", o.Group, o.ID, got, err, want)
	}
}

func putGroup(t testing.TB, tr *Track, group uint64) {
	t.Helper()
	for id := range uint64(parts + 1) {
		put(t, tr, part(group, id), Stored)
	}
}

func read(tr *Track, group, from uint64) (ids []uint64, complete bool, err error) {
	r, err := tr.Open(group, from)
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	for {
		o, err := r.Next()
		if err == io.EOF {
			return ids, r.Info().Complete, nil
		}
		if err != nil {
			return ids, r.Info().Complete, err
		}
		want := part(group, o.ID)
		if o.Group != group || o.Status != want.Status || !bytes.Equal(o.Payload, want.Payload) || !bytes.Equal(o.Properties, want.Properties) {
			return ids, false, fmt.Errorf("object %d/%d is not what was stored", group, o.ID)
		}
		ids = append(ids, o.ID)
	}
}

var allIDs = []uint64{0, 1, 2, 3, 4, 5}

func wantGroup(t testing.TB, tr *Track, group uint64, want []uint64, wantComplete bool) {
	t.Helper()
	ids, complete, err := read(tr, group, 0)
	if err != nil || !slices.Equal(ids, want) || complete != wantComplete {
		t.Fatalf("group %d: objects %v, complete %v, %v; want %v, %v", group, ids, complete, err, want, wantComplete)
	}
}

func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	filepath.WalkDir(filepath.Join(dir, groupsDir), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(filepath.Join(dir, groupsDir), path)
			names = append(names, rel)
		}
		return err
	})
	return names
}

func TestGroupsLiveInFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	tr := s.Track(ts)
	putGroup(t, tr, 1_234_567)
	put(t, tr, part(1_234_568, 0), Stored)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	want := []string{"ec-atsc-2065-3/ts_t07/1234/1234567.eco", "ec-atsc-2065-3/ts_t07/1234/1234568.eco.part"}
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("files are %q", got)
	}
	wantGroup(t, tr, 1_234_567, allIDs, true)
	wantGroup(t, tr, 1_234_568, []uint64{0}, false)
	if ids, _, err := read(tr, 1_234_567, 3); err != nil || !slices.Equal(ids, []uint64{3, 4, 5}) {
		t.Errorf("from 3: %v, %v", ids, err)
	}
	if g, id, ok := tr.Largest(); g != 1_234_568 || id != 0 || !ok {
		t.Errorf("largest is %d/%d, %v", g, id, ok)
	}
	if _, _, err := read(tr, 1, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing group: %v", err)
	}
	// The file is a stream that any tool of ours reads.
	f, _ := os.Open(filepath.Join(dir, groupsDir, want[0]))
	defer f.Close()
	r := object.NewReader(f)
	if rec, err := r.Next(); err != nil || !rec.IsTrack || !rec.Track.Name.Equal(ts) {
		t.Errorf("%+v, %v", rec, err)
	}
}

func TestArrivalInAnyOrder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	tr := s.Track(ts)
	for group := range uint64(50) {
		order := rand.Perm(parts + 1)
		for _, id := range order {
			put(t, tr, part(group, uint64(id)), Stored)
		}
		wantGroup(t, tr, group, allIDs, true) // whole, still under its partial name
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for group := range uint64(50) {
		wantGroup(t, tr, group, allIDs, true)
	}
	for _, f := range files(t, dir) {
		if !strings.HasSuffix(f, ".eco") {
			t.Errorf("left behind: %s", f)
		}
	}
}

func TestSecondSource(t *testing.T) {
	for _, when := range []string{"open", "finished", "reopened"} {
		t.Run(when, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Config{})
			tr := s.Track(ts)
			putGroup(t, tr, 7)
			if when != "open" {
				tr.Finish(7)
			}
			if when == "reopened" {
				s.Close()
				s = open(t, dir, Config{})
				tr = s.Track(ts)
			}
			for id := range uint64(parts + 1) {
				put(t, tr, part(7, id), Duplicate)
			}
			other := part(7, 2)
			other.Payload[0] ^= 1
			put(t, tr, other, Conflict)
			put(t, tr, &object.Object{Group: 7, ID: parts, Payload: []byte("x")}, Conflict)
			put(t, tr, &object.Object{Group: 7, ID: parts + 1, Payload: []byte("beyond the end")}, Conflict)
			put(t, tr, &object.Object{Group: 7, ID: parts + 1, Status: object.EndOfGroup}, Conflict)
			put(t, tr, &object.Object{Group: 7, ID: 2, Status: object.EndOfGroup}, Conflict)
			wantGroup(t, tr, 7, allIDs, true)
			if st := s.Stats(); st.Duplicate != parts+1 || st.Conflict != 5 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestEndBeforeItsObjects(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	tr := s.Track(ts)
	put(t, tr, part(1, 4), Stored)
	put(t, tr, &object.Object{Group: 1, ID: 3, Status: object.EndOfGroup}, Conflict)
	put(t, tr, part(1, parts), Stored)
	if i, _ := tr.Group(1); i.Complete {
		t.Error("complete without its objects")
	}
	wantGroup(t, tr, 1, []uint64{4, 5}, false)
	for id := range uint64(4) {
		put(t, tr, part(1, id), Stored)
	}
	wantGroup(t, tr, 1, allIDs, true)
}

func TestSecondSourceContinuesAfterRestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	put(t, s.Track(ts), part(9, 0), Stored)
	put(t, s.Track(ts), part(9, 1), Stored)
	s.Close()
	s = open(t, dir, Config{})
	tr := s.Track(ts)
	wantGroup(t, tr, 9, []uint64{0, 1}, false)
	put(t, tr, part(9, 1), Duplicate)
	for id := uint64(2); id <= parts; id++ {
		put(t, tr, part(9, id), Stored)
	}
	tr.Finish(9)
	wantGroup(t, tr, 9, allIDs, true)
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	_, err := Open(dir, Config{})
	var coded interface{ ExitCode() int }
	if !errors.Is(err, ErrLocked) || !errors.As(err, &coded) || coded.ExitCode() != 75 {
		t.Errorf("second Open: %v", err)
	}
	s.Close()
	open(t, dir, Config{})
}

func TestNotAStore(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, lockFile), []byte("ec store 2\n"), 0o644)
	if _, err := Open(dir, Config{}); !errors.Is(err, ErrFormat) {
		t.Errorf("another version: %v", err)
	}
	dir = t.TempDir()
	os.MkdirAll(filepath.Join(dir, groupsDir, "photos"), 0o755)
	for range 2 {
		if _, err := Open(dir, Config{}); !errors.Is(err, ErrFormat) {
			t.Errorf("foreign folder: %v", err)
		}
	}
}

func TestNamesOfAnyKind(t *testing.T) {
	dir := t.TempDir()
	names := []object.TrackName{
		{Namespace: object.Namespace{"a"}, Name: ""},
		{Namespace: object.Namespace{"..", "/"}, Name: ".."},
		{Namespace: object.Namespace{strings.Repeat("\x00", 2000)}, Name: strings.Repeat("/", 2000)},
		{Namespace: object.Namespace{strings.Repeat("\x00", 2000)}, Name: "b"},
		{Namespace: object.Namespace{"name"}, Name: "name"},
	}
	s := open(t, dir, Config{})
	for _, n := range names {
		putGroup(t, s.Track(n), 1)
	}
	s.Close()
	s = open(t, dir, Config{})
	got := s.Tracks()
	if len(got) != len(names) {
		t.Fatalf("%d tracks", len(got))
	}
	for _, n := range names {
		wantGroup(t, s.Track(n), 1, allIDs, true)
	}
}

func TestManyPartialGroupsHoldFewFiles(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	tr := s.Track(ts)
	for g := range uint64(3 * residentGroups) {
		put(t, tr, part(g, 0), Stored)
	}
	opened := 0
	for _, g := range tr.groups {
		if g.a != nil || g.idx != nil {
			opened++
		}
	}
	if opened > residentGroups {
		t.Errorf("%d groups are resident", opened)
	}
	for g := range uint64(3 * residentGroups) {
		for id := uint64(1); id <= parts; id++ {
			put(t, tr, part(g, id), Stored)
		}
		wantGroup(t, tr, g, allIDs, true)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := open(t, t.TempDir(), Config{MaxBytes: 100_000, Interval: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var run, wg sync.WaitGroup
	run.Go(func() { s.Run(ctx) })
	const groups = 200
	for range 2 {
		wg.Go(func() {
			for g := range uint64(groups) {
				for _, id := range rand.Perm(parts + 1) {
					if _, err := s.Track(ts).Put(part(g, uint64(id)), object.Sum(part(g, uint64(id)).Payload)); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Go(func() {
		for range groups {
			tr := s.Track(ts)
			for _, g := range groupIDs(tr) {
				if ids, complete, err := read(tr, g, 0); err != nil && !errors.Is(err, ErrNotFound) || complete && !slices.Equal(ids, allIDs) {
					t.Errorf("group %d: %v, %v, %v", g, ids, complete, err)
					return
				}
			}
		}
	})
	wg.Wait()
	cancel()
	run.Wait()
}

func BenchmarkPut(b *testing.B) {
	s := open(b, b.TempDir(), Config{})
	tr := s.Track(ts)
	o := &object.Object{Payload: make([]byte, 200_000)}
	sum := object.Sum(o.Payload)
	b.SetBytes(int64(len(o.Payload)))
	b.ReportAllocs()
	for b.Loop() {
		o.ID++
		if o.ID == 50 {
			o.ID = 0
			o.Group++
		}
		if _, err := tr.Put(o, sum); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLockIsTheOwners: who may open the lock's file may hold the lock, so nobody else may; nor that of a version before.
func TestLockIsTheOwners(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, lockFile)
	for _, when := range []string{"made", "found"} {
		s := open(t, dir, Config{})
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", when, st.Mode(), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		os.Chmod(path, 0o644)
	}
}
