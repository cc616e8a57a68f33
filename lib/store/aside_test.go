package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"every.channel/ec/lib/object"
)

// TestAsideOnce: several tracks that meet a folder that cannot be used set it aside once, and not the good one that another of them has made
// in its place.
func TestAsideOnce(t *testing.T) {
	const tracks = 16
	for range 8 {
		dir := filledStore(t)
		path := filepath.Join(dir, groupsDir, "ec-atsc-2065-3")
		loop(t, path)
		s := open(t, dir, Config{})
		var all sync.WaitGroup
		s.rootMu.Lock() // all come as far as this, and begin at once
		for n := range tracks {
			tr := s.Track(object.TrackName{Namespace: ts.Namespace, Name: fmt.Sprint("v", n)})
			all.Go(func() {
				for id := range uint64(parts + 1) {
					if _, err := tr.Put(part(1, id), object.Sum(part(1, id).Payload)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		s.rootMu.Unlock()
		all.Wait()
		if err := s.Flush(); err != nil {
			t.Error(err)
		}
		for _, n := range s.Tracks() {
			wantGroup(t, s.Track(n), 1, allIDs, true)
		}
		if list, n := s.LeftOut(); n != 1 || len(s.Tracks()) != tracks {
			t.Fatalf("%d tracks, left out: %v", len(s.Tracks()), list)
		}
		s.Close()
	}
}

// TestPassingError: a folder that cannot be opened for another reason than that nobody can use it stays where it is.
func TestPassingError(t *testing.T) {
	for _, path := range []string{"ec-atsc-2065-3/ts_t07/0", "ec-atsc-2065-3/ts_t07", "ec-atsc-2065-3", ""} {
		t.Run("groups/"+path, func(t *testing.T) {
			dir := filledStore(t)
			path := filepath.Join(dir, groupsDir, path)
			s := open(t, dir, Config{})
			away := path + "-away"
			if err := errors.Join(os.Rename(path, away), os.Symlink(strings.Repeat("x", 300), path)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Track(ts).Put(part(7, 0), object.Sum(part(7, 0).Payload)); !errors.Is(err, syscall.ENAMETOOLONG) {
				t.Errorf("stored: %v", err)
			}
			if to, err := os.Readlink(path); err != nil || len(to) != 300 {
				t.Errorf("was set aside: %v", err)
			}
			if err := errors.Join(os.Remove(path), os.Rename(away, path)); err != nil {
				t.Fatal(err)
			}
			putGroup(t, s.Track(ts), 7)
			wantGroup(t, s.Track(ts), 7, allIDs, true)
			wantGroup(t, s.Track(ts), 1, allIDs, true)
		})
	}
}

// TestNoDescriptorSetsNothingAside: a group that somebody put into the folder is good, also if there is no descriptor to look at it.
func TestNoDescriptorSetsNothingAside(t *testing.T) {
	limitFiles(t, 128)
	from := filledStore(t)
	s := open(t, t.TempDir(), Config{})
	putGroup(t, s.Track(ts), 1)
	copyFile(t, filepath.Join(from, groupsDir, "ec-atsc-2065-3", "ts_t07", "0", "4.eco.part"), s.Track(ts).groups[1].dir()+"/4.eco.part")
	s.pool.shed()
	free := takeFiles(t)
	_, err := s.Track(ts).Put(part(4, 1), object.Sum(part(4, 1).Payload))
	free()
	if !noFiles(err) {
		t.Errorf("stored: %v", err)
	}
	put(t, s.Track(ts), part(4, 1), Stored)
	wantGroup(t, s.Track(ts), 4, []uint64{0, 1}, false)
}

// TestReplacedWhileWhole: another file that has the name of a whole group's does not get the final name unless it is whole too.
func TestReplacedWhileWhole(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	tr := s.Track(ts)
	putGroup(t, tr, 1)
	path := tr.groups[1].current()
	copyFile(t, path, path+".other")
	flipMiddle(t, path+".other")
	if err := os.Rename(path+".other", path); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Error(err)
	}
	wantGroup(t, tr, 1, []uint64{0, 1, 3, 4, 5}, false)
	put(t, tr, part(1, 2), Stored)
	if err := s.Flush(); err != nil {
		t.Error(err)
	}
	wantGroup(t, tr, 1, allIDs, true)
}

// TestFolderMovedWhileOpen: nothing is written to a file, though it is open, that is not where the group is looked for any more.
func TestFolderMovedWhileOpen(t *testing.T) {
	for _, what := range []string{"moved", "replaced", "replaced while closed"} {
		t.Run(what, func(t *testing.T) {
			s := open(t, t.TempDir(), Config{})
			tr := s.Track(ts)
			for id := range uint64(3) {
				put(t, tr, part(1, id), Stored)
			}
			path := tr.groups[1].current()
			if what == "moved" {
				dir := filepath.Dir(filepath.Dir(path))
				if err := os.Rename(dir, dir+"-away"); err != nil {
					t.Fatal(err)
				}
				put(t, tr, part(1, 3), Stored)
				wantGroup(t, tr, 1, []uint64{3}, false)
				return
			}
			other := open(t, t.TempDir(), Config{}).Track(ts)
			for id := range uint64(5) {
				put(t, other, part(1, id), Stored)
			}
			copyFile(t, other.groups[1].current(), path+".other")
			if what == "replaced while closed" {
				s.pool.shed()
			}
			if err := os.Rename(path+".other", path); err != nil {
				t.Fatal(err)
			}
			put(t, tr, part(1, 5), Stored)
			wantGroup(t, tr, 1, allIDs, true)
		})
	}
}
