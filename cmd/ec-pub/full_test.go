package main

import (
	"os/exec"
	"testing"

	"every.channel/ec/lib/cmdutil/cmdtest"
)

// TestFullDisk runs ec-pub with its spool on a small file system, in a mount namespace of its own.
func TestFullDisk(t *testing.T) {
	if out, err := exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", t.TempDir()).CombinedOutput(); err != nil {
		t.Skipf("no file system of our own here: %v, %s", err, out)
	}
	cmdtest.Run(t, "testdata/full", "ec-sim", "ec-chop", "ec-pub", "ec-sub", "ec-relay") // ec-pub, too: the relay lets the tools beside it publish
}
