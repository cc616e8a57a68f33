package store

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"
)

// Config holds what a store needs to know. The zero value keeps everything for ever.
type Config struct {
	// MaxAge is how long after it was last written a group is removed. Default 0: never.
	MaxAge time.Duration
	// MaxBytes bounds the bytes of all group files; the oldest go first. Default 0: no bound.
	MaxBytes int64
	// Rules replace both bounds for namespaces with a prefix; the longest prefix that fits decides. A zero in a rule means no
	// bound, and not the store's bound. Bytes that a rule bounds still count towards the store's MaxBytes.
	Rules []Rule
	// CompressAfter is how long after it was last written a whole group is compressed with zstd. Default 0: never, because coded
	// video hardly shrinks.
	CompressAfter time.Duration
	// Tier is where whole groups go when they are old. Default: nowhere.
	Tier Tier
	// TierAfter is how long after it was last written a whole group moves to the tier. Default 0: at once.
	TierAfter time.Duration
	// TierMaxAge replaces MaxAge for whole groups, in the tier or not, where no rule names an age. Default 0: MaxAge; negative: for ever.
	TierMaxAge time.Duration
	// MaxOpen bounds how many group files are open at a time for writing and reading, however many tracks and groups there are.
	// Default: a quarter of the files that the process may have open, at most 1024.
	MaxOpen int
	// ReadOnly opens a store to look at it: nothing in its folder is changed, and nothing can be stored.
	ReadOnly bool
	// NoIndex leaves the index as it is: for whoever opens a store to do one thing in it, perhaps as another user.
	NoIndex bool
	// Interval is how often Run looks for groups to remove or compress. Default 10 s.
	Interval time.Duration
	// Logger gets events of recovery and retention. Default: none.
	Logger *slog.Logger

	leastIndexed int                      // groups of a store that has an index; tests set these
	settled      time.Duration            // how long a folder must not have changed to be indexed
	now          func() time.Time         // tests set these, too
	fail         func(n int) (int, error) // may cut a write of n bytes short
	disk         func(dir string) (free, size int64, err error)
	fsType       func(dir string) uint32
	leastTiered  int64
	tierMemory   int64
}

// Rule is the retention of all namespaces with a prefix.
type Rule struct {
	Prefix   object.Namespace
	MaxAge   time.Duration
	MaxBytes int64
}

func (c Config) withDefaults() Config {
	if c.Interval <= 0 {
		c.Interval = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.leastIndexed <= 0 {
		c.leastIndexed = leastIndexed
	}
	if c.settled == 0 {
		c.settled = settled
	}
	if c.disk == nil {
		c.disk = diskOf
	}
	if c.fsType == nil {
		c.fsType = fsTypeOf
	}
	if c.leastTiered <= 0 {
		c.leastTiered = leastTiered
	}
	if c.tierMemory <= 0 {
		c.tierMemory = tierMemory
	}
	return c
}

// removes reports whether the configuration allows anything to be removed.
func (c Config) removes() bool {
	if c.MaxAge > 0 || c.MaxBytes > 0 || c.Tier != nil && c.tierAge() > 0 {
		return true
	}
	for _, r := range c.Rules {
		if r.MaxAge > 0 || r.MaxBytes > 0 {
			return true
		}
	}
	return false
}

// rule returns the index of the rule for a namespace, -1 for the store's own bounds.
func (c Config) rule(ns object.Namespace) int {
	best := -1
	for i, r := range c.Rules {
		if ns.HasPrefix(r.Prefix) && (best < 0 || len(r.Prefix) >= len(c.Rules[best].Prefix)) {
			best = i
		}
	}
	return best
}

var (
	// ErrLocked: another process uses the folder.
	ErrLocked = errors.New("store is in use by another process")
	// ErrFormat: the folder is not a store, or one of another version.
	ErrFormat = errors.New("not a store of this version")
	// ErrFull: the disk or quota is full, and nothing may be removed to make room. Reading goes on.
	ErrFull = errors.New("no space left for objects")
	// ErrNotFound: no such track or group.
	ErrNotFound = errors.New("not in the store")
	// ErrDamaged: a group file does not hold the bytes that were stored.
	ErrDamaged = errors.New("group file is damaged")
	// ErrReadOnly: the store was opened to be looked at.
	ErrReadOnly = errors.New("store was opened read-only")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("store is closed")
)

func locked(dir string) error {
	return exit.With(exit.Busy, fmt.Errorf("%s: %w", dir, ErrLocked), "is another ec-relay running on this folder?")
}

func notAStore(dir, why string) error {
	return exit.With(exit.Config, fmt.Errorf("%s: %w: %s", dir, ErrFormat, why), "name an empty folder, or one that ec-relay made")
}
