package store

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"every.channel/ec/lib/object"
)

var (
	errForeign = errors.New("not a part of a store")
	errAside   = errors.New("was set aside because it was damaged")
)

// recover reads the folders into memory. Whole groups are known by their names alone; partial ones are read, and cut behind their
// last whole record. What cannot be read, and files that are not the store's, are left alone and reported.
func (s *Store) recover() {
	if tellsChanges(s.c.fsType(s.dir)) {
		s.folders.read = readIndex(filepath.Dir(s.dir))
	}
	defer func() { s.folders.read, s.folders.written = nil, maps.Clone(s.folders.seen) }()
	beside, _ := os.ReadDir(filepath.Dir(s.dir)) // not a pattern, which the path could be too
	for _, e := range beside {
		if strings.HasPrefix(e.Name(), badFolder) {
			s.leaveOut(filepath.Join(filepath.Dir(s.dir), e.Name()), errAside)
		}
	}
	for _, ns := range s.list(s.dir) {
		path := filepath.Join(s.dir, ns.Name())
		written, ok := s.writtenName(path, ns)
		if !ok {
			continue
		}
		for _, tr := range s.list(path) {
			s.recoverTrackFolder(written, filepath.Join(path, tr.Name()), tr)
		}
		s.removeEmpty(path)
	}
}

// removeEmpty removes a folder in which nothing is.
func (s *Store) removeEmpty(dir string) {
	if !s.c.ReadOnly {
		os.Remove(dir)
	}
}

func (s *Store) recoverTrackFolder(ns, path string, tr os.DirEntry) {
	if !tr.IsDir() && (tr.Name() == nameFile || s.removeTemp(path)) {
		return
	}
	written, ok := s.writtenName(path, tr)
	if !ok {
		return
	}
	name, err := object.ParseTrackName(ns + "--" + written)
	if err != nil {
		s.leaveOut(path, errForeign)
		return
	}
	s.recoverTrack(s.Track(name), path)
}

// list returns what is in a folder, as far as that can be told.
func (s *Store) list(dir string) []os.DirEntry {
	list, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		s.leaveOut(dir, err)
	}
	return list
}

// writtenName returns the written form of which a folder has the name; false: none, which is reported.
func (s *Store) writtenName(path string, e os.DirEntry) (written string, ok bool) {
	switch written, err := writtenOf(filepath.Dir(path), e.Name()); {
	case isAside(e.Name()) && strings.HasPrefix(e.Name(), badFolder):
		s.leaveOut(path, errAside)
	case !e.IsDir():
		s.leaveOut(path, errForeign)
	case err != nil:
		s.leaveOut(path, err)
	default:
		return written, true
	}
	return "", false
}

// removeTemp removes a file that never got its final name.
func (s *Store) removeTemp(path string) bool {
	return strings.HasSuffix(path, extTemp) && (s.c.ReadOnly || os.Remove(path) == nil)
}

func (s *Store) recoverTrack(t *Track, dir string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, sh := range s.list(dir) {
		path := filepath.Join(dir, sh.Name())
		switch {
		case sh.IsDir() && s.recall(t, path):
		case sh.IsDir() && !strings.HasPrefix(sh.Name(), badFolder):
			for _, f := range s.list(path) {
				s.recoverFile(t, path, f)
			}
			s.removeEmpty(path)
		case strings.HasPrefix(sh.Name(), badFolder):
			s.leaveOut(path, errAside)
		case sh.Name() != nameFile && !s.removeTemp(path):
			s.leaveOut(path, errForeign)
		}
	}
	t.ids = t.ids[:0]
	for id := range t.groups {
		t.ids = append(t.ids, id)
	}
	slices.Sort(t.ids)
	s.removeEmpty(dir)
}

// recoverFile takes a file of a folder in, or reports why not. The track's mutex is held.
func (s *Store) recoverFile(t *Track, dir string, f os.DirEntry) error {
	path := filepath.Join(dir, f.Name())
	if s.removeTemp(path) { // the file from which it was made is still there
		return nil
	}
	id, ext, ok := groupFile(f.Name())
	switch {
	case !ok && isAside(f.Name()):
		s.leaveOut(path, errAside)
		return errAside
	case !ok || shard(id) != filepath.Base(dir) || !f.Type().IsRegular():
		s.leaveOut(path, errForeign)
		return errForeign
	}
	err := s.takeFile(t, id, ext, path, f)
	if err != nil && !os.IsNotExist(err) {
		s.leaveOut(path, err)
	}
	return err
}

