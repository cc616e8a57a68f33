package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"

	"golang.org/x/sys/unix"
)

// Exists reports whether there is a store in dir that this process may open.
func Exists(dir string) bool {
	if st, err := os.Stat(filepath.Join(dir, groupsDir)); err != nil || !st.IsDir() {
		return false
	}
	f, err := openLock(dir)
	return err == nil && f.Close() == nil
}

// InUse reports whether a process, such as a relay, has the store in dir open for writing.
func InUse(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// openLock opens the file whose lock is the store's. Where it cannot be written, as on a file system that is read-only, reading suffices; where
// it cannot be made, the folder is locked in its place.
func openLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		return f, nil
	}
	if os.IsPermission(err) && os.Chmod(path, 0o600) == nil {
		if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
			return f, nil
		}
	}
	if f, rerr := os.Open(path); rerr == nil {
		return f, nil
	}
	if (errors.Is(err, unix.ELOOP) || os.IsNotExist(err)) && readOnly(dir) {
		if f, rerr := os.Open(dir); rerr == nil {
			return f, nil
		}
	}
	return nil, err
}

func readOnly(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}

// acquire takes a lock that ends with the process, even if it is killed, and checks the version in the file.
func (s *Store) acquire(dir string) error {
	path := filepath.Join(dir, lockFile)
	if s.c.ReadOnly {
		return s.look(dir)
	}
	f, err := openLock(dir)
	if errors.Is(err, unix.ELOOP) { // nobody can hold a lock there
		if err = s.aside(path, err); err == nil {
			err = os.ErrNotExist
		}
	}
	made := os.IsNotExist(err)
	if made {
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // whoever may read the file could hold the lock
	}
	if err != nil {
		return exit.With(exit.IO, fmt.Errorf("store: %w", err), "")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return locked(dir)
		}
		return exit.With(exit.IO, fmt.Errorf("store: lock %s: %w", path, err), "")
	}
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0 {
		if err := f.Chmod(0o600); err != nil {
			s.c.Logger.Warn("others may hold the lock", "path", path, "err", err)
		}
	}
	if err := s.version(dir, f, made); err != nil {
		if made {
			os.Remove(path)
		}
		f.Close()
		return err
	}
	s.lock = f
	return nil
}

// look takes the lock without changing the file or its mode. Where there is no file, the folder is locked: no relay runs on it, or it would have
// made one. A file that this process may not open, a relay may hold.
func (s *Store) look(dir string) error {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if os.IsNotExist(err) || errors.Is(err, unix.ELOOP) {
		f, err = os.Open(dir)
	}
	if err != nil {
		return exit.With(exit.IO, fmt.Errorf("store: %w", err), "whoever looks at a store must be able to lock it, as the user whose it is")
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		err = locked(dir)
	}
	b := make([]byte, 64)
	n, _ := f.ReadAt(b, 0)
	if got := string(b[:n]); err == nil && got != format && otherVersion.MatchString(got) {
		err = notAStore(dir, fmt.Sprintf("version %q", strings.TrimSpace(got)))
	}
	if err != nil {
		f.Close()
		return err
	}
	s.lock = f
	return nil
}

// otherVersion matches what a store of another version has in its lock file.
var otherVersion = regexp.MustCompile(`^ec store [0-9]+\n?$`)

// version checks the version in the lock file, and writes it where it is missing. A power loss may leave the file empty or full of zeros; of one that
// was made just now, or has something else in it, the groups tell whether they are of this version.
func (s *Store) version(dir string, f *os.File, made bool) error {
	b := make([]byte, 64)
	n, rerr := f.ReadAt(b, 0)
	got := string(b[:n])
	_, err := os.Lstat(s.dir)
	fresh := os.IsNotExist(err)
	blank := strings.Trim(got, "\x00") == ""
	switch {
	case got == format:
		return nil
	case otherVersion.MatchString(got):
		return notAStore(dir, fmt.Sprintf("version %q", strings.TrimSpace(got)))
	case !fresh && (made || !blank) && !s.isOurs():
		return notAStore(dir, "groups without a version")
	case fresh && !blank:
		return notAStore(dir, fmt.Sprintf("version %q", strings.TrimSpace(got)))
	case !fresh:
		why := errors.New("it does not have the store's version, which is written anew")
		if rerr != nil && n == 0 {
			why = fmt.Errorf("%w: %w", why, rerr)
		}
		s.c.Logger.Warn("lock file damaged", "path", f.Name(), "err", why)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(format), 0)
	}
	if err = errors.Join(err, f.Sync()); err != nil && fresh {
		return exit.With(exit.IO, fmt.Errorf("store: %w", err), "")
	}
	if err != nil {
		s.c.Logger.Warn("version of the store not written", "path", f.Name(), "err", err)
	}
	return nil
}

// isOurs reports whether what lies in the folder of the groups was made by a store of this version: nothing, or a file that begins as a group
// does, where a group would lie.
func (s *Store) isOurs() bool {
	list, err := os.ReadDir(s.dir)
	if err == nil && len(list) == 0 {
		return true
	}
	return hasGroup(s.dir, 3)
}

// hasGroup reports whether a group file lies so many folders below one.
func hasGroup(dir string, below int) bool {
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		path := filepath.Join(dir, e.Name())
		if below > 0 {
			if hasGroup(path, below-1) {
				return true
			}
		} else if id, ext, ok := groupFile(e.Name()); ok && shard(id) == filepath.Base(dir) && beginsAsGroup(path, ext) {
			return true
		}
	}
	return false
}

func beginsAsGroup(path, ext string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	src, done, err := decompress(f, ext == extZstd)
	if err != nil {
		return false
	}
	defer done()
	_, err = object.NewReader(src).Next()
	return err == nil
}
