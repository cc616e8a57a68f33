package keys

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCredential: files in the folder of the service manager's credentials are let pass although their mode shows a group, and others are not.
func TestCredential(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	if err := os.Chmod(dir, 0o550); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
	write := func(dir, name string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.Chmod(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, open, elsewhere := write(dir, "key", 0o440), write(dir, "open", 0o444), write(other, "key", 0o440)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{good: true, open: false, elsewhere: false, link: false, filepath.Join(dir, "none"): false, dir: false} {
		t.Setenv("CREDENTIALS_DIRECTORY", dir)
		if got := Credential(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
		t.Setenv("CREDENTIALS_DIRECTORY", "")
		if Credential(path) {
			t.Errorf("%s, without such a folder", path)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if Credential(good) {
		t.Error("in a folder that is everybody's")
	}
}
