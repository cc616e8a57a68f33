package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"every.channel/ec/lib/object"

	"golang.org/x/sys/unix"
)

// errChanged: somebody else removed or changed a group's file. The store knows by now what there is of the group.
var errChanged = errors.New("group file was changed by somebody else")

// appender is a group's file, open for appending as long as the pool has a place for it.
type appender struct {
	handle
	w   *object.Writer
	st  unix.Stat_t
	age int64 // what the file's time is set to when it is closed, Unix ns; 0: it is left as it is
}

// append opens the group's file, or takes the one that is open. It makes sure that the file still is the group's and ends behind the last
// object. The caller gives the file back.
func (g *group) append() (*appender, error) {
	s := g.t.s
	if g.a == nil {
		a := &appender{}
		a.open = func() (*os.File, error) { return g.openFile(a) }
		a.close = func(f *os.File) { setAge(f.Name(), a.age) }
		g.a = a
	}
	_, err := s.pool.take(&g.a.handle)
	if err != nil {
		g.a = nil
		return nil, g.removed(err)
	}
	if err := g.unchanged(g.a); err != nil {
		g.closeFile()
		return nil, err
	}
	return g.a, nil
}

// openFile opens the file for appending and gives the appender its writer. A new file comes with its folders.
func (g *group) openFile(a *appender) (*os.File, error) {
	flags := os.O_WRONLY | os.O_APPEND
	if g.size == 0 {
		flags |= os.O_CREATE | os.O_EXCL
	}
	path := g.path(extPart)
	f, err := os.OpenFile(path, flags, 0o644)
	if g.size == 0 && err != nil && !noFiles(err) && !isFull(err) {
		if err := g.makeDirs(); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(path, flags, 0o644)
	}
	if err != nil {
		return nil, err
	}
	g.t.s.takeIn(path)
	w := g.t.s.writer(f)
	if g.size == 0 {
		a.w = object.NewWriter(w)
		return f, nil
	}
	a.w = object.NewAppendWriter(w, g.t.name)
	if g.declared {
		a.w.Resume(g.id)
	}
	return f, nil
}

// unchanged reports whether an open file is where the group is looked for, and as long as it was left. Bytes behind the last object, of a write
// that failed, are cut off.
func (g *group) unchanged(a *appender) error {
	f, st, was := a.f, &a.st, a.st
	if err := unix.Fstat(int(f.Fd()), st); err != nil {
		return &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	var at unix.Stat_t // of what has the file's name now
	err := unix.Stat(f.Name(), &at)
	switch {
	case st.Nlink == 0, err == unix.ENOENT:
		return g.removed(&os.PathError{Op: "write", Path: f.Name(), Err: fs.ErrNotExist})
	case err == nil && !sameFile(&at, st), was.Ino != 0 && !sameFile(&was, st), st.Size < g.size:
		return g.reread()
	case st.Size > g.size:
		return f.Truncate(g.size)
	}
	return nil
}

// replaced reports whether another file than the one that was written has its name.
func (g *group) replaced() bool {
	var at unix.Stat_t
	return g.a != nil && g.a.st.Ino != 0 && unix.Stat(g.path(extPart), &at) == nil && !sameFile(&at, &g.a.st)
}

func sameFile(a, b *unix.Stat_t) bool { return a.Ino == b.Ino && a.Dev == b.Dev }

// removed deals with an error of opening a group for writing. If somebody removed its file, perhaps with all folders, it begins anew.
func (g *group) removed(err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := g.t.s.makeRoot(); err != nil {
		return err
	}
	if err = g.vanished(err); errors.Is(err, ErrNotFound) {
		return errChanged
	}
	return err
}

// reread looks again at a file that is not finished and not as it was left.
func (g *group) reread() error {
	path := g.path(extPart)
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	g.t.s.c.Logger.Error("group file was changed by somebody else", "path", path, "bytes", fi.Size(), "were", g.size)
	g.closeFile()
	g.resize(0)
	g.t.drop(g)
	if _, err := g.t.adopt(g.id); err != nil {
		return err
	}
	return errChanged
}

// undo removes the bytes that a failed write left behind the last whole record. The appender is in use, and closed afterwards. If the bytes
// cannot be removed, the next write tries again.
func (g *group) undo() error {
	var err error
	if g.size > 0 {
		err = g.a.f.Truncate(g.size)
	} else {
		err = os.Remove(g.a.f.Name())
	}
	g.closeFile()
	return err
}

func (g *group) closeFile() {
	if g.a != nil {
		g.t.s.pool.drop(&g.a.handle)
		g.a = nil
	}
}

// setAge sets the modification time of a copy's file.
func setAge(path string, at int64) error {
	if at == 0 {
		return nil
	}
	t := time.Unix(0, at)
	return os.Chtimes(path, t, t)
}

// unreadable notes that the group's file cannot be read, and why. The group counts as incomplete until it can.
func (g *group) unreadable(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errAway) || noFiles(err) {
		return err
	}
	if g.bad = true; g.tiered {
		g.idx = nil // so that what comes of the group is stored again
	}
	g.t.s.leaveOut(g.current(), err)
	return err
}

func (g *group) readable() {
	if g.bad {
		g.bad = false
		g.t.s.takeIn(g.current())
	}
}

// vanished forgets a group whose file somebody removed, so that the group can be stored again; if the whole folder of the group is gone, all
// groups in it. While the folder of all groups is gone nothing is forgotten, because it may come back; once something is to be stored there, it is
// made anew.
func (g *group) vanished(err error) error {
	t, s := g.t, g.t.s
	if !errors.Is(err, fs.ErrNotExist) || t.at(g.id) != g {
		return err
	}
	if away := s.away(); away != nil {
		return fmt.Errorf("%w: %w", away, err)
	}
	if _, gone := os.Stat(s.dir); gone != nil {
		return err
	}
	gone := []*group{g}
	if _, err := os.Stat(g.dir()); errors.Is(err, fs.ErrNotExist) {
		for id, o := range t.groups {
			if o != g && shard(id) == shard(g.id) {
				gone = append(gone, o)
			}
		}
	}
	if path := g.current(); len(gone) == 1 {
		s.c.Logger.Error("group file was removed by somebody else", "track", t.name.String(), "group", g.id)
	} else {
		s.c.Logger.Error("folder of groups was removed by somebody else", "path", filepath.Dir(path), "groups", len(gone))
	}
	for _, o := range gone {
		s.lose(o)
		o.resize(0)
		t.drop(o)
	}
	return fmt.Errorf("%w: %w", ErrNotFound, err)
}

// setAside renames a damaged file and forgets the group.
func (g *group) setAside(why error) error {
	path := g.current()
	if err := g.t.s.aside(path, why); err != nil {
		return err
	}
	g.t.s.lose(g)
	g.resize(0)
	g.t.drop(g)
	return nil
}
