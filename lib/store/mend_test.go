package store

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

// damaged opens a filled store in which object 2 of group 2 is damaged. The group is complete, compressed or unfinished.
func damaged(t *testing.T, ext string, log *slog.Logger) (*Store, *Track) {
	t.Helper()
	dir := filledStore(t)
	path := filepath.Join(dir, groupsDir, "ec-atsc-2065-3", "ts_t07", "0", "2.eco")
	if ext == extZstd {
		falseHash(t, path)
		err := errors.Join(func() error { _, err := writeZstd(path+".zst", path, time.Now()); return err }(), os.Remove(path))
		if err != nil {
			t.Fatal(err)
		}
	} else {
		flipMiddle(t, path)
	}
	s := open(t, dir, Config{Logger: log})
	tr := s.Track(ts)
	if ext == extPart {
		tr.Clear()
		for id := range uint64(parts) {
			put(t, tr, part(2, id), Stored)
		}
		flipMiddle(t, tr.groups[2].current())
	}
	return s, tr
}

func flipMiddle(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0x10
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// copying copies a folder each time that something is logged, for what a kill at that moment would leave.
type copying struct {
	slog.Handler
	from, to string
	n        int
}

func (c *copying) Handle(context.Context, slog.Record) error {
	if c.from == "" {
		return nil
	}
	c.n++
	return os.CopyFS(c.to, os.DirFS(c.from))
}

// TestKilledWhileMended: when the damaged file is out of the way, what verifies of it is where the group is looked for.
func TestKilledWhileMended(t *testing.T) {
	for _, ext := range []string{extWhole, extZstd, extPart} {
		t.Run(ext, func(t *testing.T) {
			c := &copying{Handler: slog.DiscardHandler, to: t.TempDir()}
			s, tr := damaged(t, ext, slog.New(always{c}))
			c.from = filepath.Dir(s.dir)
			kept := 4
			if ext != extPart {
				kept++
			}
			if n, err := tr.Mend(2); err != nil || n != kept || c.n != 1 {
				t.Fatalf("kept %d, %v; said %d times", n, err, c.n)
			}
			for _, dir := range []string{c.to, c.from} {
				c.from = ""
				s.Close()
				s = open(t, dir, Config{})
				wantGroup(t, s.Track(ts), 2, []uint64{0, 1, 3, 4, 5}[:kept], false)
				if aside, _ := filepath.Glob(filepath.Join(s.Track(ts).groups[2].dir(), "2*damaged*")); len(aside) != 1 {
					t.Errorf("set aside: %v", aside)
				}
			}
		})
	}
}

// always is a handler that is given every record.
type always struct{ *copying }

func (always) Enabled(context.Context, slog.Level) bool { return true }

// TestMendCannotWrite: if the new file cannot be written, nothing is changed.
func TestMendCannotWrite(t *testing.T) {
	for _, ext := range []string{extWhole, extZstd, extPart} {
		for _, n := range []int{0, 1} {
			s, tr := damaged(t, ext, nil)
			was := files(t, filepath.Dir(s.dir))
			s.c.fail = func(int) (int, error) { return n, syscall.EIO }
			if kept, err := tr.Mend(2); kept != 0 || !errors.Is(err, syscall.EIO) {
				t.Errorf("kept %d, %v", kept, err)
			}
			if got := files(t, filepath.Dir(s.dir)); !slices.Equal(got, was) {
				t.Errorf("files: %v, were %v", got, was)
			}
			s.c.fail = nil
			if kept, err := tr.Mend(2); kept < 4 || err != nil {
				t.Errorf("kept %d, %v", kept, err)
			}
		}
	}
}

// TestLiveWhileMended: while what verifies of a complete group is saved, objects are stored in its track. If the group begins anew
// meanwhile, it is not replaced.
func TestLiveWhileMended(t *testing.T) {
	for _, anew := range []bool{false, true} {
		s, tr := damaged(t, extWhole, nil)
		h, mended := hold(s), make(chan error, 1)
		go func() { _, err := tr.Mend(2); mended <- err }()
		<-h.begun
		stored := make(chan struct{})
		go func() {
			defer close(stored)
			g := uint64(7)
			if anew {
				g = 2
			}
			for id := range uint64(2) {
				if _, err := tr.Put(part(g, id), object.Sum(part(g, id).Payload)); err != nil {
					t.Error(err)
				}
			}
		}()
		select {
		case <-stored:
		case <-time.After(10 * time.Second):
			t.Error("nothing is stored in the track")
		}
		close(h.letGo)
		if err := <-mended; anew != errors.Is(err, errChanged) || !anew && err != nil {
			t.Error(err)
		}
		<-stored
		want := []uint64{0, 1, 3, 4, 5}
		if anew {
			want = want[:2]
		}
		wantGroup(t, tr, 2, want, false)
		if temp, _ := filepath.Glob(filepath.Join(tr.groups[2].dir(), "*"+extTemp)); len(temp) > 0 {
			t.Errorf("left: %v", temp)
		}
	}
}
