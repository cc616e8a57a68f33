package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"every.channel/ec/lib/object"
)

// TestFoldersRemoved: what somebody removes while the store is open is lost, and storing goes on at once in folders made anew.
func TestFoldersRemoved(t *testing.T) {
	track := filepath.Join(groupsDir, "ec-atsc-2065-3", "ts_t07")
	for _, what := range []string{filepath.Join(track, "0", "4.eco.part"), filepath.Join(track, "0"), track, filepath.Dir(track), groupsDir, "."} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s := open(t, dir, Config{})
			tr := s.Track(ts)
			for g := range uint64(4) {
				putGroup(t, tr, g)
			}
			for id := range uint64(3) {
				put(t, tr, part(4, id), Stored) // its file is open
			}
			put(t, tr, part(5, 0), Stored)
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			tr.Finish(5) // its file is closed
			if err := os.RemoveAll(filepath.Join(dir, what)); err != nil {
				t.Fatal(err)
			}
			for id := uint64(3); id <= parts; id++ {
				put(t, tr, part(4, id), Stored)
			}
			wantGroup(t, tr, 4, []uint64{3, 4, 5}, false)
			if what != filepath.Join(track, "0", "4.eco.part") {
				put(t, tr, part(5, 1), Stored)
				wantGroup(t, tr, 5, []uint64{1}, false)
				if _, _, err := read(tr, 1, 0); !errors.Is(err, ErrNotFound) {
					t.Errorf("group 1: %v", err)
				}
				if got := groupIDs(tr); !slices.Equal(got, []uint64{4, 5}) {
					t.Errorf("groups %v", got)
				}
			}
			for id := range uint64(3) {
				put(t, tr, part(4, id), Stored)
			}
			putGroup(t, tr, 6)
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			for _, g := range []uint64{4, 6} {
				if _, err := os.Stat(tr.groups[g].path(extWhole)); err != nil {
					t.Error(err)
				}
				wantGroup(t, tr, g, allIDs, true)
			}
			if _, err := Open(dir, Config{}); !errors.Is(err, ErrLocked) {
				t.Errorf("a second store in the folder: %v", err)
			}
			s.Close()
			s = open(t, dir, Config{})
			wantGroup(t, s.Track(ts), 6, allIDs, true)
		})
	}
}

// TestRemovedWhileWhole: the file of a whole group is removed before it gets its final name.
func TestRemovedWhileWhole(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	tr := s.Track(ts)
	putGroup(t, tr, 1)
	putGroup(t, tr, 2)
	if err := os.Remove(tr.groups[1].current()); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Error(err)
	}
	if got := groupIDs(tr); !slices.Equal(got, []uint64{2}) {
		t.Errorf("groups %v", got)
	}
	if err := os.Mkdir(tr.groups[2].path(extTemp), 0o755); err != nil {
		t.Fatal(err)
	}
	putGroup(t, tr, 1)
	if err := os.MkdirAll(filepath.Join(tr.groups[1].path(extWhole), "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Errorf("a folder is where the file goes: %v", err)
	}
	wantGroup(t, tr, 1, allIDs, true)
}

