package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"every.channel/ec/lib/object"
)

// extBad and badFolder mark what was set aside because it could not be used. Nobody removes it but a person.
const (
	extBad    = ".damaged"
	badFolder = "-damaged-" // no written form begins with a dash
)

// errAway: another file system is in the place of the store's, as when its disk is not mounted. What would be made there would be hidden
// once the disk is back.
var errAway = errors.New("the store's disk is not there")

// device is the file system on which a file lies.
func device(st os.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return uint64(sys.Dev)
	}
	return 0
}

// away reports that the folder of the groups, or the place where it would be made anew, is on another file system than at the start.
func (s *Store) away() error {
	dir, top := s.dir, filepath.Dir(filepath.Dir(s.dir))
	st, err := os.Stat(dir)
	for ; err != nil && dir != top; st, err = os.Stat(dir) {
		dir = filepath.Dir(dir)
	}
	if err == nil && device(st) != s.device {
		err = errAway
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.dir, err)
	}
	return nil
}

// makeRoot makes the folder of the groups, if somebody removed it while the store is open; also the store's folder itself, with its lock.
func (s *Store) makeRoot() error {
	s.rootMu.Lock()
	defer s.rootMu.Unlock()
	return s.makeRootLocked()
}

func (s *Store) makeRootLocked() error {
	if err := s.away(); err != nil {
		return err
	}
	bad := listable(s.dir)
	if bad == nil || !os.IsNotExist(bad) && !unusable(bad) {
		return bad
	}
	dir := filepath.Dir(s.dir)
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		old := s.lock
		if err := s.acquire(dir); err != nil {
			return err
		}
		old.Close()
	}
	err := s.makeUsable(s.dir)
	if err == nil {
		s.c.Logger.Error("folder of the groups was made anew", "path", s.dir, "err", bad)
	}
	return err
}

// makeDirs makes the folders of a group. One goroutine at a time looks at a folder and sets it aside: another track might just have made
// it anew, and have groups in it.
func (g *group) makeDirs() error {
	s, n := g.t.s, g.t.name
	s.rootMu.Lock()
	defer s.rootMu.Unlock()
	if err := s.makeRootLocked(); err != nil {
		return err
	}
	dir, err := s.makeFolder(s.dir, n.Namespace.String())
	if err == nil {
		dir, err = s.makeFolder(dir, object.Written(n.Name))
	}
	if err == nil {
		_, err = s.makeFolder(dir, shard(g.id))
	}
	return err
}

// makeFolder makes parent/folder(written) and syncs parent, if it does not exist.
func (s *Store) makeFolder(parent, written string) (string, error) {
	dir := filepath.Join(parent, folder(written))
	if err := s.makeUsable(dir); err != nil {
		return dir, err
	}
	if len(written) <= maxFolder {
		return dir, nil
	}
	name := filepath.Join(dir, nameFile)
	if b, err := os.ReadFile(name); err == nil && string(b) == written {
		return dir, nil
	}
	return dir, replaceFile(name, 0o644, []byte(written))
}

// makeUsable makes a folder and syncs its parent. What is there already and is no folder that can be read is set aside. rootMu is held.
func (s *Store) makeUsable(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if os.IsExist(err) {
		bad := listable(dir)
		if bad == nil || !unusable(bad) {
			return bad
		}
		if err = s.aside(dir, bad); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	if err != nil {
		return err
	}
	if err = syncDir(filepath.Dir(dir)); err != nil {
		os.Remove(dir) // so that it is synced when it is made next time
		return err
	}
	s.takeIn(dir)
	return nil
}

// listable reports why nobody can look into a folder.
func listable(dir string) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// unusable reports whether an error of opening something says that it cannot be used as long as nobody changes it. Any other error may
// pass, and what is there may be good.
func unusable(err error) bool {
	return errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP)
}

// passing reports whether an error of reading a group says nothing about the group's file.
func passing(err error) bool {
	for _, e := range []error{syscall.ENOMEM, syscall.ESTALE, syscall.EINTR, syscall.ETIMEDOUT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return noFiles(err) || errors.Is(err, errTier)
}

// aside renames a file that is in the way, or a folder, so that another can be made in its place.
func (s *Store) aside(path string, why error) error {
	to := path + extBad
	if st, err := os.Lstat(path); err == nil && (st.IsDir() || !isGroupFile(path)) {
		to = filepath.Join(filepath.Dir(path), badFolder+filepath.Base(path))
	}
	free := freeName(to)
	if err := os.Rename(path, free); err != nil {
		return err
	}
	s.takeIn(path)
	s.leaveOut(free, fmt.Errorf("set aside: %w", why))
	return nil
}

// freeName returns a name that nothing has, or the same with a number.
func freeName(path string) string {
	free := path
	for n := 2; ; n++ {
		if _, err := os.Lstat(free); os.IsNotExist(err) {
			return free
		}
		free = path + "-" + strconv.Itoa(n)
	}
}

func isGroupFile(path string) bool {
	_, _, ok := groupFile(filepath.Base(path))
	return ok
}

// isAside reports whether something was set aside by its name.
func isAside(name string) bool {
	return strings.HasPrefix(name, badFolder) || strings.Contains(name, extBad)
}
