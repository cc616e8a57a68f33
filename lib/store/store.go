package store

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"

	"golang.org/x/sync/errgroup"
)

// Store is a folder of group files. Its methods may be called concurrently.
type Store struct {
	c    Config
	dir  string // folder of the groups
	pool *pool

	device uint64     // file system of the groups
	rootMu sync.Mutex // guards lock, and the making of folders that somebody removed
	lock   *os.File

	leftMu   sync.Mutex
	leftOut  map[string]string // what is done without, by path, and why
	leftMore map[uint64]bool   // hashes of the paths beyond these
	leftSaid bool              // that there are some
	leftSeed maphash.Seed

	mu     sync.RWMutex
	tracks map[string]*Track              // by written name
	idle   map[string]weak.Pointer[Track] // forgotten tracks; as long as anybody holds one, it stays the only one with its name
	swept  int                            // how many of these there were when the dead ones were dropped

	queueMu sync.Mutex
	queue   []*group      // whole groups that wait for sync and their final name
	wake    chan struct{} // has a value when queue may not be empty

	lostMu sync.Mutex
	lost   []Lost // groups that Lost has not returned yet

	indexMu sync.Mutex // guards folders once the store is open
	folders folders

	finishMu     sync.Mutex      // one goroutine at a time makes groups final, removes or compresses them
	unsynced     map[string]bool // folders in which a group got its final name, and which are not synced yet; finishMu guards it
	closed       atomic.Bool
	bytes        atomic.Int64
	tieredBytes  atomic.Int64 // in the tier
	tieredGroups atomic.Int64
	cold         *cold // reads what is there

	stubs     atomic.Uint64 // that were written, for the names of temporary files
	tierMu    sync.Mutex
	tierState TierState

	doomedMu sync.Mutex
	doomed   map[string]string       // what is to be deleted from the tier, by key, and the files that say so
	keep     atomic.Pointer[keeping] // what is kept, and how much of it there is
	withheld atomic.Pointer[Withheld]
	trouble  atomic.Pointer[trouble] // the last write that failed
	pausing  atomic.Bool             // pause is not nil
	pauseMu  sync.Mutex
	pause    *Pause // nil: objects can be stored
	stats    struct{ stored, duplicate, conflict, removed, full atomic.Int64 }
}

// Stats counts what happened since Open, and what is stored.
type Stats struct {
	Stored, Duplicate, Conflict int64 // results of Put
	Removed                     int64 // groups, by retention
	Full                        int64 // objects refused because the disk was full
	LeftOut                     int   // parts of the folder that are done without (LeftOut of the store)
	Bytes                       int64 // of all group files
	TierGroups                  int   // groups that lie in the tier
	TierBytes                   int64 // of them
	Tracks, Groups              int
}

// Open opens the store in dir, makes it if dir is empty or does not exist, and repairs what a crash left. What cannot be read is left out.
func Open(dir string, c Config) (*Store, error) {
	c = c.withDefaults()
	s := &Store{
		c: c, dir: filepath.Join(dir, groupsDir), pool: newPool(c.MaxOpen, c.Logger),
		tracks: make(map[string]*Track), idle: make(map[string]weak.Pointer[Track]), leftOut: make(map[string]string),
		leftMore: make(map[uint64]bool), leftSeed: maphash.MakeSeed(),
		folders: folders{seen: make(map[string]verified)}, unsynced: make(map[string]bool), wake: make(chan struct{}, 1),
		doomed: make(map[string]string),
	}
	s.keep.Store(newKeeping(c))
	s.cold = newCold(s)
	if c.ReadOnly {
		if st, err := os.Stat(s.dir); err != nil || !st.IsDir() {
			return nil, notAStore(dir, "no folder "+groupsDir+" in it")
		}
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, exit.With(exit.IO, fmt.Errorf("store: %w", err), "")
	}
	if err := s.acquire(dir); err != nil {
		return nil, err
	}
	st, err := os.Stat(dir)
	if err != nil {
		return nil, errors.Join(exit.With(exit.IO, fmt.Errorf("store: %w", err), ""), s.lock.Close())
	}
	s.device = device(st)
	if !c.ReadOnly {
		if err = os.Mkdir(s.dir, 0o755); err == nil {
			err = syncDir(dir)
		}
	}
	if err != nil && !os.IsExist(err) { // what is live can be served without
		s.c.Logger.Error("no folder for groups, nothing is stored until it can be made", "err", err)
	}
	if st, err := os.Stat(s.dir); err == nil {
		s.device = device(st)
	}
	s.recover()
	return s, nil
}

