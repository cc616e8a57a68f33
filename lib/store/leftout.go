package store

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
)

// mostLeftOut bounds the parts that are left out of which the store remembers which they are. Of mostCounted further ones it remembers only that
// they were counted.
const (
	mostLeftOut = 1000
	mostCounted = 1 << 20
)

// LeftOut is a file or folder in the store's folder that the store does without: it cannot be read, is damaged, or is no part of a store.
type LeftOut struct {
	Path string
	Why  string
}

// leaveOut notes that a part of the store is done without. It is logged the first time.
func (s *Store) leaveOut(path string, why error) {
	s.leftMu.Lock()
	_, known := s.leftOut[path]
	hash := maphash.String(s.leftSeed, path)
	more := !known && (len(s.leftOut) >= mostLeftOut || s.leftMore[hash])
	first := !known && (!more || !s.leftSaid)
	switch {
	case more && len(s.leftMore) < mostCounted:
		s.leftMore[hash], s.leftSaid = true, true
	case !more && !known:
		s.leftOut[path] = why.Error()
	}
	s.leftMu.Unlock()
	switch {
	case first && more:
		s.c.Logger.Warn("more parts of the store are left out; from here on they are only counted", "path", path, "err", why)
	case first:
		s.c.Logger.Warn("part of the store left out", "path", path, "err", why)
	}
}

// takeIn notes that nothing is left out any more at a path.
func (s *Store) takeIn(path string) {
	s.leftMu.Lock()
	defer s.leftMu.Unlock()
	delete(s.leftOut, path)
	if len(s.leftMore) > 0 {
		delete(s.leftMore, maphash.String(s.leftSeed, path))
	}
}

// LeftOut returns the parts of the store that are done without, in order of their paths, and how many there are. After the first thousand
// they are only counted.
func (s *Store) LeftOut() (list []LeftOut, n int) {
	s.leftMu.Lock()
	defer s.leftMu.Unlock()
	for path := range maps.Keys(s.leftOut) {
		list = append(list, LeftOut{path, s.leftOut[path]})
	}
	slices.SortFunc(list, func(a, b LeftOut) int { return cmp.Compare(a.Path, b.Path) })
	return list, len(list) + len(s.leftMore)
}