func (s *Store) takeFile(t *Track, id uint64, ext, path string, f os.DirEntry) error {
	fi, err := f.Info()
	if err != nil {
		return err
	}
	g := &group{t: t, id: id, state: complete, zstd: ext == extZstd, size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	switch ext {
	case extPart:
		g.state = partial
	case extGone:
		g.t.s.addDoomed(g.key(), path)
		return nil
	case extTier:
		if old := t.groups[id]; old != nil && old.state == complete { // it was killed before the file was removed
			if s.c.ReadOnly {
				return nil
			}
			return os.Remove(path)
		}
		st, err := s.readStub(path)
		if err != nil {
			return err
		}
		g.tiered, g.size, g.mtime = true, st.size, st.mtime
	}
	if old := t.groups[id]; old != nil {
		// After a crash between a rename and the removal of the old file, one of two files is final. Of a whole and a compressed
		// file either will do.
		if g.state == partial && s.c.ReadOnly {
			return nil
		}
		if g.state == partial {
			return os.Remove(path)
		}
		if !s.c.ReadOnly {
			if err := os.Remove(old.current()); err != nil {
				return err
			}
		}
		old.resize(0)
		t.drop(old)
	}
	if g.state == partial {
		if keep, err := g.repair(path); err != nil || !keep {
			return err
		}
	}
	g.count(g.size)
	if g.tiered {
		s.tieredGroups.Add(1)
	}
	t.groups[id] = g
	return nil
}

// adopt takes in what the folder has of a group that the store does not know: because it could not be read when the store was opened, or
// because somebody put it there since. What cannot be taken in is set aside, since it is in the way, unless the reason may pass.
func (t *Track) adopt(id uint64) (*group, error) {
	g := &group{t: t, id: id}
	for _, ext := range []string{extZstd, extWhole, extTier, extPart} {
		path := g.path(ext)
		fi, err := os.Lstat(path)
		if err != nil {
			continue // what is wrong with the folder will be met when the file is made
		}
		if err := t.s.recoverFile(t, filepath.Dir(path), fs.FileInfoToDirEntry(fi)); passing(err) {
			return nil, err
		}
		if got := t.groups[id]; got != nil && got.current() == path {
			t.s.takeIn(path)
			continue
		}
		if _, err := os.Lstat(path); err == nil {
			if err := t.s.aside(path, errForeign); err != nil {
				return nil, err
			}
		}
	}
	got := t.groups[id]
	if i, found := slices.BinarySearch(t.ids, id); got != nil && !found {
		t.ids = slices.Insert(t.ids, i, id)
	}
	if got != nil && t.isWithheld(id) {
		t.hold(got)
		return nil, nil
	}
	return got, nil
}

// repair cuts a torn tail. A file without a whole object is removed, because no object in it was ever acknowledged.
func (g *group) repair(path string) (keep bool, err error) {
	f, err := g.t.s.pool.openFile(path, os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer f.Close()
	s := g.t.s
	x, end, err := scan(f, g.t.name, g.id)
	if errors.Is(err, ErrDamaged) && !s.c.ReadOnly {
		return false, s.aside(path, err)
	}
	if err != nil {
		return false, err
	}
	if s.c.ReadOnly {
		if g.size = end; x.whole() {
			g.idx, g.state = x, finishing
		}
		return len(x.entries) > 0, nil
	}
	if len(x.entries) == 0 {
		s.c.Logger.Warn("partial group without an object removed", "path", path)
		return false, os.Remove(path)
	}
	if end < g.size {
		s.c.Logger.Warn("torn tail cut", "path", path, "bytes", g.size-end)
		if err := os.Truncate(path, end); err != nil { // it is cut before the next object is written
			s.c.Logger.Warn("torn tail stays for now", "path", path, "err", err)
		}
		g.size = end
	}
	if x.whole() {
		g.idx, g.state = x, finishing
		g.t.touch(g)
		s.enqueue(g)
	}
	return true, nil
}
