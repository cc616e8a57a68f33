package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"every.channel/ec/lib/object"
)

// TestOneFolderClosed: a folder that cannot be written costs what goes there, and no copies of anything else.
func TestOneFolderClosed(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	if err := os.Mkdir(filepath.Join(s.dir, "closed"), 0o555); err != nil {
		t.Fatal(err)
	}
	defer asStranger(t, filepath.Dir(s.dir))()
	closed := s.Track(object.TrackName{Namespace: object.Namespace{"closed"}, Name: "v"})
	if err := putFrom(t, Copy, closed, 1); !errors.Is(err, os.ErrPermission) {
		t.Fatal(err)
	}
	if err := errors.Join(s.Room(ts.Namespace), s.Free()); err != nil {
		t.Errorf("no room: %v", err)
	}
	if list, n := s.LeftOut(); n != 1 {
		t.Errorf("left out: %v", list)
	}
}

// TestLeftOutIsCountedOnce: of many parts that are left out each is counted once, however often it is met, until it is taken in.
func TestLeftOutIsCountedOnce(t *testing.T) {
	log := new(bytes.Buffer)
	s := open(t, t.TempDir(), Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	want := func(want int) {
		t.Helper()
		if list, n := s.LeftOut(); n != want || len(list) > mostLeftOut {
			t.Errorf("%d are left out, %d of them listed; want %d", n, len(list), want)
		}
	}
	for range 3 {
		for n := range mostLeftOut + 10 {
			s.leaveOut(fmt.Sprint(n), errForeign)
		}
		want(mostLeftOut + 10)
	}
	s.takeIn("5") // one of those that are listed
	s.takeIn(fmt.Sprint(mostLeftOut + 5))
	want(mostLeftOut + 8)
	s.leaveOut(fmt.Sprint(mostLeftOut+6), errForeign)
	want(mostLeftOut + 8)
	s.leaveOut("another", errForeign)
	want(mostLeftOut + 9)
	if n := strings.Count(log.String(), "are left out; from here on"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// TestRemovedIsNotLeftOut: a damaged group that is removed is not left out any more.
func TestRemovedIsNotLeftOut(t *testing.T) {
	for what, remove := range map[string]func(tr *Track){
		"deleted":           func(tr *Track) { tr.Delete(func(i Info) bool { return i.Group == 2 }) },
		"removed by others": func(tr *Track) { os.Remove(tr.groups[2].current()); tr.Open(2, 0) },
	} {
		t.Run(what, func(t *testing.T) {
			s, tr := damaged(t, extWhole, nil)
			if _, _, err := tr.Verify(2); !errors.Is(err, ErrDamaged) || s.Stats().LeftOut != 1 {
				t.Fatal(err)
			}
			remove(tr)
			if list, n := s.LeftOut(); n != 0 || tr.Has(2) {
				t.Errorf("left out: %v", list)
			}
		})
	}
}

// TestPathIsNoPattern: a store is recovered in a folder whose name would match others.
func TestPathIsNoPattern(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[store]*")
	err := errors.Join(os.Rename(filledStore(t), dir), os.Remove(filepath.Join(dir, lockFile)), os.Mkdir(filepath.Join(dir, badFolder+groupsDir), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, Config{})
	wantGroup(t, s.Track(ts), 1, allIDs, true)
	if list, n := s.LeftOut(); n != 1 || filepath.Base(list[0].Path) != badFolder+groupsDir {
		t.Errorf("left out: %v", list)
	}
}

// TestLookedAtByOthers: who may not open the lock does not know whether a relay holds it, and does not look at the store.
func TestLookedAtByOthers(t *testing.T) {
	dir := filledStore(t)
	open(t, dir, Config{})
	defer asStranger(t, dir)()
	path := filepath.Join(dir, lockFile)
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Config{ReadOnly: true})
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("opened: %v", err)
	}
	if err == nil {
		s.Close()
	}
}
