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
	"syscall"
	"testing"

	"every.channel/ec/lib/object"
)

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
	s, err := Open(dir, indexed)
	if err != nil {
		fmt.Println("err", err)
		os.Exit(1)
	}
	go s.Run(context.Background())
	go func() {
		for { // so that it is killed while it writes the index, too
			s.writeIndex()
		}
	}()
	tr := s.Track(ts)
	group, _, ok := tr.Largest()
	if !ok {
		group = 1
	}
	for ; ; group += 331 { // several folders, so that some of them are old enough for the index
		for _, id := range []uint64{1, 0, 2, 4, 3, 5}[group%2:] { // odd groups: 0 is skipped, then comes last
			if _, err := tr.Put(part(group, id), object.Sum(part(group, id).Payload)); err != nil {
				fmt.Println("err", err)
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
	acked, byIndex := make(map[[2]uint64]bool), 0
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
		sameWithoutIndex(t, dir)
		byIndex += recalled(t, dir)
		s, err := Open(dir, indexed)
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
	if byIndex == 0 {
		t.Error("no index was ever used")
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 4 { // groups, lock, index, and one that was being written
		t.Errorf("what the killed left piles up: %v, %v", list, err)
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
