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
	// troubleTime is how long there is no room for copies after something could not be written: a quota, or what is kept for others
	// than this user, is not seen in the disk's free bytes.
	troubleTime = time.Minute
	// mostReserve bounds what of a disk is left to what is live; it is a sixteenth of a smaller one, as of every other bound.
	mostReserve = 1 << 30
	reserve     = 16
)

// trouble is something that could not be written.
type trouble struct {
	err error
	at  time.Time
}

// hurt notes what went wrong with the disk.
func (s *Store) hurt(err error) {
	if path := (*fs.PathError)(nil); isFull(err) || errors.As(err, &path) {
		s.trouble.Store(&trouble{err, s.c.now()})
	}
}

// Room returns nil if copies of what others have may be stored in a namespace without anything being removed for it, and with some room
// left to what is live; else why not.
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

// diskOf is how much is free where a folder is, and how much there is in all.
func diskOf(dir string) (free, size int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}
