package archive

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// TestScrubAndRetention: groups that go while the scrub reads are not damaged, and nobody is asked for them; nor for those of a folder that is away.
func TestScrubAndRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := stocked(t, dir, 50, store.Config{})
		s := &Scrub{Store: h.st, Rate: perGroup, Heal: h.heal}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx) })
		for s.Progress().Over == nil {
			time.Sleep(500 * time.Millisecond)
			at := uint64(s.Progress().Groups)
			if _, _, err := h.st.Track(video).Delete(func(i store.Info) bool { return i.Group == at+1 || i.Group == at+2 && at%3 == 0 }); err != nil {
				t.Fatal(err)
			}
		}
		if p := s.Progress(); p.Bad != 0 || h.asked.Load() != 0 || p.Groups == 0 || p.Groups >= 50 {
			t.Errorf("%+v", p)
		}
		groups := filepath.Join(dir, "groups")
		if err := os.Rename(groups, groups+"-away"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(scrubEvery + time.Hour)
		if err := os.Rename(groups+"-away", groups); err != nil {
			t.Fatal(err)
		}
		cancel()
		running.Wait()
		left := h.st.Track(video).Groups(0, object.MaxVarint)
		if p := s.Progress(); p.Bad != 0 || h.asked.Load() != 0 || len(left) == 0 {
			t.Errorf("%+v, %d groups", p, len(left))
		}
	})
}

// TestScrubOfABadDisk: where everything looks damaged and nobody has it, little is set aside, and the scrub rests; where it is healed, it goes on.
func TestScrubOfABadDisk(t *testing.T) {
	for _, away := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			const n = 3 * mostInSuccession
			h := stocked(t, dir, n, store.Config{})
			h.away.Store(away)
			for id := range uint64(n) {
				if err := wrongs["a bit"](path(t, dir, id+1)); err != nil {
					t.Fatal(err)
				}
			}
			s := &Scrub{Store: h.st, Rate: 10 << 20, Heal: h.heal}
			stop := scrubbing(t, s, func(p Scrubbed) bool { return p.Paused != "" || p.Over != nil })
			p := s.Progress()
			aside, err := filepath.Glob(filepath.Join(dir, "groups", "*", "*", "*", "*.damaged"))
			if want := map[bool]int{true: mostInSuccession, false: n}[away]; err != nil || p.Bad != int64(want) || len(aside) != want || (p.Over != nil) == away {
				t.Errorf("away %v: %d set aside, %+v", away, len(aside), p)
			}
			if away {
				time.Sleep(2*scrubRest + time.Minute)
				if p := s.Progress(); p.Over == nil || p.Bad != n || len(p.Waiting) != n {
					t.Errorf("two hours later: %d damaged, %d wait, over %v", p.Bad, len(p.Waiting), p.Over)
				}
			}
			stop()
		})
	}
}

// TestScrubOfWhatCannotBeMended: a group that cannot be set aside stays, is told, and stops nothing; so does a note that cannot be written.
func TestScrubOfWhatCannotBeMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := stocked(t, dir, 5, store.Config{})
		if err := errors.Join(h.st.Close(), wrongs["a bit"](path(t, dir, 3))); err != nil {
			t.Fatal(err)
		}
		var stays, unnoted atomic.Int64
		log := slog.New(slog.NewTextHandler(io.MultiWriter(counting{&stays, "stays where it is"}, counting{&unnoted, "not noted"}), nil))
		s := &Scrub{Store: open(t, dir, store.Config{ReadOnly: true}), Rate: 1 << 20, Heal: h.heal, Logger: log, File: filepath.Join(dir, "none", "note")}
		h.away.Store(true)
		scrubbing(t, s, over)()
		if p := s.Progress(); p.Bad != 1 || p.Groups != 5 || stays.Load() != 1 || unnoted.Load() != 1 {
			t.Errorf("%+v, %d stay, %d not noted", p, stays.Load(), unnoted.Load())
		}
		if list, err := os.ReadDir(filepath.Dir(path(t, dir, 3))); err != nil || slices.ContainsFunc(list, func(e os.DirEntry) bool { return strings.Contains(e.Name(), "damaged") }) {
			t.Errorf("%v, %v", list, err)
		}
	})
}

// TestScrubAmongWriters: objects come, groups get their names, go cold and go while the scrub reads as fast as it can: it finds nothing wrong.
func TestScrubAmongWriters(t *testing.T) {
	dir := t.TempDir()
	h := stocked(t, dir, 20, store.Config{CompressAfter: time.Nanosecond, MaxBytes: 1 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	s := &Scrub{Store: h.st, Rate: 1 << 40, Heal: h.heal}
	s.Logger = slog.New(slog.DiscardHandler)
	working.Go(func() {
		for ctx.Err() == nil {
			s.pass(ctx)
		}
	})
	working.Go(func() {
		for ctx.Err() == nil {
			if err := h.st.Maintain(); err != nil {
				t.Error(err)
			}
		}
	})
	for id := range uint64(300) {
		h.make(t, 21+id)
	}
	cancel()
	working.Wait()
	if p := s.Progress(); p.Bad != 0 || h.asked.Load() != 0 {
		t.Errorf("%+v", p)
	}
}

// TestScrubOfAGroupThatGoesCold: a group that gets another file while it is read, and whose old one was closed for want of a place, is read again.
func TestScrubOfAGroupThatGoesCold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &healer{st: open(t, t.TempDir(), store.Config{CompressAfter: time.Second, MaxOpen: 4}), bytes: 1 << 20}
		for id := range uint64(6) {
			h.make(t, id+1)
		}
		if err := h.st.Flush(); err != nil {
			t.Fatal(err)
		}
		s := &Scrub{Store: h.st, Rate: perGroup, Heal: h.heal}
		stop := scrubbing(t, s, func(p Scrubbed) bool { return p.Next != nil })
		defer stop()
		time.Sleep(5 * time.Second) // it has read an object of group 1, and waits
		if err := h.st.Maintain(); err != nil {
			t.Fatal(err)
		}
		for id := range uint64(4) {
			r, err := h.st.Track(video).Open(id+3, 0)
			if err == nil {
				_, err = r.Next()
				defer r.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for s.Progress().Over == nil {
			time.Sleep(time.Second)
		}
		if p := s.Progress(); p.Groups != 6 || p.Bad != 0 {
			t.Errorf("%d groups, %d bad", p.Groups, p.Bad)
		}
	})
}
