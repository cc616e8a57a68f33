// Package lease says which program of this machine has which tuner of a device, so that our programs share the tuners that there
// are without trying them all, and can tell who has them.
//
// A lease is a lock (flock(2)) on a file of its own, which the kernel takes back with the process however that ends, kill -9 included.
// The file's one line says who has the lease, for people. The device has the last word: others on the network use its tuners, too.
package lease

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"every.channel/ec/lib/exit"
)

// Device names a device as this machine reaches it.
type Device struct {
	ID   string // as the device says
	Base string // URL of its HTTP server: devices of other networks may have the same id
}

// Dir is the folder of the locks: for every user of the machine, and emptied by a restart. EC_LEASES names another one.
func Dir() string {
	if dir := os.Getenv("EC_LEASES"); dir != "" {
		return dir
	}
	if st, err := os.Stat("/run/lock"); err == nil && st.IsDir() {
		return "/run/lock/ec"
	}
	return filepath.Join(os.TempDir(), "ec-leases")
}

// Lease is a tuner that this process has.
type Lease struct {
	Tuner int
	f     *os.File
	once  sync.Once
}

// Release gives the tuner back; any goroutine may, more than once. The file stays: one who waits for its lock must not wait for a file that is no longer the one.
func (l *Lease) Release() {
	if l == nil {
		return
	}
	l.once.Do(func() {
		l.f.Truncate(0)
		l.f.Close()
	})
}

// HeldError says that programs of this machine have every tuner that was asked for.
type HeldError struct {
	Device  Device
	Holders []string // a line for each tuner
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("every tuner of %s is in use on this machine: %s", e.Device.ID, strings.Join(e.Holders, ", "))
}

// ExitCode is 75: try later.
func (e *HeldError) ExitCode() int { return exit.Busy }

// Hint says what helps.
func (e *HeldError) Hint() string { return "--retry TIME waits longer for one of them" }

// Take takes the first tuner of tuners that no program of this machine has and that skip does not leave out; who is what others are told. A
// *HeldError says that there is none. Any other error says that no locks can be had here, and then the device alone decides.
func Take(dir string, d Device, tuners int, skip func(tuner int) bool, who string) (*Lease, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	held := &HeldError{Device: d}
	for n := range tuners {
		if skip != nil && skip(n) {
			continue
		}
		f, err := open(filepath.Join(dir, d.file(n)))
		if err != nil {
			return nil, err
		}
		got, err := lock(f)
		if err != nil {
			f.Close()
			return nil, err
		}
		if !got {
			held.Holders = append(held.Holders, fmt.Sprintf("tuner %d by %s", n, holder(f)))
			f.Close()
			continue
		}
		if f.Truncate(0) == nil {
			fmt.Fprintf(f, "%s, process %d\n", oneLine(who), os.Getpid())
		}
		return &Lease{Tuner: n, f: f}, nil
	}
	return nil, held
}

// file is the name of a tuner's file. Two network namespaces may each have a device of the same address.
func (d Device) file(tuner int) string {
	h := fnv.New64a()
	network, _ := os.Readlink("/proc/self/ns/net")
	fmt.Fprintf(h, "%s\x00%s", d.Base, network)
	id := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, d.ID)
	return fmt.Sprintf("tuner-%.16s-%016x-%d", id, h.Sum64(), tuner)
}

// makeDir makes the folder for all users, each of whom may remove only what is their own.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o777|fs.ModeSticky)
}

// open opens a file that another user may have made. Creating and opening are apart, because the kernel refuses to do both at once to a file
// of another user in a folder like this one (proc(5), protected_regular).
func open(path string) (*os.File, error) {
	for range 3 {
		f, err := os.OpenFile(path, os.O_RDWR|noFollow, 0)
		if errors.Is(err, fs.ErrPermission) {
			f, err = os.OpenFile(path, os.O_RDONLY|noFollow, 0)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
		if err == nil {
			return f, f.Chmod(0o666)
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s comes and goes", path)
}

// holder is what the one who has a lock wrote.
func holder(f *os.File) string {
	b := make([]byte, 200)
	n, _ := f.ReadAt(b, 0)
	if line, _, _ := strings.Cut(string(b[:n]), "\n"); line != "" {
		return oneLine(line)
	}
	return "another program"
}

// oneLine drops what is no text, because any user may write in the files.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}
