package store

import (
	"sync/atomic"
)

// keeping is what a store keeps, by a configuration that Keep may replace, and how many bytes lie under each of its rules.
type keeping struct {
	Config
	ruled []atomic.Int64 // of Config.Rules
}

func newKeeping(c Config) *keeping {
	return &keeping{Config: c, ruled: make([]atomic.Int64, len(c.Rules))}
}

// Kept returns the configuration with what Keep changed last.
func (s *Store) Kept() Config { return s.keep.Load().Config }

// Keep takes over from a configuration how long and how much is kept: MaxAge, MaxBytes, Rules, CompressAfter, TierAfter and TierMaxAge. Groups
// that are not to be kept any more go with the next round of Run.
func (s *Store) Keep(c Config) {
	s.finishMu.Lock() // so nobody removes by two configurations
	defer s.finishMu.Unlock()
	n := s.Kept()
	n.MaxAge, n.MaxBytes, n.Rules, n.CompressAfter, n.TierAfter, n.TierMaxAge = c.MaxAge, c.MaxBytes, c.Rules, c.CompressAfter, c.TierAfter, c.TierMaxAge
	keep := newKeeping(n)
	s.mu.Lock()
	s.keep.Store(keep) // of tracks that come from now on
	tracks := make([]*Track, 0, len(s.tracks))
	for _, t := range s.tracks {
		tracks = append(tracks, t)
	}
	for _, t := range s.idle { // whoever holds one may store in it
		if t := t.Value(); t != nil {
			tracks = append(tracks, t)
		}
	}
	s.mu.Unlock()
	for _, t := range tracks {
		t.mu.Lock()
		t.keep, t.rule = keep, keep.rule(t.name.Namespace)
		for _, groups := range []map[uint64]*group{t.groups, t.held} {
			for _, g := range groups {
				if t.rule >= 0 && !g.tiered {
					keep.ruled[t.rule].Add(g.size)
				}
			}
		}
		t.mu.Unlock()
	}
}
