package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Store is a folder of group files. Its methods may be called concurrently.
type Store struct {
	c    Config
	dir  string // folder of the groups
	lock *os.File

	mu     sync.RWMutex
	tracks map[string]*Track              // by written name
	idle   map[string]weak.Pointer[Track] // forgotten tracks; as long as anybody holds one, it stays the only one with its name
	swept  int                            // how many of these there were when the dead ones were dropped

	queueMu sync.Mutex
	queue   []*group      // whole groups that wait for sync and their final name
	wake    chan struct{} // has a value when queue may not be empty

	finishMu sync.Mutex // one goroutine at a time makes groups final, removes or compresses them
	closed   atomic.Bool
	bytes    atomic.Int64
	ruled    []atomic.Int64          // bytes under each of Config.Rules
	trouble  atomic.Pointer[trouble] // the last write that failed
	stats    struct{ stored, duplicate, conflict, removed, full atomic.Int64 }
}

// Stats counts what happened since Open, and what is stored.
type Stats struct {
	Stored, Duplicate, Conflict int64 // results of Put
	Removed                     int64 // groups, by retention
	Full                        int64 // objects refused because the disk was full
	Bytes                       int64 // of all group files
	Tracks, Groups              int
}

// Open opens the store in dir, makes it if dir is empty or does not exist, and repairs what a crash left.
func Open(dir string, c Config) (*Store, error) {
	s := &Store{ruled: make([]atomic.Int64, len(c.Rules)), c: c.withDefaults(), dir: filepath.Join(dir, groupsDir), tracks: make(map[string]*Track), idle: make(map[string]weak.Pointer[Track]), wake: make(chan struct{}, 1)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, exit.With(exit.IO, fmt.Errorf("store: %w", err), "")
	}
	if err := s.acquire(dir); err != nil {
		return nil, err
	}
	err := os.Mkdir(s.dir, 0o755)
	if err == nil {
		err = syncDir(dir)
	} else if os.IsExist(err) {
		err = s.recover()
	}
	if err != nil {
		return nil, errors.Join(exit.With(exit.IO, fmt.Errorf("store: %w", err), ""), s.lock.Close())
	}
	return s, nil
}

// Exists reports whether there is a store in dir that this process may open.
func Exists(dir string) bool {
	if st, err := os.Stat(filepath.Join(dir, groupsDir)); err != nil || !st.IsDir() {
		return false
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0)
	return err == nil && f.Close() == nil
}

// acquire takes a lock that ends with the process, even if it is killed, and checks the version in the file.
func (s *Store) acquire(dir string) error {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // whoever may read the file could hold the lock
	if err != nil {
		return exit.With(exit.IO, fmt.Errorf("store: %w", err), "")
	}
	if st, err := f.Stat(); err == nil && st.Mode().Perm()&0o077 != 0 {
		if err := f.Chmod(0o600); err != nil {
			s.c.Logger.Warn("others may hold the lock", "path", path, "err", err)
		}
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return locked(dir)
		}
		return exit.With(exit.IO, fmt.Errorf("store: lock %s: %w", path, err), "")
	}
	b := make([]byte, 64)
	n, _ := f.ReadAt(b, 0)
	switch got := string(b[:n]); {
	case got == format:
	case got == "":
		if _, err := os.Stat(s.dir); err == nil {
			f.Close()
			return notAStore(dir, "groups without a version")
		}
		if _, err := f.WriteAt([]byte(format), 0); err != nil {
			f.Close()
			return exit.With(exit.IO, fmt.Errorf("store: %w", err), "")
		}
	default:
		f.Close()
		return notAStore(dir, fmt.Sprintf("version %q", strings.TrimSpace(got)))
	}
	s.lock = f
	return nil
}

// Run gives whole groups their final names, removes and compresses old ones, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.c.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.Flush()
		case <-s.wake:
			if err := s.Flush(); err != nil {
				s.c.Logger.Error("whole groups kept under their partial names", "err", err)
			}
		case <-tick.C:
			if err := s.Maintain(); err != nil {
				s.c.Logger.Error("store maintenance", "err", err)
			}
		}
	}
}

