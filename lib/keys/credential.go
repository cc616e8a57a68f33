package keys

import (
	"os"
	"path/filepath"
)

// Credential reports whether a file is one that the service manager gives this process (systemd.exec(5), LoadCredential=): one in the folder
// $CREDENTIALS_DIRECTORY, into which nobody else gets. Such a file shows the mode of a group that may read it, where an access list lets in
// this user alone.
func Credential(path string) bool {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || !filepath.IsAbs(dir) {
		return false
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	if real, err = filepath.Abs(real); err != nil {
		return false
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil || filepath.Dir(real) != dir {
		return false
	}
	for _, name := range []string{dir, real} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm()&0o007 != 0 {
			return false
		}
	}
	return true
}
