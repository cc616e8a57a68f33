package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDamagedIndex: an index that is cut anywhere, or has a wrong bit, costs time and nothing else.
func TestDamagedIndex(t *testing.T) {
	dir := memoryDir(t)
	library(t, dir)
	path := filepath.Join(dir, indexFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := found(t, dir)
	try := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := found(t, dir); got != want {
			t.Fatalf("%s:\n%s\nwant:\n%s", what, got, want)
		}
	}
	for n := range len(whole) {
		try(fmt.Sprint("cut at ", n), whole[:n])
		b := slices.Clone(whole)
		b[n] ^= 1 << rand.IntN(8)
		try(fmt.Sprint("a bit of byte ", n), b)
	}
	try("garbage behind", append(slices.Clone(whole), make([]byte, 100)...))
	for what, do := range map[string]func() error{
		"a folder":  func() error { return os.Mkdir(path, 0o755) },
		"a loop":    func() error { return os.Symlink(path, path) },
		"a FIFO":    func() error { return unix.Mkfifo(path, 0o600) },
		"no index":  func() error { return nil },
		"the whole": func() error { return os.WriteFile(path, whole, 0o600) },
	} {
		if err := errors.Join(os.RemoveAll(path), do()); err != nil {
			t.Fatal(err)
		}
		if got := found(t, dir); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
		}
	}
}

// TestIndexGolden: the bytes of docs/format/store.md.
func TestIndexGolden(t *testing.T) {
	b := appendFolder([]byte(indexFormat), "ec-a/t/0", stamp{7, 5}, []filed{{3, kindWhole, 300, 1000}, {4, kindPart, 20, 999}, {9, kindZstd, 100, 1001}})
	want := hex.EncodeToString([]byte("ec index 1\n")) + "1700000067991537" + "08" + hex.EncodeToString([]byte("ec-a/t/0")) + "070a03" + "0dac02d00f" + "041401" + "166404"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r := parseIndex(b)["ec-a/t/0"]
	if files, ok := r.decode(); !ok || r.at != (stamp{7, 5}) || !slices.Equal(files, []filed{{3, kindWhole, 300, 1000}, {4, kindPart, 20, 999}, {9, kindZstd, 100, 1001}}) {
		t.Errorf("%+v", r)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(appendFolder(nil, "ec-a/t/0", stamp{7, 5}, []filed{{3, kindWhole, 300, 1000}, {9, kindZstd, 100, 1001}})[8:])
	f.Add([]byte("\x01a\x01\x02\xff\xff\xff\xff\x0f\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := appendRecord([]byte(indexFormat), body)
		for path, r := range parseIndex(b) {
			files, ok := r.decode()
			if !ok {
				continue
			}
			again := parseIndex(appendFolder([]byte(indexFormat), path, r.at, files))[path]
			if got, ok := again.decode(); !ok || !slices.Equal(got, files) || again.at != r.at {
				t.Errorf("%v became %v", files, got)
			}
		}
	})
}
