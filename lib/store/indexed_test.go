package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/object"

	"golang.org/x/sys/unix"
)

// indexed is a store that has an index however few groups there are, and soon after they came. The clock of a file system ticks every few
// milliseconds.
var indexed = Config{leastIndexed: 1, settled: 50 * time.Millisecond}

// settle waits until so many folders of a store can be indexed.
func settle(t testing.TB, s *Store, folders int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.indexMu.Lock()
		_, have := s.snapshot(time.Now())
		s.indexMu.Unlock()
		if len(have) == folders {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d folders can be indexed, not %d", len(have), folders)
		}
	}
}

// found is what a store that is looked at has, and what it leaves out.
func found(t testing.TB, dir string) string {
	t.Helper()
	return foundWith(t, dir, Config{ReadOnly: true})
}

func foundWith(t testing.TB, dir string, c Config) string {
	t.Helper()
	s, err := Open(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b strings.Builder
	for _, name := range s.Tracks() {
		tr := s.Lookup(name)
		for _, g := range tr.Groups(0, math.MaxUint64) {
			fmt.Fprintln(&b, name.Name[:min(len(name.Name), 9)], g.Group, g.Complete, filepath.Base(tr.groups[g.Group].current()))
		}
	}
	list, n := s.LeftOut()
	fmt.Fprintln(&b, list, n, s.Stats().Groups)
	return b.String()
}

// sameWithoutIndex fails unless a store holds the same with its index as without.
func sameWithoutIndex(t testing.TB, dir string) {
	t.Helper()
	with := found(t, dir)
	path := filepath.Join(dir, indexFile)
	if err := os.Rename(path, path+"-away"); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	} else if err == nil {
		defer os.Rename(path+"-away", path)
	}
	if without := found(t, dir); with != without {
		t.Fatalf("with the index:\n%s\nwithout:\n%s", with, without)
	}
}

// recalled opens a store and returns how many folders were taken from the index.
func recalled(t testing.TB, dir string) int {
	t.Helper()
	s, err := Open(dir, Config{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return len(s.folders.written)
}

var long = object.TrackName{Namespace: object.Namespace{strings.Repeat("n", 300)}, Name: strings.Repeat("t", 300)}

// library is a closed store with an index: six folders of whole, compressed and unfinished groups.
func library(t testing.TB, dir string) {
	t.Helper()
	c := indexed
	c.CompressAfter = time.Hour
	past := time.Now().Add(-2 * time.Hour)
	c.now = func() time.Time { return past }
	s := open(t, dir, c)
	for _, name := range []object.TrackName{ts, catalog, long} {
		for _, id := range []uint64{1, 2, 3, 5_000_000 << 16, 5_000_001 << 16} {
			putGroup(t, s.Track(name), id)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	s.c.now = time.Now
	if err := s.Maintain(); err != nil { // compresses
		t.Fatal(err)
	}
	putGroup(t, s.Track(ts), 4)
	put(t, s.Track(ts), part(6, 0), Stored)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	settle(t, s, 6)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestIndex: a store opens by its index as by its folders, with the same times and sizes, and what it reads is what was stored.
func TestIndex(t *testing.T) {
	dir := memoryDir(t)
	library(t, dir)
	if n := recalled(t, dir); n != 6 {
		t.Fatalf("%d folders taken from the index", n)
	}
	sameWithoutIndex(t, dir)
	s := open(t, dir, indexed)
	for _, name := range []object.TrackName{ts, catalog, long} {
		for _, g := range s.Lookup(name).Groups(0, math.MaxUint64) {
			want := allIDs
			if g.Group == 6 {
				want = []uint64{0}
			}
			wantGroup(t, s.Lookup(name), g.Group, want, g.Group != 6)
			fi, err := os.Stat(s.Lookup(name).groups[g.Group].current())
			if err != nil || fi.Size() != g.Bytes || fi.ModTime().Sub(g.Time).Abs() > time.Second {
				t.Errorf("%v: %v", g, err)
			}
		}
	}
	for id := range uint64(parts) { // and it goes on
		put(t, s.Track(ts), part(6, id+1), Stored)
	}
	putGroup(t, s.Track(ts), 1001)
	before, err := os.ReadFile(filepath.Join(dir, indexFile))
	if err = errors.Join(err, s.Flush()); err == nil {
		settle(t, s, 7)
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, indexFile)); err != nil || slices.Equal(before, after) || recalled(t, dir) != 7 {
		t.Errorf("the index was not written anew: %v", err)
	}
	sameWithoutIndex(t, dir)
}

// TestIndexIsAHint: whatever somebody does to the files of a store that is closed, the index hides nothing of it.
func TestIndexIsAHint(t *testing.T) {
	for what, do := range map[string]func(shard string) error{
		"file removed":   func(d string) error { return os.Remove(filepath.Join(d, "2.eco.zst")) },
		"file added":     func(d string) error { return duplicate(filepath.Join(d, "2.eco.zst"), filepath.Join(d, "7.eco.zst")) },
		"foreign file":   func(d string) error { return os.WriteFile(filepath.Join(d, "notes"), nil, 0o644) },
		"folder renamed": func(d string) error { return os.Rename(d, d+"0") },
		"file replaced by a folder": func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, "2.eco.zst")), os.Mkdir(filepath.Join(d, "2.eco.zst"), 0o755))
		},
		"folder replaced by a file": func(d string) error { return errors.Join(os.RemoveAll(d), os.WriteFile(d, nil, 0o644)) },
		"folder replaced by a link": func(d string) error { return errors.Join(os.Rename(d, d+"-away"), os.Symlink(d+"-away", d)) },
		"file added, and the folder's time set back": func(d string) error {
			st, err := os.Stat(d)
			return errors.Join(err, duplicate(filepath.Join(d, "2.eco.zst"), filepath.Join(d, "7.eco.zst")), os.Chtimes(d, st.ModTime(), st.ModTime()))
		},
		"a copy with the same times": func(d string) error {
			st, err := os.Stat(d)
			err = errors.Join(err, os.CopyFS(d+"-copy", os.DirFS(d)), os.RemoveAll(d), os.Rename(d+"-copy", d), os.Remove(filepath.Join(d, "1.eco.zst")))
			return errors.Join(err, os.Chtimes(d, st.ModTime(), st.ModTime()))
		},
		"unfinished group torn": func(d string) error { return os.Truncate(filepath.Join(d, "6.eco.part"), 3) },
		"unfinished group became whole elsewhere": func(d string) error {
			return os.Rename(filepath.Join(d, "6.eco.part"), filepath.Join(d, "6.eco"))
		},
		"nothing": func(string) error { return nil },
	} {
		t.Run(what, func(t *testing.T) {
			dir := memoryDir(t)
			library(t, dir)
			if err := do(filepath.Join(dir, groupsDir, "ec-atsc-2065-3", "ts_t07", "0")); err != nil {
				t.Fatal(err)
			}
			sameWithoutIndex(t, dir)
		})
	}
}