// Flush syncs all whole groups and gives them their final names.
func (s *Store) Flush() error {
	s.finishMu.Lock()
	defer s.finishMu.Unlock()
	s.queueMu.Lock()
	queue := s.queue
	s.queue = nil
	s.queueMu.Unlock()
	errs := make([]error, len(queue))
	var finishing errgroup.Group
	finishing.SetLimit(8) // syncs wait for the disk, which can do several at a time
	for i, g := range queue {
		finishing.Go(func() error {
			if err := g.finish(); err != nil {
				errs[i] = fmt.Errorf("group %d of %v: %w", g.id, g.t.name, err)
			}
			return nil
		})
	}
	finishing.Wait()
	dirs := make(map[string]bool)
	for i, g := range queue {
		if errs[i] == nil {
			dirs[g.dir()] = true
			continue
		}
		s.queueMu.Lock()
		s.queue = append(s.queue, g) // Maintain tries again
		s.queueMu.Unlock()
	}
	for dir := range dirs {
		if err := syncDir(dir); err != nil && !os.IsNotExist(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *Store) enqueue(g *group) {
	s.queueMu.Lock()
	s.queue = append(s.queue, g)
	s.queueMu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close flushes and releases the folder. Readers that are open stay usable.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.Flush()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.tracks {
		t.mu.Lock()
		for _, g := range t.groups {
			g.closeFile()
		}
		t.mu.Unlock()
	}
	return errors.Join(err, s.lock.Close())
}

// Track returns the handle of a track, which may be empty.
func (s *Store) Track(name object.TrackName) *Track {
	key := name.String()
	s.mu.RLock()
	t := s.tracks[key]
	s.mu.RUnlock()
	if t != nil {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t = s.tracks[key]; t == nil {
		t = s.idle[key].Value()
		delete(s.idle, key)
	}
	if t == nil {
		t = &Track{s: s, name: object.TrackName{Namespace: slices.Clone(name.Namespace), Name: name.Name}, groups: make(map[uint64]*group)}
		t.rule = s.c.rule(t.name.Namespace)
	}
	t.forgotten.Store(false)
	s.tracks[key] = t
	return t
}

// Forget drops the handle of a track without objects. A caller that holds the handle may go on using it.
func (s *Store) Forget(name object.TrackName) {
	key := name.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tracks[key]; t != nil && t.empty() {
		t.forgotten.Store(true)
		delete(s.tracks, key)
		s.idle[key] = weak.Make(t)
	}
	if len(s.idle) > 2*s.swept+64 {
		maps.DeleteFunc(s.idle, func(_ string, t weak.Pointer[Track]) bool { return t.Value() == nil })
		s.swept = len(s.idle)
	}
}

// Lookup returns the handle of a track that holds objects, or nil.
func (s *Store) Lookup(name object.TrackName) *Track {
	s.mu.RLock()
	t := s.tracks[name.String()]
	s.mu.RUnlock()
	if t == nil || t.empty() {
		return nil
	}
	return t
}

// Tracks returns the names of all tracks that hold objects, in order of their written form.
func (s *Store) Tracks() []object.TrackName {
	var names []object.TrackName
	for _, t := range s.all() {
		if !t.empty() {
			names = append(names, t.name)
		}
	}
	return names
}

func (s *Store) all() []*Track {
	s.mu.RLock()
	defer s.mu.RUnlock()
	keys := make([]string, 0, len(s.tracks))
	for k := range s.tracks {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	tracks := make([]*Track, len(keys))
	for i, k := range keys {
		tracks[i] = s.tracks[k]
	}
	return tracks
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	st := Stats{Stored: s.stats.stored.Load(), Duplicate: s.stats.duplicate.Load(), Conflict: s.stats.conflict.Load(),
		Removed: s.stats.removed.Load(), Full: s.stats.full.Load(), Bytes: s.bytes.Load()}
	for _, t := range s.all() {
		t.mu.Lock()
		if len(t.ids) > 0 {
			st.Tracks++
			st.Groups += len(t.ids)
		}
		t.mu.Unlock()
	}
	return st
}
