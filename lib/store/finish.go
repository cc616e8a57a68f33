package store

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"every.channel/ec/lib/object"
)

// finish syncs a whole group and gives it its final name; the caller syncs the folder. The store's finishMu is held. The track's
// mutex is held only where nothing waits for the disk.
func (g *group) finish() error {
	t := g.t
	t.mu.Lock()
	if g.state != finishing || t.at(g.id) != g {
		t.mu.Unlock()
		return nil
	}
	err := g.load()
	if err == nil && g.replaced() {
		err = ErrDamaged
	}
	if err != nil {
		err = g.lost(err)
		t.mu.Unlock()
		return err
	}
	g.closeFile()
	messy, part, whole := g.idx.messy, g.path(extPart), g.path(extWhole)
	t.mu.Unlock()

	from := part
	var size int64
	if messy {
		from = whole + extTemp
		size, err = g.rewrite(from)
	} else {
		err = t.s.syncFile(part)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if g.state != finishing || t.at(g.id) != g { // it was dropped meanwhile, and what has its name now is not its file
		if messy {
			os.Remove(from)
		}
		return nil
	}
	if err != nil {
		return g.lost(err)
	}
	if g.copied {
		if err := setAge(from, g.mtime); err != nil {
			return err
		}
	}
	if err := g.rename(from, whole); err != nil {
		return err
	}
	g.state = complete
	if messy {
		os.Remove(part)
		g.resize(size)
		g.idx = nil // the offsets are those of the old file
		return nil
	}
	if g.held.Load() {
		g.idx = nil
		return nil
	}
	t.touch(g)
	return nil
}

// lost deals with a whole group whose file was removed or damaged before it was final. The group is forgotten, or takes objects again; other
// errors may pass. The track's mutex is held.
func (g *group) lost(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = g.vanished(err)
	case errors.Is(err, ErrDamaged) && g.t.at(g.id) == g:
		err = g.reread()
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, errChanged) {
		return nil // which was logged
	}
	return err
}

// rename gives a file its final name. What is in the way and no file is set aside.
func (g *group) rename(from, to string) error {
	err := os.Rename(from, to)
	if err == nil {
		return nil
	}
	if st, serr := os.Lstat(to); serr != nil || !st.IsDir() {
		return err
	}
	if err := g.t.s.aside(to, errForeign); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// rewrite writes the objects in order to a new file and syncs it.
func (g *group) rewrite(path string) (size int64, err error) {
	r, err := g.t.Open(g.id, 0)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	f, err := g.t.s.pool.openFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return 0, err
	}
	w := object.NewWriter(g.t.s.writer(f))
	for {
		o, err := r.Next()
		if err == io.EOF {
			err = f.Sync()
			return w.Written(), errors.Join(err, f.Close())
		}
		if err == nil {
			err = w.WriteObject(g.t.name, o)
		}
		if err != nil {
			return 0, errors.Join(err, f.Close(), os.Remove(path))
		}
	}
}

func (s *Store) syncFile(path string) error {
	f, err := s.pool.openFile(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
