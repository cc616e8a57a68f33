package store

import (
	"errors"
	"fmt"
	"io/fs"
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

// trouble is a write that failed.
type trouble struct {
	err error
	at  time.Time
}

// hurt notes that a write failed.
func (s *Store) hurt(err error) {
	if path := (*fs.PathError)(nil); !noFiles(err) && (isFull(err) || errors.Is(err, errAway) || errors.As(err, &path)) {
		s.trouble.Store(&trouble{err, s.c.now()})
	}
}

// Room returns nil if copies of other relays' groups may be stored in a namespace without removing anything, with some room left
// for live objects; otherwise it returns why not.
func (s *Store) Room(ns object.Namespace) error {
	if t := s.trouble.Load(); t != nil && s.c.now().Sub(t.at) < troubleTime {
		return t.err
	}
	near := func(have, bound int64) bool { return bound > 0 && have >= bound-bound/reserve }
	if near(s.bytes.Load(), s.c.MaxBytes) {
		return fmt.Errorf("%w: the store is near its bound of %d bytes", ErrFull, s.c.MaxBytes)
	}
	if rule := s.c.rule(ns); rule >= 0 && near(s.ruled[rule].Load(), s.c.Rules[rule].MaxBytes) {
		return fmt.Errorf("%w: %v is near its bound of %d bytes", ErrFull, s.c.Rules[rule].Prefix, s.c.Rules[rule].MaxBytes)
	}
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