// Run gives whole groups their final names, removes and compresses old ones, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	var index sync.WaitGroup
	defer index.Wait()
	index.Go(func() { s.keepIndex(ctx) })
	if s.c.Tier != nil {
		index.Go(func() { s.keepTier(ctx) })
	}
	tick := time.NewTicker(s.c.Interval)
	defer tick.Stop()
	said := once{log: s.c.Logger, what: "store maintenance"}
	for {
		select {
		case <-ctx.Done():
			return s.Flush()
		case <-s.wake:
			said.tell(s.Flush())
		case <-tick.C:
			said.tell(s.Maintain())
		}
	}
}

// once logs an error when it begins and when it is over, and not each time that it is met.
type once struct {
	log  *slog.Logger
	what string
	last string
}

func (o *once) tell(err error) {
	switch {
	case err == nil && o.last != "":
		o.log.Info(o.what + " works again")
		o.last = ""
	case err != nil && o.last != err.Error():
		o.log.Error(o.what, "err", err)
		o.last = err.Error()
	}
}

// spell logs the first of errors in succession, whatever the others are, and when they are over.
type spell struct {
	log  *slog.Logger
	what string
	bad  bool
}

func (s *spell) tell(err error) {
	switch {
	case err == nil && s.bad:
		s.log.Info(s.what + " works again")
	case err != nil && !s.bad:
		s.log.Error(s.what, "err", err)
	case err != nil:
		s.log.Debug(s.what, "err", err)
	}
	s.bad = err != nil
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
	for i, g := range queue {
		if errs[i] == nil {
			s.unsynced[g.dir()] = true
			continue
		}
		s.queueMu.Lock()
		s.queue = append(s.queue, g) // Maintain tries again
		s.queueMu.Unlock()
	}
	for dir := range s.unsynced {
		err := syncDir(dir)
		if noFiles(err) && s.pool.shed() {
			err = syncDir(dir)
		}
		if err == nil || os.IsNotExist(err) {
			delete(s.unsynced, dir)
		} else {
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
	s.cold.close()
	err := s.Flush()
	if ierr := s.writeIndex(); ierr != nil {
		s.c.Logger.Warn("index of the store not written, the next start takes longer", "err", ierr)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.tracks {
		t.mu.Lock()
		for _, g := range t.groups {
			g.closeFile()
		}
		t.mu.Unlock()
	}
	s.rootMu.Lock()
	defer s.rootMu.Unlock()
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
		t.keep = s.keep.Load()
		t.rule = t.keep.rule(t.name.Namespace)
		if w := s.withheld.Load(); w != nil && w.Of != nil {
			t.apart = w.Of(t.name)
			t.some.Store(len(t.apart) > 0)
		}
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
	if t := s.tracks[key]; t != nil && t.nothing() {
		t.forgotten.Store(true)
		delete(s.tracks, key)
		s.idle[key] = weak.Make(t)
	}
	if len(s.idle) > 2*s.swept+64 {
		held := make(map[string]weak.Pointer[Track]) // a map that shrinks gives no memory back
		for key, t := range s.idle {
			if t.Value() != nil {
				held[key] = t
			}
		}
		s.idle, s.swept = held, len(held)
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
		Removed: s.stats.removed.Load(), Full: s.stats.full.Load(), Bytes: s.bytes.Load(), TierGroups: int(s.tieredGroups.Load()), TierBytes: s.tieredBytes.Load()}
	_, st.LeftOut = s.LeftOut()
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