// TestChangedByOthers: an unfinished group's file that somebody cut or appended to is read again before the next object is written.
func TestChangedByOthers(t *testing.T) {
	for _, closed := range []bool{false, true} {
		s := open(t, t.TempDir(), Config{})
		tr := s.Track(ts)
		for id := range uint64(3) {
			put(t, tr, part(1, id), Stored)
		}
		path, end := tr.groups[1].current(), tr.groups[1].size
		if closed {
			tr.Finish(1)
		}
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("by somebody"); err != nil {
			t.Fatal(err)
		}
		put(t, tr, part(1, 3), Stored)
		wantGroup(t, tr, 1, []uint64{0, 1, 2, 3}, false)
		if err := os.Truncate(path, end-1); err != nil {
			t.Fatal(err)
		}
		put(t, tr, part(1, 4), Stored)
		wantGroup(t, tr, 1, []uint64{0, 1, 4}, false)
		for id := range uint64(parts + 1) {
			if _, err := tr.Put(part(1, id), object.Sum(part(1, id).Payload)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.Close(), s.Flush()); err != nil {
			t.Fatal(err)
		}
		wantGroup(t, tr, 1, allIDs, true)
	}
}

// TestDiskAway: when the store's disk is not mounted any more, nothing is written to what lies below, and storing goes on when it is back. It
// takes root.
func TestDiskAway(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs takes root")
	}
	dir := t.TempDir()
	s := open(t, dir, Config{})
	tr := s.Track(ts)
	putGroup(t, tr, 1)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{dir, s.dir} {
		if err := syscall.Mount("tmpfs", place, "tmpfs", 0, "size=256k"); err != nil {
			t.Skipf("no tmpfs: %v", err)
		}
		back := func() { syscall.Unmount(place, syscall.MNT_DETACH) }
		t.Cleanup(back)
		if _, err := tr.Put(part(2, 0), object.Sum(part(2, 0).Payload)); !errors.Is(err, errAway) {
			t.Errorf("stored on another disk: %v", err)
		}
		if _, _, err := read(tr, 1, 0); !errors.Is(err, errAway) || len(groupIDs(tr)) != 1 {
			t.Errorf("read: %v, groups %v", err, groupIDs(tr))
		}
		if list, err := os.ReadDir(place); len(list) > 0 || err != nil {
			t.Errorf("made there: %v, %v", list, err)
		}
		back()
	}
	putGroup(t, tr, 2)
	wantGroup(t, tr, 1, allIDs, true)
	wantGroup(t, tr, 2, allIDs, true)
}

// TestReadOnlyAtStart: a store on a file system that is read-only is opened and read, also where a torn tail would be cut; storing goes on when
// the file system can be written. It takes root.
func TestReadOnlyAtStart(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs takes root")
	}
	for _, lock := range []string{"there", "emptied", "removed"} {
		t.Run("lock "+lock, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
				t.Skipf("no tmpfs: %v", err)
			}
			t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
			s := open(t, dir, Config{})
			tr := s.Track(ts)
			putGroup(t, tr, 1)
			for id := range uint64(3) {
				put(t, tr, part(2, id), Stored)
			}
			torn, end := tr.groups[2].current(), tr.groups[2].size
			err := errors.Join(s.Close(), os.Truncate(torn, end-1), os.WriteFile(tr.groups[1].path(extWhole+extTemp), []byte("x"), 0o644))
			switch lock {
			case "emptied":
				err = errors.Join(err, os.Truncate(filepath.Join(dir, lockFile), 0))
			case "removed":
				err = errors.Join(err, os.Remove(filepath.Join(dir, lockFile)))
			}
			if err = errors.Join(err, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")); err != nil {
				t.Fatal(err)
			}
			s, err = Open(dir, Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := Open(dir, Config{}); !errors.Is(err, ErrLocked) {
				t.Errorf("a second store in the folder: %v", err)
			}
			tr = s.Track(ts)
			wantGroup(t, tr, 1, allIDs, true)
			wantGroup(t, tr, 2, []uint64{0, 1}, false)
			for _, g := range []uint64{2, 3} {
				if _, err := tr.Put(part(g, 3), object.Sum(part(g, 3).Payload)); !errors.Is(err, syscall.EROFS) {
					t.Errorf("stored: %v", err)
				}
			}
			if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""); err != nil {
				t.Fatal(err)
			}
			for id := uint64(2); id <= parts; id++ {
				put(t, tr, part(2, id), Stored)
			}
			putGroup(t, tr, 3)
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			wantGroup(t, tr, 2, allIDs, true)
			wantGroup(t, tr, 3, allIDs, true)
		})
	}
}
