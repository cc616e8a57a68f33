package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
)

// compressPerRound bounds how long one round of Maintain takes.
const compressPerRound = 64

// compress makes .eco.zst of whole groups that have gone cold.
func (s *Store) compress() error {
	after := s.keep.Load().CompressAfter
	if after <= 0 {
		return nil
	}
	before := s.c.now().Add(-after).UnixNano()
	var cold []*group
	for _, t := range s.all() {
		t.mu.Lock()
		for _, id := range t.ids {
			if g := t.groups[id]; g.state == complete && !g.zstd && !g.tiered && g.mtime < before && len(cold) < compressPerRound {
				cold = append(cold, g)
			}
		}
		t.mu.Unlock()
	}
	var errs []error
	for _, g := range cold {
		if err := g.compress(); err != nil {
			errs = append(errs, fmt.Errorf("compress group %d of %v: %w", g.id, g.t.name, err))
		}
	}
	return errors.Join(errs...)
}

// compress replaces the file by a compressed one. finishMu is held, so nobody else makes a file of the group final meanwhile; but the
// group may be set aside, or forgotten because its file is gone, and then begin anew.
func (g *group) compress() error {
	whole, final := g.path(extWhole), g.path(extZstd)
	temp := final + extTemp
	size, err := writeZstd(temp, whole, time.Unix(0, g.mtime))
	t := g.t
	t.mu.Lock()
	dropped := g.state != complete || t.groups[g.id] != g
	if !dropped && err == nil {
		if err = os.Rename(temp, final); err == nil {
			g.zstd = true
			g.resize(size)
			err = os.Remove(whole)
		}
	}
	t.mu.Unlock()
	switch {
	case dropped:
		os.Remove(temp)
		return nil
	case !g.zstd:
		return errors.Join(err, os.Remove(temp))
	}
	return errors.Join(err, syncDir(filepath.Dir(final)))
}

func writeZstd(to, from string, mtime time.Time) (size int64, err error) {
	src, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	z, err := zstd.NewWriter(dst, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err == nil {
		_, err = io.Copy(z, src)
		err = errors.Join(err, z.Close())
	}
	if err == nil {
		err = dst.Sync()
	}
	fi, serr := dst.Stat()
	if err = errors.Join(err, serr, dst.Close()); err != nil {
		return 0, err
	}
	return fi.Size(), os.Chtimes(to, mtime, mtime)
}