// TestIndexSaysNothingOfBytes: a group whose bytes changed where the index has it is served up to the damage and no further.
func TestIndexSaysNothingOfBytes(t *testing.T) {
	dir := memoryDir(t)
	library(t, dir)
	path := filepath.Join(dir, groupsDir, "ec-atsc-2065-3", "ts_t07", "0", "4.eco")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if recalled(t, dir) != 6 {
		t.Fatal("not taken from the index")
	}
	s := open(t, dir, indexed)
	if ids, _, err := read(s.Track(ts), 4, 0); !errors.Is(err, ErrDamaged) || len(ids) >= len(allIDs) {
		t.Errorf("%v, %v", ids, err)
	}
	wantGroup(t, s.Track(ts), 1, allIDs, true)
}

// TestIndexOfWhatIsThere: folders in which something else lies than what the store knows, or that changed a moment ago, are not indexed.
func TestIndexOfWhatIsThere(t *testing.T) {
	dir := memoryDir(t)
	library(t, dir)
	shard0 := filepath.Join(dir, groupsDir, "ec-atsc-2065-3", "ts_t07", "0")
	s := open(t, dir, indexed)
	if err := errors.Join(duplicate(filepath.Join(shard0, "4.eco"), filepath.Join(shard0, "8.eco")), os.Remove(filepath.Join(shard0, "1.eco.zst"))); err != nil {
		t.Fatal(err) // somebody put a group there that the store does not know, and removed one that it knows: the number is the same
	}
	if _, have := s.snapshot(time.Now().Add(time.Minute)); len(have) != 5 {
		t.Errorf("a minute later: %v", have)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := recalled(t, dir); n != 5 {
		t.Errorf("%d folders indexed", n)
	}
	sameWithoutIndex(t, dir)

	dir = memoryDir(t)
	c := indexed
	c.settled = 0
	s = open(t, dir, c)
	putGroup(t, s.Track(ts), 1)
	if err := errors.Join(s.Flush(), s.writeIndex()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, indexFile)); !os.IsNotExist(err) {
		t.Errorf("a folder that changed just now is indexed: %v", err)
	}
	if b, have := s.snapshot(time.Now().Add(time.Minute)); len(have) != 1 || len(b) <= len(indexFormat) {
		t.Errorf("a minute later: %v", have)
	}
}

