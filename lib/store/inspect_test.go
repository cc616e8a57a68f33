package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

// TestVerifyAndMend: of a damaged group what verifies is kept, and the rest can come again; of one that cannot be read nothing is.
func TestVerifyAndMend(t *testing.T) {
	flip := func(at int) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)*at/100] ^= 0x10
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for what, c := range map[string]struct {
		break_ func(*testing.T, string)
		whole  int // objects that Verify reads before the damage
		kept   []uint64
	}{
		"a flipped bit":  {flip(50), 2, []uint64{0, 1, 3, 4, 5}},
		"cut":            {func(t *testing.T, path string) { os.Truncate(path, 700) }, 2, []uint64{0, 1}},
		"emptied":        {func(t *testing.T, path string) { os.Truncate(path, 0) }, 0, nil},
		"a loop":         {loop, 0, nil},
		"a folder":       {other, 0, nil},
		"another group":  {func(t *testing.T, path string) { copyFile(t, filepath.Join(filepath.Dir(path), "1.eco"), path) }, 0, nil},
		"a false hash":   {falseHash, 2, []uint64{0, 1, 3, 4, 5}},
		"another format": {func(t *testing.T, path string) { os.WriteFile(path, []byte("something else"), 0o644) }, 0, nil},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filledStore(t)
			c.break_(t, filepath.Join(dir, groupsDir, "ec-atsc-2065-3", "ts_t07", "0", "2.eco"))
			s := open(t, dir, Config{})
			tr := s.Track(ts)
			for _, g := range []uint64{1, 3, 4, 1001} {
				if _, _, err := tr.Verify(g); err != nil {
					t.Errorf("group %d: %v", g, err)
				}
			}
			was := s.Stats().LeftOut
			n, _, err := tr.Verify(2)
			if err == nil || n != c.whole {
				t.Fatalf("%d objects, %v", n, err)
			}
			if left := s.Stats().LeftOut; left != 1 {
				t.Errorf("%d parts left out, %d before", left, was)
			}
			if tr.Has(2) {
				if i, _ := tr.Group(2); i.Complete {
					t.Error("counts as whole")
				}
				if kept, err := tr.Mend(2); err != nil || kept != len(c.kept) {
					t.Fatalf("kept %d, %v", kept, err)
				}
			}
			if c.kept == nil && tr.Has(2) {
				t.Error("still there")
			} else if c.kept != nil {
				wantGroup(t, tr, 2, c.kept, false)
			}
			for id := range uint64(parts + 1) {
				if _, err := tr.Put(part(2, id), object.Sum(part(2, id).Payload)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			if _, _, err := tr.Verify(2); err != nil {
				t.Error(err)
			}
			wantGroup(t, tr, 2, allIDs, true)
			if aside, _ := filepath.Glob(filepath.Join(tr.groups[2].dir(), "*damaged*")); len(aside) != 1 {
				t.Errorf("set aside: %v", aside)
			}
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err = errors.Join(err, os.WriteFile(to, b, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// falseHash writes a group in which the framing is right, and an object contradicts its hash.
func falseHash(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := object.NewWriter(f)
	for id := range uint64(parts + 1) {
		o := part(2, id)
		if id == 2 {
			o.Payload[0] ^= 1
		}
		err = errors.Join(err, w.WriteObject(ts, o))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestMendOnFullDisk: a group that cannot be saved stays as it is.
func TestMendOnFullDisk(t *testing.T) {
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
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	falseHash(t, filepath.Join(dir, "other"))
	b, err := os.ReadFile(tr.groups[1].current())
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(tr.groups[1].current(), b, 0o644); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 256<<10), 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if _, err := tr.Mend(1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("mended: %v", err)
	}
	if got := files(t, dir); len(got) != 1 || !strings.HasSuffix(got[0], "/1.eco") {
		t.Errorf("files %v", got)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if kept, err := tr.Mend(1); err != nil || kept != parts {
		t.Errorf("kept %d, %v", kept, err)
	}
}

// TestReadOnly: a store that is looked at is not changed, whatever a crash has left in it.
func TestReadOnly(t *testing.T) {
	dir := filledStore(t)
	shard := filepath.Join(dir, groupsDir, "ec-atsc-2065-3", "ts_t07", "0")
	b, err := os.ReadFile(filepath.Join(shard, "3.eco"))
	err = errors.Join(err, os.Rename(filepath.Join(shard, "3.eco"), filepath.Join(shard, "3.eco.part")),
		os.WriteFile(filepath.Join(shard, "1.eco.part"), b, 0o644),
		os.WriteFile(filepath.Join(shard, "5.eco.part"), []byte("nothing"), 0o644),
		os.WriteFile(filepath.Join(shard, "6.eco.part"), b, 0o644), // of another group
		os.WriteFile(filepath.Join(shard, "2.eco.tmp"), b, 0o644),
		os.Truncate(filepath.Join(dir, lockFile), 0), os.Chmod(filepath.Join(dir, lockFile), 0o644),
		os.MkdirAll(filepath.Join(dir, groupsDir, "empty", "empty", "0"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	was := picture(t, dir)
	s, err := Open(dir, Config{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	tr := s.Track(ts)
	wantGroup(t, tr, 1, allIDs, true)
	wantGroup(t, tr, 3, allIDs, true)
	wantGroup(t, tr, 4, []uint64{0}, false)
	if _, err := tr.Put(part(9, 0), object.Sum(part(9, 0).Payload)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("stored: %v", err)
	}
	if _, err := tr.Mend(1); !errors.Is(err, ErrReadOnly) {
		t.Errorf("mended: %v", err)
	}
	if _, _, err := tr.Delete(func(Info) bool { return true }); !errors.Is(err, ErrReadOnly) {
		t.Errorf("deleted: %v", err)
	}
	if _, err := Open(dir, Config{}); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if err := errors.Join(s.Maintain(), s.Close()); err != nil {
		t.Error(err)
	}
	if now := picture(t, dir); !slices.Equal(now, was) {
		t.Errorf("was %q, is %q", was, now)
	}
	if _, err := Open(t.TempDir(), Config{ReadOnly: true}); !errors.Is(err, ErrFormat) {
		t.Errorf("an empty folder: %v", err)
	}
}

// picture describes all files of a folder.
func picture(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil {
			list = append(list, strings.Join([]string{path, st.Mode().String(), st.ModTime().Format(time.RFC3339Nano)}, " "))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestDelete: groups that match are removed, whatever their state.
func TestDelete(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	tr := s.Track(ts)
	for g := range uint64(4) {
		putGroup(t, tr, g)
		if g == 1 {
			s.Flush()
		}
	}
	put(t, tr, part(4, 0), Stored)
	bytes := s.Stats().Bytes
	n, freed, err := tr.Delete(func(i Info) bool { return i.Group != 2 })
	if n != 4 || err != nil || s.Stats().Bytes != bytes-freed || !slices.Equal(groupIDs(tr), []uint64{2}) {
		t.Errorf("%d groups, %d bytes, %v; %v", n, freed, err, groupIDs(tr))
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 1 || !strings.HasSuffix(got[0], "/2.eco") {
		t.Errorf("files %v", got)
	}
	putGroup(t, tr, 1)
}
