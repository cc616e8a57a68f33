package store

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"every.channel/ec/lib/object"
)

// loop puts a symbolic link that leads to itself in the place of a file or folder: nobody can open it, not even root.
func loop(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(path), os.Symlink(path, path)); err != nil {
		t.Fatal(err)
	}
}

// other puts a folder in the place of a file, or a file in the place of a folder.
func other(t *testing.T, path string) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil || os.RemoveAll(path) != nil {
		t.Fatal(err)
	}
	if st.IsDir() {
		err = os.WriteFile(path, []byte("a file"), 0o644)
	} else {
		err = os.MkdirAll(filepath.Join(path, "full"), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestBadPartsAtStart: what cannot be read when the store is opened costs what it holds. It is said once, counted and named; the rest is there,
// and what is bad keeps nothing from being stored, not even in its place.
func TestBadPartsAtStart(t *testing.T) {
	shard0 := filepath.Join(groupsDir, "ec-atsc-2065-3", "ts_t07", "0")
	for _, c := range []struct {
		what   string
		path   string
		break_ func(*testing.T, string)
		lost   []uint64 // groups of ts
		all    bool     // the catalog too
	}{
		{"a loop for an unfinished group", filepath.Join(shard0, "4.eco.part"), loop, []uint64{4}, false},
		{"a folder for an unfinished group", filepath.Join(shard0, "4.eco.part"), other, []uint64{4}, false},
		{"a loop for a group", filepath.Join(shard0, "2.eco"), loop, []uint64{2}, false},
		{"a folder for a group", filepath.Join(shard0, "2.eco"), other, []uint64{2}, false},
		{"a loop for a folder of groups", shard0, loop, []uint64{1, 2, 3, 4}, false},
		{"a file for a folder of groups", shard0, other, []uint64{1, 2, 3, 4}, false},
		{"a loop for a track", filepath.Dir(shard0), loop, []uint64{1, 2, 3, 4, 1001}, false},
		{"a file for a track", filepath.Dir(shard0), other, []uint64{1, 2, 3, 4, 1001}, false},
		{"a loop for a namespace", filepath.Dir(filepath.Dir(shard0)), loop, []uint64{1, 2, 3, 4, 1001}, true},
		{"a file for a namespace", filepath.Dir(filepath.Dir(shard0)), other, []uint64{1, 2, 3, 4, 1001}, true},
		{"a loop for all", groupsDir, loop, []uint64{1, 2, 3, 4, 1001}, true},
		{"a file for all", groupsDir, other, []uint64{1, 2, 3, 4, 1001}, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := filledStore(t)
			path := filepath.Join(dir, c.path)
			c.break_(t, path)
			var log bytes.Buffer
			s := open(t, dir, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if n := strings.Count(log.String(), "part of the store left out"); n != 1 || s.Stats().LeftOut != 1 {
				t.Errorf("%d parts left out, said %d times: %s", s.Stats().LeftOut, n, &log)
			}
			if list, _ := s.LeftOut(); len(list) != 1 || !strings.HasPrefix(filepath.Base(list[0].Path), filepath.Base(c.path)) && !strings.HasSuffix(list[0].Path, filepath.Base(c.path)) {
				t.Errorf("left out: %v", list)
			}
			tr := s.Track(ts)
			wantAll := func(lost []uint64) {
				t.Helper()
				for _, g := range []uint64{1, 2, 3, 1001} {
					ids, complete, err := read(tr, g, 0)
					if missing := contains(lost, g); missing != errors.Is(err, ErrNotFound) || !missing && (err != nil || !complete || len(ids) != len(allIDs)) {
						t.Errorf("group %d: %v, %v, %v", g, ids, complete, err)
					}
				}
			}
			wantAll(c.lost)
			if !c.all {
				wantGroup(t, s.Track(catalog), 1, allIDs, true)
			}
			for _, g := range append(c.lost, 5) { // it comes again, and more
				for id := range uint64(parts + 1) {
					if _, err := tr.Put(part(g, id), object.Sum(part(g, id).Payload)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			wantAll(nil)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			log.Reset()
			s = open(t, dir, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			tr = s.Track(ts)
			wantAll(nil)
			wantGroup(t, tr, 5, allIDs, true)
			if n := s.Stats().LeftOut; n != 1 { // what was set aside
				t.Errorf("%d left out at the next start: %s", n, &log)
			}
		})
	}
}

// filledStore has groups 1 to 3 and 1001 of ts, the beginning of 4, and a catalog.
func filledStore(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, Config{})
	for _, g := range []uint64{1, 2, 3, 1001} {
		putGroup(t, s.Track(ts), g)
	}
	put(t, s.Track(ts), part(4, 0), Stored)
	putGroup(t, s.Track(catalog), 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func contains(list []uint64, g uint64) bool {
	for _, x := range list {
		if x == g {
			return true
		}
	}
	return false
}

// TestUnreadableAtStart is the same for files and folders whose mode lets nobody read them. Root's thread looks at files as another user.
func TestUnreadableAtStart(t *testing.T) {
	for _, path := range []string{"ec-atsc-2065-3/ts_t07/0/4.eco.part", "ec-atsc-2065-3/ts_t07/0", "ec-atsc-2065-3/ts_t07", "ec-atsc-2065-3", ""} {
		t.Run("groups/"+path, func(t *testing.T) {
			dir := filledStore(t)
			path := filepath.Join(dir, groupsDir, path)
			defer asStranger(t, dir)()
			if err := os.Chmod(path, 0); err != nil {
				t.Fatal(err)
			}
			defer os.Chmod(path, 0o755)
			s := open(t, dir, Config{})
			if list, n := s.LeftOut(); n != 1 || list[0].Path != path {
				t.Errorf("left out: %v", list)
			}
			putGroup(t, s.Track(catalog), 7)
			putGroup(t, s.Track(ts), 7)
			putGroup(t, s.Track(ts), 2001)
			for id := range uint64(parts + 1) {
				if _, err := s.Track(ts).Put(part(4, id), object.Sum(part(4, id).Payload)); err != nil {
					t.Fatal(err)
				}
			}
			wantGroup(t, s.Track(ts), 4, allIDs, true)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// asStranger makes this goroutine, if it is root's, another user who owns what is in a folder, until back is called.
func asStranger(t *testing.T, dir string) (back func()) {
	t.Helper()
	if os.Getuid() != 0 {
		return func() {}
	}
	const stranger = 65534
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, stranger, stranger))
	})
	if err = errors.Join(err, os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	if err := syscall.Setfsuid(stranger); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setfsuid(0); err != nil {
			t.Fatal(err)
		}
		runtime.UnlockOSThread()
	}
}

// TestDamagedLock: a lock file that lost its version keeps a store from being opened only if it may be something else.
func TestDamagedLock(t *testing.T) {
	for what, c := range map[string]struct {
		break_ func(path string) error
		opens  bool
	}{
		"emptied":     {func(path string) error { return os.Truncate(path, 0) }, true},
		"zeros":       {func(path string) error { return os.WriteFile(path, make([]byte, 11), 0o600) }, true},
		"garbage":     {func(path string) error { return os.WriteFile(path, []byte("\x8fx\n?"), 0o600) }, true},
		"removed":     {os.Remove, true},
		"a folder":    {func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) }, true},
		"a loop":      {func(path string) error { return errors.Join(os.Remove(path), os.Symlink(path, path)) }, true},
		"next format": {func(path string) error { return os.WriteFile(path, []byte("ec store 2\n"), 0o600) }, false},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filledStore(t)
			if err := c.break_(filepath.Join(dir, lockFile)); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			s, err := Open(dir, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if !c.opens {
				if !errors.Is(err, ErrFormat) {
					t.Error(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			wantGroup(t, s.Track(ts), 1, allIDs, true)
			if _, err := Open(dir, Config{}); !errors.Is(err, ErrLocked) {
				t.Errorf("a second store in the folder: %v", err)
			}
			if !strings.Contains(log.String(), "damaged") {
				t.Errorf("log: %s", &log)
			}
			if b, err := os.ReadFile(filepath.Join(dir, lockFile)); what != "a folder" && string(b) != format {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}
