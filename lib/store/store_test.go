package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
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

// memoryDir is a folder where a sync costs nothing, for tests that do thousands; what they test is the same.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ec-store-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
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

func TestTruncationAtEveryByte(t *testing.T) {
	dir := memoryDir(t)
	s := open(t, dir, Config{})
	tr := s.Track(ts)
	var ends []int64
	path := filepath.Join(dir, groupsDir, "ec-atsc-2065-3/ts_t07/0/3.eco.part")
	for id := range uint64(parts) {
		put(t, tr, part(3, id), Stored)
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err) // what was put is in the file
		}
		ends = append(ends, fi.Size())
	}
	s.Close()
	whole, _ := os.ReadFile(path)
	for cut := range len(whole) + 1 {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, whole[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Config{})
		if err != nil {
			t.Fatal(err)
		}
		var want []uint64
		for id, end := range ends {
			if end <= int64(cut) {
				want = append(want, uint64(id))
			}
		}
		tr := s.Track(ts)
		if want == nil {
			if _, ok := tr.Group(3); ok || len(s.Tracks()) != 0 {
				t.Fatalf("cut at %d: a group without objects", cut)
			}
		} else {
			wantGroup(t, tr, 3, want, false)
			if fi, _ := os.Stat(path); fi.Size() != ends[len(want)-1] && !slices.Contains(ends, fi.Size()) {
				t.Fatalf("cut at %d: file has %d bytes", cut, fi.Size())
			}
		}
		for id := range uint64(parts + 1) { // and it goes on
			want := Stored
			if int(id) < len(ends) && ends[id] <= int64(cut) {
				want = Duplicate
			}
			put(t, tr, part(3, id), want)
		}
		tr.Finish(3)
		wantGroup(t, tr, 3, allIDs, true)
		s.Close()
		if err := os.Remove(strings.TrimSuffix(path, ".part")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBitFlips(t *testing.T) {
	dir := memoryDir(t)
	s := open(t, dir, Config{})
	putGroup(t, s.Track(ts), 3)
	s.Close()
	whole := filepath.Join(dir, groupsDir, "ec-atsc-2065-3/ts_t07/0/3.eco")
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, ext := range []string{"", ".part"} {
		os.Remove(whole)
		for n := range 400 {
			bit := (n*len(good)*8/400 + n%8) % (len(good) * 8)
			b := slices.Clone(good)
			b[bit/8] ^= 1 << (bit % 8)
			os.MkdirAll(filepath.Dir(whole), 0o755)
			if err := os.WriteFile(whole+ext, b, 0o644); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir, Config{})
			if err != nil {
				t.Fatal(err)
			}
			tr := s.Track(ts)
			ids, complete, err := read(tr, 3, 0) // read checks what it gets
			switch {
			case errors.Is(err, ErrNotFound) && ext != "", errors.Is(err, ErrDamaged):
			case err != nil:
				t.Fatalf("bit %d: %v", bit, err)
			case complete && !slices.Equal(ids, allIDs):
				t.Fatalf("bit %d: a complete group of %v", bit, ids)
			}
			if !complete || err != nil { // the other source heals it
				for id := range uint64(parts + 1) {
					if _, err := tr.Put(part(3, id), object.Sum(part(3, id).Payload)); err != nil {
						t.Fatal(err)
					}
				}
				tr.Finish(3)
				wantGroup(t, tr, 3, allIDs, true)
			}
			s.Close()
			os.Remove(whole)
			os.Remove(whole + ".part")
		}
	}
}

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("EC_TEST_STORE"); dir != "" {
		publish(dir)
		return
	}
	os.Exit(m.Run())
}

