package iroh

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// folderName is the beginning of the name of each folder of sockets in the folder for temporary files; short, for the paths of sockets are.
const folderName = "ec-iroh-"

// folder is where the sockets of a node lie. A lock tells that its process lives, so that a later node can remove the
// folders of processes that were killed.
type folder struct {
	path string
	lock *os.File
}

// newFolder makes a folder of mode 0700.
func newFolder() (*folder, error) {
	sweep()
	path, err := os.MkdirTemp("", folderName)
	if err != nil {
		return nil, err
	}
	// The lock gets its name when it is taken: another process that starts may look at the folder meanwhile.
	made := filepath.Join(path, "lock.new")
	lock, err := takeLock(made, os.O_CREATE|os.O_EXCL)
	if err == nil {
		err = os.Rename(made, filepath.Join(path, lockName))
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return &folder{path, lock}, nil
}

const lockName = "lock"

// takeLock opens a lock and takes it, or says that its process lives.
func takeLock(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sweep removes the folders of processes that ended without doing so. A folder without a lock belongs to a process that has not
// made the lock yet. What cannot be removed, such as the folders of other users, stays.
func sweep() {
	list, err := filepath.Glob(filepath.Join(os.TempDir(), folderName+"*"))
	if err != nil {
		return
	}
	for _, path := range list {
		var info unix.Stat_t
		if unix.Lstat(path, &info) != nil || int(info.Uid) != os.Geteuid() {
			continue
		}
		if lock, err := takeLock(filepath.Join(path, lockName), 0); err == nil {
			os.RemoveAll(path)
			lock.Close()
		}
	}
}

// remove removes the folder; a second time does nothing.
func (f *folder) remove() error {
	defer f.lock.Close()
	return os.RemoveAll(f.path)
}
