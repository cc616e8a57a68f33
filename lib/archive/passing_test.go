package archive

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"every.channel/ec/lib/store"
)

// TestPassingErrorIsNoDamage: a group whose file is replaced while it is read, as by a compressed one, is right if it can be read then, and is not
// mended.
func TestPassingErrorIsNoDamage(t *testing.T) {
	dir := t.TempDir()

	st := open(t, dir, store.Config{})
	group(t, st, video, 1, []byte("payload"))
	if err := st.Flush(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "groups", "*", "*", "*", "1.eco"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	path, pipe := files[0], filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil { // it holds whoever opens it, and cannot be read at an offset
		t.Fatal(err)
	}
	if err := os.Rename(path, filepath.Join(dir, "good")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(pipe, path); err != nil {
		t.Fatal(err)
	}
	tr := st.Lookup(video)
	checked := make(chan Checked, 1)
	go func() {
		c, err := Check(context.Background(), st, Order{Repair: true}, 0)
		if err != nil {
			t.Error(err)
		}
		checked <- c
	}()
	for held := false; !held; { // the track is, while the file is opened
		asked := make(chan struct{})
		go func() { tr.Has(1); close(asked) }()
		select {
		case <-asked:
		case <-time.After(100 * time.Millisecond):
			held = true
		}
	}
	if err := os.Rename(filepath.Join(dir, "good"), path); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(pipe, os.O_RDWR, 0) // and go on
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if c := <-checked; c.Groups != 1 || len(c.Bad) != 0 {
		t.Errorf("%+v", c)
	}
	if i, ok := tr.Group(1); !ok || !i.Complete {
		t.Errorf("%+v", i)
	}
}
