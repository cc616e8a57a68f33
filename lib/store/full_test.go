package store

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

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

// TestFullAtStart: on a disk that is full a store is opened and read, also one whose files a crash has left as they fell; storing goes on when there
// is room. It takes root.
func TestFullAtStart(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs takes root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	s := open(t, dir, Config{})
	tr := s.Track(ts)
	putGroup(t, tr, 1)
	for _, id := range []uint64{3, 0, 1} {
		put(t, tr, part(2, id), Stored)
	}
	for _, id := range []uint64{5, 4, 3, 2, 1, 0} { // its file has to be written again to be final
		put(t, tr, part(3, id), Stored)
	}
	torn, end, messy := tr.groups[2].current(), tr.groups[2].size, tr.groups[3].current()
	left, err := os.ReadFile(messy)
	if err = errors.Join(err, s.Close(), os.Truncate(torn, end-1), os.Remove(tr.groups[3].current()), os.WriteFile(messy, left, 0o644), os.Truncate(filepath.Join(dir, lockFile), 0)); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 256<<10), 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	s = open(t, dir, Config{})
	tr = s.Track(ts)
	if err := s.Flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("flushed on a full disk: %v", err)
	}
	wantGroup(t, tr, 1, allIDs, true)
	wantGroup(t, tr, 2, []uint64{0, 3}, false)
	wantGroup(t, tr, 3, allIDs, true)
	refused := 0
	for id := range uint64(parts + 1) {
		if _, err := tr.Put(part(4, id), object.Sum(part(4, id).Payload)); errors.Is(err, ErrFull) {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for id := range uint64(parts + 1) {
		for _, g := range []uint64{2, 4} {
			if _, err := tr.Put(part(g, id), object.Sum(part(g, id).Payload)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for g := range uint64(4) {
		wantGroup(t, tr, g+1, allIDs, true)
	}
}
