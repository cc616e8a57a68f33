package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"every.channel/ec/lib/object"
)

const (
	// troubleTime is how long the store takes no copies after something could not be written: the disk's free bytes show neither
	// a quota nor space that is reserved for other users.
	troubleTime = time.Minute
	// mostReserve is the most of a disk that is reserved for live objects. Of a smaller disk, and of every other bound, a
	// sixteenth is reserved.
	mostReserve = 1 << 30
	reserve     = 16
)

// trouble is a write that failed for a reason that concerns the whole disk.
type trouble struct {
	err error
	at  time.Time
}

// Pause says that objects cannot be stored at the moment.
type Pause struct {
	Why     string
	Since   time.Time
	Objects int64 // that were not stored since
	last    time.Time
}

// calm is how long no write may have failed before a pause is over: small objects may find room where others do not.
const calm = 10 * time.Second

// hurt notes that an object was not stored. If that is for one bad part of the store, the part is left out, and all else goes on; otherwise
// storing pauses, which is logged, and copies with it.
func (s *Store) hurt(err error) {
	path := (*fs.PathError)(nil)
	whole := isFull(err) || noFiles(err) || errors.Is(err, errAway) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO)
	if !whole {
		if errors.As(err, &path) {
			s.leaveOut(path.Path, err)
		}
		return
	}
	now := s.c.now()
	if !noFiles(err) {
		s.trouble.Store(&trouble{err, now})
	}
	s.pauseMu.Lock()
	defer s.pauseMu.Unlock()
	if s.pause == nil {
		s.pause = &Pause{Why: err.Error(), Since: now}
		s.pausing.Store(true)
		s.c.Logger.Error("storing paused, what is live goes on", "err", err)
	}
	s.pause.Objects++
	s.pause.last = now
}

// stored notes that an object was stored.
func (s *Store) stored() {
	s.stats.stored.Add(1)
	if !s.pausing.Load() {
		return
	}
	s.pauseMu.Lock()
	defer s.pauseMu.Unlock()
	if p := s.pause; p != nil && s.c.now().Sub(p.last) >= calm {
		s.c.Logger.Warn("storing goes on", "paused", s.c.now().Sub(p.Since).Round(time.Second), "not_stored", p.Objects)
		s.pause = nil
		s.pausing.Store(false)
	}
}

// Paused returns why objects cannot be stored, and since when; nil: they can, as far as is known.
func (s *Store) Paused() *Pause {
	s.pauseMu.Lock()
	defer s.pauseMu.Unlock()
	if s.pause == nil {
		return nil
	}
	p := *s.pause
	return &p
}

// Room returns nil if copies of other relays' groups may be stored in a namespace without removing anything, with some room left
// for live objects; otherwise it returns why not.
func (s *Store) Room(ns object.Namespace) error {
	if t := s.trouble.Load(); t != nil && s.c.now().Sub(t.at) < troubleTime {
		return t.err
	}
	near := func(have, bound int64) bool { return bound > 0 && have >= bound-bound/reserve }
	c := s.keep.Load()
	if near(s.bytes.Load(), c.MaxBytes) {
		return fmt.Errorf("%w: the store is near its bound of %d bytes", ErrFull, c.MaxBytes)
	}
	if rule := c.rule(ns); rule >= 0 && near(c.ruled[rule].Load(), c.Rules[rule].MaxBytes) {
		return fmt.Errorf("%w: %v is near its bound of %d bytes", ErrFull, c.Rules[rule].Prefix, c.Rules[rule].MaxBytes)
	}
	return s.diskRoom()
}

// Free returns nil if the disk has some room besides what live objects may need, whatever the bounds of the store; otherwise it returns
// why not.
func (s *Store) Free() error {
	if t := s.trouble.Load(); t != nil && s.c.now().Sub(t.at) < troubleTime {
		return t.err
	}
	return s.diskRoom()
}

func (s *Store) diskRoom() error {
	free, size, err := s.c.disk(s.dir)
	if err == nil && free < min(size/reserve, mostReserve) {
		err = fmt.Errorf("%w: %d bytes are free on the disk", ErrFull, free)
	}
	return err
}

// diskOf returns how many bytes are free on the disk of a folder, and how many there are in all.
func diskOf(dir string) (free, size int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}
