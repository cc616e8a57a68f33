package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// healer has every group that a test made, and gives it to a store as one that is fetched.
type healer struct {
	st    *store.Store
	away  atomic.Bool // nobody is there to be asked
	asked atomic.Int64
	bytes int // of a payload
}

func (h *healer) payload(id uint64, n int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("%d/%d ", id, n), 1+h.bytes/10))
}

// make stores a group as a publisher does.
func (h *healer) make(t *testing.T, id uint64) {
	group(t, h.st, video, id, h.payload(id, 0), h.payload(id, 1))
}

func (h *healer) heal(ctx context.Context, name object.TrackName, id uint64, pace func(context.Context, int) error) bool {
	h.asked.Add(1)
	if h.away.Load() {
		return false
	}
	for n := range 2 {
		b := h.payload(id, n)
		if pace(ctx, len(b)) != nil {
			return false
		}
		o := &object.Object{Group: id, ID: uint64(n), Payload: b, Properties: object.Properties{Hash: object.Sum(b), HasHash: true}.Append(nil)}
		if _, err := h.st.Track(name).PutFrom(store.Copy, o, object.Sum(b)); err != nil {
			return false
		}
	}
	_, err := h.st.Track(name).PutFrom(store.Copy, &object.Object{Group: id, ID: 2, Status: object.EndOfGroup}, object.Sum(nil))
	i, ok := h.st.Track(name).Group(id)
	return err == nil && ok && i.Complete
}

// wrongs are what may become of a group's file.
var wrongs = map[string]func(path string) error{
	"a bit":   func(path string) error { return rewrite(path, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }) },
	"cut":     func(path string) error { return rewrite(path, func(b []byte) []byte { return b[:len(b)/2] }) },
	"empty":   func(path string) error { return os.Truncate(path, 0) },
	"garbage": func(path string) error { return rewrite(path, func(b []byte) []byte { return make([]byte, len(b)) }) },
	"removed": os.Remove,
	"a folder": func(path string) error {
		return errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "full"), 0o755))
	},
	"a loop": func(path string) error { return errors.Join(os.Remove(path), os.Symlink(path, path)) },
	"another group's": func(path string) error {
		return rewrite(path, func([]byte) []byte { b, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "1.eco")); return b })
	},
}

func rewrite(path string, f func([]byte) []byte) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, f(b), 0o644)
}

// scrubbing runs a scrub on a store of groups 1…n until a condition holds; stop ends it.
func scrubbing(t *testing.T, s *Scrub, until func(Scrubbed) bool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	for n := 0; !until(s.Progress()); n++ {
		if n > 1_000_000 {
			stop()
			t.Fatalf("it does not come so far: %+v", s.Progress())
		}
		time.Sleep(time.Second)
	}
	return stop
}

func over(p Scrubbed) bool { return p.Over != nil }

// stocked is a store with groups 1…n, all under their final names.
func stocked(t *testing.T, dir string, n uint64, c store.Config) *healer {
	t.Helper()
	h := &healer{st: open(t, dir, c), bytes: 1000}
	for id := range n {
		h.make(t, id+1)
	}
	if err := h.st.Flush(); err != nil {
		t.Fatal(err)
	}
	return h
}

func path(t *testing.T, dir string, id uint64) string { return file(t, dir, fmt.Sprint(id, ".eco")) }

// wantAll fails unless all groups are whole and verify.
func (h *healer) wantAll(t *testing.T, n uint64) {
	t.Helper()
	if err := h.st.Flush(); err != nil {
		t.Fatal(err)
	}
	for id := range n {
		i, ok := h.st.Track(video).Group(id + 1)
		if _, _, err := h.st.Track(video).Verify(id + 1); !ok || !i.Complete || err != nil {
			t.Errorf("group %d: %+v, %v", id+1, i, err)
		}
	}
}

// TestScrub: whatever became of a group's file, the scrub finds it, sets it aside, and the group is fetched again; all else stays as it is. It reads
// no more a second than it may.
func TestScrub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		const n = 100
		h := stocked(t, dir, n, store.Config{})
		bad := 0
		for what, do := range wrongs {
			if err := do(path(t, dir, uint64(10+7*bad))); err != nil {
				t.Fatal(what, err)
			}
			bad++
		}
		s := &Scrub{Store: h.st, Rate: perGroup, Heal: h.heal}
		begun := time.Now()
		stop := scrubbing(t, s, over)
		defer stop()
		if p := s.Progress(); p.Groups != n || p.Bad != int64(bad) || p.Healed != p.Bad || len(p.Waiting) != 0 || p.Next != nil {
			t.Errorf("%+v", p)
		}
		if took := time.Since(begun); took < (n-2)*time.Second || took > 2*n*time.Second {
			t.Errorf("%d groups took %v", n, took)
		}
		h.wantAll(t, n)
		aside := 0
		if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if strings.Contains(d.Name(), "damaged") {
				aside++
			}
			return err
		}); err != nil || aside != bad-1 { // nothing is there of what was removed
			t.Errorf("%d set aside, %v", aside, err)
		}
	})
}

