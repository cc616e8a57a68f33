package relay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/store"
)

// Check reports what keeps a relay with this configuration from starting, and makes nothing that stays: it listens at each address for a moment,
// reads certificate and key, and looks whether the folders of the store and of QLogDir are there, or can be made, and may be written. That a
// relay with this store is running, which may have the addresses, is no error here.
func Check(c ServerConfig) error {
	for _, addr := range c.Listen {
		if err := tryListen(moqt.TryListen(addr), c.Dir); err != nil {
			return listenError(addr, err, listenForm)
		}
	}
	for _, addr := range c.HTTP {
		host, _, err := httpAddress(addr)
		if err == nil {
			err = tryListen(moqt.TryListen("tcp://"+host), c.Dir)
		}
		if err != nil {
			return listenError(addr, err, httpForm)
		}
	}
	if err := auth.CheckFiles(c.TokenKeys); err != nil {
		return exit.With(exit.Config, fmt.Errorf("keys of tokens: %w", err), "a file has one public key in PEM, or JSON Web Keys")
	}
	if err := checkFolder(c.Dir); err != nil {
		return exit.With(exit.IO, fmt.Errorf("store: %w", err), "")
	}
	if err := archive.CheckTakedowns(c.Dir); err != nil {
		return err
	}
	if st, err := os.Stat(filepath.Join(c.Dir, auth.AuditFile)); err == nil && !st.Mode().IsRegular() {
		return exit.With(exit.Config, fmt.Errorf("%s: not a file", filepath.Join(c.Dir, auth.AuditFile)), "who did what is written down there")
	}
	if c.QLogDir != "" {
		if err := checkFolder(c.QLogDir); err != nil {
			return exit.With(exit.IO, fmt.Errorf("folder of qlog: %w", err), "")
		}
	}
	if err := keys.Check(keys.Config{Dir: c.Dir, Cert: c.Cert, Key: c.Key}); err != nil {
		return keyError(err)
	}
	return nil
}

// tryListen drops the error of an address that is in use while a relay has the store open.
func tryListen(err error, dir string) error {
	if errors.Is(err, syscall.EADDRINUSE) && store.InUse(dir) {
		return nil
	}
	return err
}

// checkFolder reports a folder in which nothing can be written, or that cannot be made. It tries with a file that it removes. A disk that
// is full is no reason not to start: what the relay has can be served. Nor is a disk that is read-only, or a folder of somebody else's, if all that
// must be in it is there.
func checkFolder(dir string) error {
	st, err := os.Stat(dir)
	if link, lerr := os.Readlink(dir); lerr == nil && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is a link to %s, which does not exist", dir, link) // no folder can be made in its place
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir:
		return checkFolder(filepath.Dir(dir))
	case err != nil:
		return err
	case !st.IsDir():
		return &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	f, err := os.CreateTemp(dir, ".tmp-*")
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) && complete(dir) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// complete reports whether a store and a key are in a folder, so that a relay makes nothing there without which it does not start.
func complete(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, keys.KeyFile))
	return err == nil && store.Exists(dir)
}
