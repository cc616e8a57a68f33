package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// ReplaceFile writes a file beside the folder of the groups whole or not at all, for its owner alone. One goroutine at a time may write it.
func ReplaceFile(path string, b []byte) error { return replaceFile(path, 0o600, b) }

// replaceFile writes a small file whole or not at all. If the process is killed meanwhile, a temporary file stays until the file is written again.
func replaceFile(path string, mode fs.FileMode, b []byte) error {
	temp := path + extTemp
	if err := os.Remove(temp); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err == nil {
		return syncDir(filepath.Dir(path))
	}
	return errors.Join(err, os.Remove(temp))
}