// TestScrubWaits: what nobody has is set aside, named, remembered over a restart, asked for again, and forgotten when it is healed.
func TestScrubWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := stocked(t, dir, 5, store.Config{})
		h.away.Store(true)
		for _, id := range []uint64{2, 4} {
			if err := wrongs["a bit"](path(t, dir, id)); err != nil {
				t.Fatal(err)
			}
		}
		note := filepath.Join(dir, "scrub.json")
		s := &Scrub{Store: h.st, Rate: 1 << 20, Heal: h.heal, File: note}
		scrubbing(t, s, over)()
		p := s.Progress()
		if len(p.Waiting) != 2 || p.Waiting[0].Group != 2 || p.Waiting[1].Place != (Place{video.String(), 4}) || p.Healed != 0 || p.Bad != 2 {
			t.Fatalf("%+v", p)
		}
		s = &Scrub{Store: h.st, Rate: 1 << 20, Heal: h.heal, File: note}
		stop := scrubbing(t, s, func(Scrubbed) bool { return h.asked.Load() > 4 })
		before := h.asked.Load()
		time.Sleep(time.Hour)
		if n := h.asked.Load() - before; n < 2*5 || n > 2*6 {
			t.Errorf("two groups were asked for %d times in an hour", n)
		}
		h.away.Store(false)
		time.Sleep(scrubRetry + scrubIdle + time.Second)
		stop()
		if p := s.Progress(); len(p.Waiting) != 0 || p.Healed != 2 || p.Bad != 2 {
			t.Errorf("%+v", p)
		}
		h.wantAll(t, 5)

		// Nobody has it for a week, or retention would have removed it.
		s.change(func(p *Scrubbed) {
			p.Waiting = []Waiting{{Place{video.String(), 90}, time.Now()}, {Place{"no name", 1}, time.Now()}}
		})
		h.away.Store(true)
		s.fetchWaiting(t.Context())
		if p := s.Progress(); len(p.Waiting) != 1 {
			t.Errorf("%+v", p.Waiting)
		}
		time.Sleep(scrubForget)
		s.fetchWaiting(t.Context())
		if p := s.Progress(); len(p.Waiting) != 0 {
			t.Errorf("%+v", p.Waiting)
		}
	})
}

// TestScrubResumes: a scrub that is stopped anywhere goes on there after a restart: each group is read once. Of a note that is no note it begins at the
// first group.
func TestScrubResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		const n = 60
		h := stocked(t, dir, n, store.Config{})
		note := filepath.Join(dir, "scrub.json")
		last := int64(0)
		for stops := 0; ; stops++ {
			s := &Scrub{Store: h.st, Rate: perGroup, File: note}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rand.IntN(20))*time.Second)
			s.Run(ctx)
			cancel()
			p := s.Progress()
			if p.Groups < last || stops > 100 {
				t.Fatalf("%d groups, %d before, %d stops", p.Groups, last, stops)
			}
			if last = p.Groups; p.Over != nil {
				if p.Groups != n || stops < 3 {
					t.Errorf("after %d stops: %+v", stops, p)
				}
				break
			}
		}
		for what, do := range map[string]func() error{
			"garbage":  func() error { return os.WriteFile(note, []byte("{"), 0o600) },
			"another":  func() error { return os.WriteFile(note, []byte(`{"v":2,"next":{"track":"z","group":1}}`), 0o600) },
			"a folder": func() error { return os.Mkdir(note, 0o755) },
			"a loop":   func() error { return os.Symlink(note, note) },
			"nothing":  func() error { return nil },
			"a track more": func() error {
				return os.WriteFile(note, []byte(`{"v":1,"begun":"2000-01-01T00:00:00Z","next":{"track":"ec-a","group":7}}`), 0o600)
			},
		} {
			if err := errors.Join(os.RemoveAll(note), do()); err != nil {
				t.Fatal(err)
			}
			s := &Scrub{Store: h.st, Rate: 100 << 20, File: note}
			scrubbing(t, s, over)()
			if p := s.Progress(); p.Groups != n || p.Bad != 0 {
				t.Errorf("%s: %+v", what, p)
			}
		}
	})
}

// TestScrubAndClock: a pass begins a day after the one before did, and at once if the clock was set back; it does not begin again and again.
func TestScrubAndClock(t *testing.T) {
	now := time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) Scrubbed { at := now.Add(-d); return Scrubbed{Begun: at, Over: &at} }
	for what, c := range map[string]struct {
		p    Scrubbed
		want bool
	}{
		"none yet":            {Scrubbed{}, true},
		"under way":           {Scrubbed{Begun: now.Add(-time.Hour)}, true},
		"over":                {ago(time.Hour), false},
		"over since a day":    {ago(24 * time.Hour), true},
		"the clock went back": {ago(-time.Hour), true},
	} {
		s := &Scrub{p: c.p}
		if got := s.due(now); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		h := stocked(t, t.TempDir(), 3, store.Config{})
		var passes atomic.Int64
		s := &Scrub{Store: h.st, Rate: 1 << 20, Logger: slog.New(slog.NewTextHandler(counting{&passes, "compared with their hashes"}, nil))}
		ctx, cancel := context.WithTimeout(t.Context(), 71*time.Hour)
		defer cancel()
		s.Run(ctx)
		if passes.Load() != 3 {
			t.Errorf("%d passes in 71 hours", passes.Load())
		}
	})
}

// counting counts the lines of a log that contain something.
type counting struct {
	n    *atomic.Int64
	what string
}

func (c counting) Write(b []byte) (int, error) {
	if strings.Contains(string(b), c.what) {
		c.n.Add(1)
	}
	return len(b), nil
}
