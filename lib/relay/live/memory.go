// Package live has the newest groups of tracks in memory, and rules what becomes of objects that several publishers bring.
//
// Objects come in by Track.Begin, Append, Put and Fail, whole or while they arrive. Each is compared with its hash, merged with what
// other publishers bring, and stored in a group file before it is whole in memory. A Follower says which groups one subscriber is to be
// sent, and a Cursor gives the objects of one group, from memory or from the store. The package knows no sessions and writes to nobody;
// docs/relay.md has the rules.
//
// A Track's mutex guards everything of a track. It is never held while the store is asked for anything, because the store may read a
// file, or wait for another goroutine that reads one.
package live

import (
	"log/slog"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// Config is what all tracks of a relay share.
type Config struct {
	CacheBytes int64         // bounds the payloads in memory of all tracks that have publishers; each may keep 8 MiB while they are few
	Stall      time.Duration // how long a group that nobody continues is waited for once there is a newer one
	Logger     *slog.Logger
	// Naming says what the group ids of a track stand for; nil: of this track nobody knows.
	Naming func(object.TrackName) Naming
	// MaxAhead is how far ahead of this machine's clock groups of such tracks may be; 0: any number.
	MaxAhead time.Duration
}

// Memory is that of a relay.
type Memory struct {
	Counts
	c      Config
	tracks atomic.Int64 // that have a publisher
	cache  atomic.Int64 // Config.CacheBytes, and
	stall  atomic.Int64 // Config.Stall, until Tune changes them
}

// Counts count what came in.
type Counts struct {
	Objects, Bytes        atomic.Int64 // new ones
	Duplicates, Conflicts atomic.Int64
	Refused               atomic.Int64 // for their own hash
	NotStored             atomic.Int64
	Quarantined           atomic.Int64 // homes, counted for each track
	Apart                 atomic.Int64 // objects of groups that do not fit
}

// New makes a memory without tracks.
func New(c Config) *Memory {
	m := &Memory{c: c}
	m.Tune(c.CacheBytes, c.Stall)
	return m
}

// Tune replaces Config.CacheBytes and Config.Stall.
func (m *Memory) Tune(cache int64, stall time.Duration) {
	m.cache.Store(cache)
	m.stall.Store(int64(stall))
}

// stallWait is how long a group that nobody continues is waited for.
func (m *Memory) stallWait() time.Duration { return time.Duration(m.stall.Load()) }

// LiveTracks returns how many tracks have a publisher.
func (m *Memory) LiveTracks() int64 { return m.tracks.Load() }

// perTrack returns how many bytes of payload a track may keep in memory: its share of the cache, or 8 MiB while all tracks together then keep
// 1 GiB, or four times the cache, at most.
func (m *Memory) perTrack() int64 {
	cache, n := m.cache.Load(), max(m.tracks.Load(), 1)
	return max(cache/n, min(8<<20, max(4*cache, 1<<30)/n))
}

// Files is the store's side of one track, which *store.Track is.
type Files interface {
	PutFrom(from store.Origin, o *object.Object, sum object.Hash) (store.Result, error)
	Open(group, from uint64) (*store.Reader, error)
	Has(group uint64) bool
	Wants(group, id uint64) bool
	Next(from uint64) (store.Info, bool)
	Count(from, to uint64) int
	Groups(from, to uint64) []store.Info
	Largest() (group, id uint64, ok bool)
	Clear() error
	// Withheld reports whether a group is neither taken nor served, and Takes whether an object with a hash may be taken for a group.
	Withheld(group uint64) bool
	Takes(group uint64, hash object.Hash) bool
}
