package lease

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"every.channel/ec/lib/exit"
)

// TestMain is also a program that takes a tuner, says so, and waits for its end.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LEASE_TEST_HOLD"); dir != "" {
		if _, err := Take(dir, device, 1, nil, "ec-tune 5.1"); err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString("held\n")
		os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var device = Device{ID: "10500009", Base: "http://192.0.2.7:80"}

func TestTunersAreTakenOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	take := func(skip func(int) bool) *Lease {
		t.Helper()
		l, err := Take(dir, device, 2, skip, "ec-tune 5.1")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a, b := take(nil), take(nil)
	if a.Tuner != 0 || b.Tuner != 1 {
		t.Fatalf("tuners %d and %d, want 0 and 1", a.Tuner, b.Tuner)
	}
	_, err := Take(dir, device, 2, nil, "ec-tune 5.2")
	held, ok := errors.AsType[*HeldError](err)
	if code, _ := exit.Of(err); !ok || code != exit.Busy || len(held.Holders) != 2 || !strings.Contains(err.Error(), "tuner 0 by ec-tune 5.1, process") {
		t.Errorf("with all of them taken: %v", err)
	}
	other := Device{ID: device.ID, Base: "http://192.0.2.8:80"} // the same id in another network
	if l, err := Take(dir, other, 1, nil, "ec-tune 5.1"); err != nil {
		t.Errorf("another device of this id: %v", err)
	} else {
		l.Release()
	}
	a.Release()
	a.Release() // harmless
	if _, err := Take(dir, device, 2, func(n int) bool { return n == 0 }, "x"); !errors.As(err, &held) || len(held.Holders) != 1 {
		t.Errorf("without the one that is left out: %v", err)
	}
	if c := take(nil); c.Tuner != 0 {
		t.Errorf("tuner %d after tuner 0 was given back", c.Tuner)
	} else {
		c.Release()
	}
	b.Release()
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o777 || st.Mode()&os.ModeSticky == 0 {
		t.Errorf("the folder is not for all users: %v, %v", st.Mode(), err)
	}
}

// TestKillGivesBack: whoever is killed has no tuner any more.
func TestKillGivesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LEASE_TEST_HOLD="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(dir, device, 1, nil, "x"); err == nil {
		t.Fatal("one tuner was taken twice")
	}
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	l, err := Take(dir, device, 1, nil, "x")
	if err != nil {
		t.Fatalf("after kill -9: %v", err)
	}
	l.Release()
}

// TestNoFolder: where no locks can be had, the error is none that means "busy".
func TestNoFolder(t *testing.T) {
	_, err := Take(filepath.Join(t.TempDir(), "a", "b"), device, 1, nil, "x")
	if _, held := errors.AsType[*HeldError](err); err == nil || held {
		t.Errorf("%v", err)
	}
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, device.file(0))); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(dir, device, 1, nil, "x"); err == nil {
		t.Error("a link that another user may have laid was followed")
	}
}
