package tune

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"every.channel/ec/lib/catalog"
)

// startHealth keeps the record of the tuner in a file until stop is called, which removes the file. The file is replaced as a whole, so a reader finds
// one record, always a whole one, and the file does not grow.
func (r *receiver) startHealth(ctx context.Context) (stop func(), err error) {
	if err := r.writeHealth(ctx); err != nil {
		return nil, err // a path that cannot be written is told at once
	}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		failed, heard, last := false, false, time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			// The first bytes are told of soon.
			if begins := !heard && r.tap.heard.Load() > 0; !begins && time.Since(last) < catalog.TunerEvery {
				continue
			}
			heard, last = r.tap.heard.Load() > 0, time.Now()
			err := r.writeHealth(ctx)
			if err != nil && !failed { // the stream matters more than what is told of it
				r.cfg.Log.Error("the record of the tuner cannot be written", "file", r.cfg.Health, "err", err)
			}
			failed = err != nil
		}
	})
	return func() {
		cancel()
		done.Wait()
		if err := os.Remove(r.cfg.Health); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.cfg.Log.Warn("the record of the tuner cannot be removed", "file", r.cfg.Health, "err", err)
		}
	}, nil
}

// tuner returns what is known of the tuner now.
func (r *receiver) tuner(ctx context.Context) catalog.Tuner {
	c := r.tap.snapshot()
	t := catalog.Tuner{
		Bytes: r.tap.bytes.Load(), Lost: r.tap.lost.Load() + r.tap.pastLost.Load(), TEI: r.tap.tei.Load() + r.tap.pastTEI.Load(),
		Gaps: r.tap.gaps.Load(), Datagrams: r.tap.pastDatagrams.Load(),
	}
	if c.report != nil {
		t.Datagrams += c.report().datagrams
	}
	if s, ok := askSignal(ctx, c); ok {
		t.Strength, t.Quality, t.Symbol = percent(s.Strength), percent(s.Quality), percent(s.SymbolQuality)
	}
	now := time.Now()
	if heard := r.tap.heard.Load(); heard > 0 {
		t.Silent = float64(now.Sub(time.Unix(0, heard)).Milliseconds()) / 1000
	}
	t.UTC = catalog.TimeOf(now)
	return t
}

// percent returns what a device says in percent; nil if it says nothing, or nonsense.
func percent(n int) *int {
	if n < 0 || n > 100 {
		return nil
	}
	return &n
}

func (r *receiver) writeHealth(ctx context.Context) error {
	b, err := r.tuner(ctx).Append(nil)
	if err != nil {
		return err
	}
	return replace(r.cfg.Health, b)
}

// replace writes a file beside the one of that name, and puts the new one in its place. It need not outlive a loss of power.
func replace(name string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
