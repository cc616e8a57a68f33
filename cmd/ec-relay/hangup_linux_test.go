package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"every.channel/ec/lib/admin"
)

// TestHangup: SIGHUP at a relay in a terminal has it read its configuration again, and ends the relay when the terminal is gone.
func TestHangup(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(os.Args[0], "--listen", "127.0.0.1:0", "--store", filepath.Join(dir, "st"))
	cmd.Args[0] = "ec-relay"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	said := func(text string) bool {
		b, _ := os.ReadFile(log.Name())
		return strings.Contains(string(b), text)
	}
	wait(t, "the relay", func() bool { return said("msg=ready") })
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	wait(t, "the configuration", func() bool { return said("configuration read again") })
	if _, err := admin.Call(t.Context(), filepath.Join(dir, "st"), "status", nil); err != nil {
		t.Errorf("after SIGHUP: %v", err)
	}
	master.Close()
	select {
	case <-ended:
		if code := cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGHUP) {
			t.Errorf("exit status %d", code)
		}
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		t.Error("it runs on without its terminal")
	}
}