// publish stores groups for ever and reports each object after Put returned.
func publish(dir string) {
	s, err := Open(dir, Config{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	go s.Run(context.Background())
	tr := s.Track(ts)
	group, _, ok := tr.Largest()
	if !ok {
		group = 1
	}
	for ; ; group++ {
		for _, id := range []uint64{1, 0, 2, 4, 3, 5}[group%2:] { // odd groups: 0 is skipped, then comes last
			if _, err := tr.Put(part(group, id), object.Sum(part(group, id).Payload)); err != nil {
				fmt.Println("error", err)
				os.Exit(1)
			}
			fmt.Println(group, id)
		}
		if group%2 == 1 {
			tr.Put(part(group, 1), object.Sum(part(group, 1).Payload))
		}
	}
}

func TestKill9(t *testing.T) {
	dir := t.TempDir()
	acked := make(map[[2]uint64]bool)
	for round := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "EC_TEST_STORE="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop := 20 + rand.IntN(400)
		for n := 0; ; n++ {
			var k [2]uint64
			if _, err := fmt.Fscanln(out, &k[0], &k[1]); err != nil {
				break
			}
			acked[k] = true
			if n == stop {
				cmd.Process.Signal(syscall.SIGKILL) // and read what it still said
			}
		}
		cmd.Wait()
		if len(acked) <= round {
			t.Fatal("the child stored nothing")
		}
		s, err := Open(dir, Config{})
		if err != nil {
			t.Fatal(err)
		}
		tr := s.Track(ts)
		for _, g := range tr.Groups(0, math.MaxUint64) {
			ids, complete, err := read(tr, g.Group, 0)
			if err != nil || complete && !slices.Equal(ids, allIDs) {
				t.Fatalf("round %d, group %d: %v, %v, %v", round, g.Group, ids, complete, err)
			}
		}
		for k := range acked {
			ids, _, err := read(tr, k[0], k[1])
			if err != nil || len(ids) == 0 || ids[0] != k[1] {
				t.Fatalf("round %d: %v was acknowledged and is gone: %v, %v", round, k, ids, err)
			}
		}
		s.Close()
	}
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
	os.Mkdir(filepath.Join(dir, groupsDir), 0o755)
	if _, err := Open(dir, Config{}); !errors.Is(err, ErrFormat) {
		t.Errorf("foreign folder: %v", err)
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

// clock is a time that tests move.
type clock struct {
	sync.Mutex
	t time.Time
}

func (c *clock) now() time.Time { c.Lock(); defer c.Unlock(); return c.t }
func (c *clock) add(d time.Duration) {
	c.Lock()
	defer c.Unlock()
	c.t = c.t.Add(d)
}

func groupIDs(tr *Track) (ids []uint64) {
	for _, i := range tr.Groups(0, math.MaxUint64) {
		ids = append(ids, i.Group)
	}
	return ids
}

func TestRetentionByAge(t *testing.T) {
	c := &clock{t: time.Now()}
	dir := t.TempDir()
	s := open(t, dir, Config{MaxAge: time.Hour, now: c.now})
	tr := s.Track(ts)
	putGroup(t, s.Track(catalog), 1)
	for g := range uint64(4) {
		putGroup(t, tr, g)
		c.add(20 * time.Minute)
	}
	c.add(time.Minute)
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if got := groupIDs(tr); !slices.Equal(got, []uint64{2, 3}) { // 80 minutes: 0 and 1 are over an hour old
		t.Errorf("left: %v", got)
	}
	if got := groupIDs(s.Track(catalog)); len(got) != 1 {
		t.Errorf("the catalog of a live namespace went: %v", got)
	}
	c.add(2 * time.Hour)
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if got := s.Tracks(); len(got) != 0 || s.Stats().Bytes != 0 || len(files(t, dir)) != 0 {
		t.Errorf("left: %v, %+v, %v", got, s.Stats(), files(t, dir))
	}
}

func TestRetentionByBytesAndNamespace(t *testing.T) {
	c := &clock{t: time.Now()}
	other := object.TrackName{Namespace: object.Namespace{"x", "y"}, Name: "v"}
	dir := t.TempDir()
	s := open(t, dir, Config{now: c.now, MaxBytes: 1 << 30, Rules: []Rule{{Prefix: object.Namespace{"x"}, MaxBytes: 1}}})
	for g := range uint64(10) {
		putGroup(t, s.Track(ts), g)
		putGroup(t, s.Track(other), g)
		c.add(time.Second)
	}
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if a, b := groupIDs(s.Track(ts)), groupIDs(s.Track(other)); len(a) != 10 || !slices.Equal(b, []uint64{9}) {
		t.Errorf("left: %v and %v", a, b)
	}
	size := s.Stats().Bytes / 11
	s.c.MaxBytes = 5*size + 4*size/5 // five groups, and what is between them
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if a := groupIDs(s.Track(ts)); !slices.Equal(a, []uint64{6, 7, 8, 9}) {
		t.Errorf("left: %v", a)
	}
	if st := s.Stats(); st.Bytes > s.c.MaxBytes || st.Removed != 15 {
		t.Errorf("%+v", st)
	}
}

func TestCompression(t *testing.T) {
	c := &clock{t: time.Now()}
	dir := t.TempDir()
	s := open(t, dir, Config{now: c.now, CompressAfter: time.Minute})
	tr := s.Track(ts)
	putGroup(t, tr, 1)
	before := s.Stats().Bytes
	c.add(time.Hour)
	putGroup(t, tr, 2)
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	want := []string{"ec-atsc-2065-3/ts_t07/0/1.eco.zst", "ec-atsc-2065-3/ts_t07/0/2.eco"}
	for range 2 {
		if got := files(t, dir); !slices.Equal(got, want) || s.Stats().Bytes >= 2*before {
			t.Errorf("files are %q, %d bytes", got, s.Stats().Bytes)
		}
		wantGroup(t, tr, 1, allIDs, true)
		put(t, tr, part(1, 3), Duplicate)
		s.Close()
		s = open(t, dir, Config{})
		tr = s.Track(ts)
	}
}

func TestCrashBetweenRenames(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	putGroup(t, s.Track(ts), 1)
	s.Close()
	whole := filepath.Join(dir, groupsDir, "ec-atsc-2065-3/ts_t07/0/1.eco")
	b, _ := os.ReadFile(whole)
	os.WriteFile(whole+".part", b, 0o644)
	os.WriteFile(whole+".tmp", b[:99], 0o644)
	s = open(t, dir, Config{})
	wantGroup(t, s.Track(ts), 1, allIDs, true)
	if got := files(t, dir); len(got) != 1 || s.Stats().Bytes != int64(len(b)) {
		t.Errorf("left: %v, %+v", got, s.Stats())
	}
}

// diskFull lets n bytes through and then says that the disk is full.
type diskFull struct{ left int }

func (d *diskFull) write(n int) (int, error) {
	if n <= d.left {
		d.left -= n
		return n, nil
	}
	n, d.left = d.left, 0
	return n, syscall.ENOSPC
}

func TestDiskFull(t *testing.T) {
	for room := 1; room < 3000; room += 37 {
		dir := t.TempDir()
		full := &diskFull{left: room}
		s := open(t, dir, Config{fail: full.write})
		tr := s.Track(ts)
		stored := make(map[uint64][]uint64)
		refused := 0
		for g := range uint64(3) {
			for id := range uint64(parts + 1) {
				r, err := tr.Put(part(g, id), object.Sum(part(g, id).Payload))
				switch {
				case errors.Is(err, ErrFull):
					refused++
				case err != nil || r != Stored:
					t.Fatalf("room for %d: %v, %v", room, r, err)
				default:
					stored[g] = append(stored[g], id)
				}
			}
		}
		if refused == 0 {
			t.Fatalf("room for %d: nothing was refused", room)
		}
		for round := range 2 {
			for g, ids := range stored {
				wantGroup(t, tr, g, ids, len(ids) == parts+1)
			}
			if round == 0 { // room again: what was refused is taken now
				full.left = 1 << 20
				for g := range uint64(3) {
					stored[g] = allIDs
					for id := range uint64(parts + 1) {
						if _, err := tr.Put(part(g, id), object.Sum(part(g, id).Payload)); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
	}
}

func TestDiskFullMakesRoom(t *testing.T) {
	full := &diskFull{left: 1 << 20}
	c := &clock{t: time.Now()}
	s := open(t, t.TempDir(), Config{fail: full.write, MaxAge: time.Hour, now: c.now})
	tr := s.Track(ts)
	for g := range uint64(5) {
		putGroup(t, tr, g)
		c.add(time.Second)
	}
	full.left = 100
	s.c.fail = func(n int) (int, error) {
		if s.stats.removed.Load() > 0 {
			full.left = 1 << 20
		}
		return full.write(n)
	}
	putGroup(t, tr, 5)
	wantGroup(t, tr, 5, allIDs, true)
	if s.Stats().Removed == 0 {
		t.Error("nothing was removed")
	}
}

// TestDiskFullForReal fills a small file system, which takes root.
func TestDiskFullForReal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs takes root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	s, err := Open(dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tr := s.Track(ts)
	var g uint64
	for err == nil {
		g++
		for id := uint64(0); id <= parts && err == nil; id++ {
			_, err = tr.Put(part(g, id), object.Sum(part(g, id).Payload))
		}
	}
	if !errors.Is(err, ErrFull) || g < 2 {
		t.Fatalf("after %d groups: %v", g, err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for ; g > 1; g-- {
		if g == tr.Groups(0, math.MaxUint64)[len(tr.Groups(0, math.MaxUint64))-1].Group && !groupComplete(tr, g) {
			continue
		}
		wantGroup(t, tr, g-1, allIDs, true)
	}
}

func groupComplete(tr *Track, g uint64) bool {
	i, ok := tr.Group(g)
	return ok && i.Complete
}

func TestManyPartialGroupsHoldFewFiles(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	tr := s.Track(ts)
	for g := range uint64(3 * residentGroups) {
		put(t, tr, part(g, 0), Stored)
	}
	opened := 0
	for _, g := range tr.groups {
		if g.f != nil || g.idx != nil {
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

func FuzzRecovery(f *testing.F) {
	var b bytes.Buffer
	w := object.NewWriter(&b)
	for id := range uint64(parts + 1) {
		w.WriteObject(ts, part(3, id))
	}
	f.Add(b.Bytes(), true)
	f.Add(b.Bytes()[:b.Len()-70], false)
	f.Fuzz(func(t *testing.T, b []byte, whole bool) {
		dir := memoryDir(t)
		s, err := Open(dir, Config{})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		path := filepath.Join(dir, groupsDir, "ec-atsc-2065-3/ts_t07/0/3.eco")
		os.MkdirAll(filepath.Dir(path), 0o755)
		if !whole {
			path += ".part"
		}
		os.WriteFile(path, b, 0o644)
		if s, err = Open(dir, Config{}); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		tr := s.Track(ts)
		tr.Largest()
		r, err := tr.Open(3, 0)
		if err != nil {
			return
		}
		defer r.Close()
		last := -1
		for {
			o, err := r.Next()
			if err != nil {
				if err != io.EOF && !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				break
			}
			if int(o.ID) <= last && o.ID < math.MaxInt {
				t.Fatalf("object %d after %d", o.ID, last)
			}
			last = int(o.ID)
		}
		tr.Put(part(3, 0), object.Sum(part(3, 0).Payload))
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	})
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