// TestIndexWithoutRoom: where the disk has no room, or is another one, no index is written; a store of few groups has none, and who opens one to do one
// thing makes none; what cannot be written is said once, and leaves nothing.
func TestIndexWithoutRoom(t *testing.T) {
	for what, c := range map[string]Config{
		"no room":         {leastIndexed: 1, settled: 1, disk: func(string) (int64, int64, error) { return 1 << 20, 1 << 40, nil }},
		"few groups":      {leastIndexed: 10, settled: 1},
		"one thing to do": {leastIndexed: 1, settled: 1, NoIndex: true},
	} {
		dir := memoryDir(t)
		s := open(t, dir, c)
		putGroup(t, s.Track(ts), 1)
		if err := errors.Join(s.Flush(), s.writeIndex(), s.Close()); err != nil {
			t.Error(what, err)
		}
		if list, _ := os.ReadDir(dir); len(list) != 2 {
			t.Errorf("%s: %v", what, list)
		}
	}
	dir := memoryDir(t)
	var log strings.Builder
	c := indexed
	c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s := open(t, dir, c)
	putGroup(t, s.Track(ts), 1)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, indexFile), 0o755), s.Flush()); err != nil {
		t.Fatal(err)
	}
	settle(t, s, 1)
	if err := s.writeIndex(); err == nil {
		t.Error("a folder was replaced by the index")
	}
	if err := s.Close(); err != nil {
		t.Errorf("an index that cannot be written ends the relay with %v", err)
	}
	if list, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(list) != 0 || strings.Count(log.String(), "level=WARN") != 1 {
		t.Errorf("left %v, log:\n%s", list, log.String())
	}
}

// TestIndexWhereFoldersTellNothing: where a folder's time may stay although files came, as on mergerfs, no index is written, and none that is there
// hides what came.
func TestIndexWhereFoldersTellNothing(t *testing.T) {
	dir := memoryDir(t)
	library(t, dir)
	want := found(t, dir)
	shard0 := filepath.Join(dir, groupsDir, "ec-atsc-2065-3", "ts_t07", "0")
	s := open(t, dir, indexed)
	at, ok := s.stampOf(shard0)
	if err := s.Close(); err != nil || !ok {
		t.Fatal(err)
	}
	less := appendFolder([]byte(indexFormat), "ec-atsc-2065-3/ts_t07/0", at, []filed{{1, kindZstd, 300, 1000}})
	if err := os.WriteFile(filepath.Join(dir, indexFile), less, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fsType uint32
		hides  bool
	}{{unix.TMPFS_MAGIC, true}, {unix.EXT4_SUPER_MAGIC, true}, {unix.FUSE_SUPER_MAGIC, false}, {unix.NFS_SUPER_MAGIC, false}, {0, false}} {
		conf := Config{ReadOnly: true, fsType: func(string) uint32 { return c.fsType }}
		if got := foundWith(t, dir, conf); (got == want) == c.hides {
			t.Errorf("%#x:\n%s\nwithout an index:\n%s", c.fsType, got, want)
		}
	}
	conf := indexed
	conf.fsType = func(string) uint32 { return unix.FUSE_SUPER_MAGIC }
	s = open(t, dir, conf)
	settle(t, s, 6)
	if err := errors.Join(s.writeIndex(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, indexFile)); err != nil || !slices.Equal(b, less) {
		t.Errorf("an index was written: %v", err)
	}
}

// TestIndexHoldsUpNothing: groups get their final names while the index is made, which may take minutes.
func TestIndexHoldsUpNothing(t *testing.T) {
	began, over := make(chan struct{}), make(chan struct{})
	c := indexed
	c.Interval = time.Millisecond
	c.disk = func(string) (int64, int64, error) { // asked for before an index is made
		select {
		case <-began:
		default:
			close(began)
		}
		<-over
		return 1 << 40, 1 << 41, nil
	}
	dir := memoryDir(t)
	s := open(t, dir, c)
	putGroup(t, s.Track(ts), 1)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	defer running.Wait()
	defer stop()
	defer close(over)
	<-began
	putGroup(t, s.Track(ts), 2)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(filepath.Join(dir, groupsDir, "ec-atsc-2065-3", "ts_t07", "0", "2.eco")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a group waits for the index")
		}
	}
}

// TestIndexWhileWritten: whenever the index is written while groups come, get their names, go cold and go, it says what is there, or nothing.
func TestIndexWhileWritten(t *testing.T) {
	dir := memoryDir(t)
	c := indexed
	c.CompressAfter, c.MaxBytes = time.Nanosecond, 1<<20
	s := open(t, dir, c)
	var busy, working sync.WaitGroup
	stop := make(chan struct{})
	for n := range 3 {
		busy.Go(func() {
			tr := s.Track(object.TrackName{Namespace: ts.Namespace, Name: fmt.Sprint("ts_t0", n)})
			for id := uint64(1); id < 150; id++ {
				for _, o := range []uint64{1, 0, 2, 4, 3, 5}[id%2:] {
					if _, err := tr.Put(part(id*7, o), object.Sum(part(id*7, o).Payload)); err != nil {
						t.Error(err)
					}
				}
				if id%10 == 0 {
					tr.Delete(func(i Info) bool { return i.Group == (id-5)*7 })
				}
			}
		})
	}
	for _, work := range []func() error{s.Maintain, s.writeIndex} {
		working.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := work(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	busy.Wait()
	close(stop)
	working.Wait()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	settle(t, s, len(s.Tracks())*2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if recalled(t, dir) == 0 {
		t.Error("no folder was indexed")
	}
	sameWithoutIndex(t, dir)
}

func duplicate(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}
