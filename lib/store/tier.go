package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"every.channel/ec/lib/object"
)

// Tier is a bucket to which whole groups go when they are old (docs/format/tier.md). Its methods may be called concurrently. An error that is
// fs.ErrNotExist says that there is no object with the key, fs.ErrExist that there is one; any other says nothing about the object.
type Tier interface {
	// Stat describes an object.
	Stat(ctx context.Context, key string) (Tiered, error)
	// Put stores an object whole or not at all, and makes sure that it is stored as it is. Unless replace is set, it leaves an object that is
	// there as it is.
	Put(ctx context.Context, key string, b []byte, d Tiered, replace bool) error
	// Get returns the bytes of an object; more than most bytes are an error.
	Get(ctx context.Context, key string, most int64) ([]byte, Tiered, error)
	// Remove deletes objects. That one is not there is no error.
	Remove(ctx context.Context, keys []string) error
	// List returns the keys of objects behind one key in order, with their sizes and times, at most so many; fewer: there are no more.
	List(ctx context.Context, after string, most int) ([]TieredKey, error)
	// String names the bucket for people.
	String() string
}

// Tiered describes an object of a bucket.
type Tiered struct {
	Bytes   int64
	Sum     object.Hash // BLAKE3-256 of the bytes; zero: it is not known
	Written time.Time   // when the group was last written
}

// TieredKey is an object in a list. Written is when the object was put there.
type TieredKey struct {
	Key string
	Tiered
}

// Bounds of what goes into a tier, and of reading it.
const (
	// leastTiered is how many bytes a group has at least that goes into the tier. Smaller ones, such as those of catalog, manifest and timeline,
	// cost a request each, hardly take room, and are what lists and searches read.
	leastTiered = 64 << 10
	// mostTiered bounds the bytes of a group that goes into the tier, because it is read into memory.
	mostTiered = 64 << 20
	// tierMemory bounds the bytes of groups from the tier that lie in memory.
	tierMemory = 256 << 20
)

// errTier: the bucket could not be asked. It says nothing about a group.
var errTier = errors.New("the cold tier does not answer as it should")

// errNoTier: the store was opened without the bucket.
var errNoTier = fmt.Errorf("%w: no bucket is configured", errTier)

// key is the group's name in the bucket.
func (g *group) key() string {
	path, _ := filepath.Rel(g.t.s.dir, g.path(extWhole))
	return filepath.ToSlash(path)
}

// tierAge is how long a whole group is kept where no rule says so.
func (c Config) tierAge() time.Duration {
	switch {
	case c.TierMaxAge < 0:
		return 0
	case c.TierMaxAge > 0:
		return c.TierMaxAge
	}
	return c.MaxAge
}

// ageOf is how long a group under a rule is kept; 0: for ever.
func (c Config) ageOf(rule int, whole bool) time.Duration {
	if rule < 0 && whole && c.Tier != nil {
		return c.tierAge()
	}
	age, _ := c.bounds(rule)
	return age
}
