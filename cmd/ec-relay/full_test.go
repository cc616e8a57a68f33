package main

import (
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestFullDisk starts relays on a small file system, in a mount namespace of their own.
func TestFullDisk(t *testing.T) {
	if out, err := exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", t.TempDir()).CombinedOutput(); err != nil {
		t.Skipf("no file system of our own here: %v, %s", err, out)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/full"})
}
