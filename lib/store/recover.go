package store

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"every.channel/ec/lib/object"
)

// recover reads the folders into memory. Whole groups are known by their names alone; partial ones are read, and cut behind their
// last whole record. Files that are not the store's are left alone and reported.
func (s *Store) recover() error {
	spaces, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, ns := range spaces {
		written, err := writtenOf(s.dir, ns.Name())
		if err != nil || !ns.IsDir() {
			s.foreign(filepath.Join(s.dir, ns.Name()))
			continue
		}
		dir := filepath.Join(s.dir, ns.Name())
		tracks, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, tr := range tracks {
			path := filepath.Join(dir, tr.Name())
			if tr.Name() == nameFile && !tr.IsDir() {
				continue
			}
			track, err := writtenOf(dir, tr.Name())
			name, nerr := object.ParseTrackName(written + "--" + track)
			if err != nil || nerr != nil || !tr.IsDir() {
				s.foreign(path)
				continue
			}
			if err := s.recoverTrack(s.Track(name), path); err != nil {
				return err
			}
		}
		os.Remove(dir) // if it is empty
	}
	return nil
}

func (s *Store) foreign(path string) {
	s.c.Logger.Warn("not a part of the store", "path", path)
}

func (s *Store) recoverTrack(t *Track, dir string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	shards, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, sh := range shards {
		path := filepath.Join(dir, sh.Name())
		if !sh.IsDir() {
			if sh.Name() != nameFile {
				s.foreign(path)
			}
			continue
		}
		files, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := s.recoverFile(t, path, sh.Name(), f); err != nil {
				return err
			}
		}
		os.Remove(path) // if it is empty
	}
	for id := range t.groups {
		t.ids = append(t.ids, id)
	}
	slices.Sort(t.ids)
	os.Remove(dir)
	return nil
}

func (s *Store) recoverFile(t *Track, dir, in string, f os.DirEntry) error {
	path := filepath.Join(dir, f.Name())
	if strings.HasSuffix(f.Name(), extTemp) {
		return os.Remove(path) // it never had its final name, so the file from which it was made is still there
	}
	id, ext, ok := groupFile(f.Name())
	if !ok || shard(id) != in || !f.Type().IsRegular() {
		s.foreign(path)
		return nil
	}
	fi, err := f.Info()
	if err != nil {
		return err
	}
	g := &group{t: t, id: id, state: complete, zstd: ext == extZstd, size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	if ext == extPart {
		g.state = partial
	}
	if old := t.groups[id]; old != nil {
		// After a crash between a rename and the removal of the old file, one of two files is final. Of a whole and a compressed
		// file either will do.
		if g.state == partial {
			return os.Remove(path)
		}
		if err := os.Remove(old.current()); err != nil {
			return err
		}
		t.count(-old.size)
		delete(t.groups, id)
		if i := slices.Index(t.resident, old); i >= 0 {
			t.resident = slices.Delete(t.resident, i, i+1)
		}
	}
	if g.state == partial {
		if keep, err := g.repair(path); err != nil || !keep {
			return err
		}
	}
	t.count(g.size)
	t.groups[id] = g
	return nil
}

// repair cuts a torn tail. A file without a whole object is removed, because no object in it was ever acknowledged.
func (g *group) repair(path string) (keep bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	s := g.t.s
	x, end, err := scan(f, g.t.name, g.id)
	if err != nil {
		s.c.Logger.Warn("partial group is not readable, set aside", "path", path, "err", err)
		return false, os.Rename(path, path+extBad)
	}
	if len(x.entries) == 0 {
		s.c.Logger.Warn("partial group without an object removed", "path", path)
		return false, os.Remove(path)
	}
	if end < g.size {
		s.c.Logger.Warn("torn tail cut", "path", path, "bytes", g.size-end)
		if err := f.Truncate(end); err != nil {
			return false, err
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
