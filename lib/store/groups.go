package store

import (
	"fmt"
	"slices"
)

// Groups describes the groups from…to, inclusive, in ascending order.
func (t *Track) Groups(from, to uint64) []Info {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearch(t.ids, from)
	var infos []Info
	for ; i < len(t.ids) && t.ids[i] <= to; i++ {
		infos = append(infos, t.groups[t.ids[i]].info())
	}
	return infos
}

// Has reports whether anything is stored of a group.
func (t *Track) Has(id uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.groups[id] != nil
}

// Group describes one group.
func (t *Track) Group(id uint64) (Info, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[id]
	if g == nil {
		return Info{}, false
	}
	return g.info(), true
}

// Objects returns the ids of a group's objects, ascending, and whether the last one is its end.
func (t *Track) Objects(group uint64) (ids []uint64, ended bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[group]
	if g == nil {
		return nil, false, fmt.Errorf("group %d of %v: %w", group, t.name, ErrNotFound)
	}
	if err := g.load(); err != nil {
		return nil, false, fmt.Errorf("group %d of %v: %w", group, t.name, err)
	}
	t.touch(g)
	for _, e := range g.idx.entries {
		ids = append(ids, e.id)
	}
	return ids, g.idx.hasEnd, nil
}

// Next returns the first group at or after from.
func (t *Track) Next(from uint64) (Info, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearch(t.ids, from)
	if i == len(t.ids) {
		return Info{}, false
	}
	return t.groups[t.ids[i]].info(), true
}

// Newest returns the ids of the last n groups, or of all if there are fewer, ascending.
func (t *Track) Newest(n int) []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.ids[max(len(t.ids)-n, 0):])
}

// Largest returns the location of the last object of the last group; ends of groups count as objects.
func (t *Track) Largest() (group, id uint64, ok bool) {
	err := t.s.pool.withFiles(func() (err error) { group, id, ok, err = t.largest(); return err })
	return group, id, ok && err == nil
}

// largest skips groups that cannot be read. An error says that there are no descriptors.
func (t *Track) largest() (group, id uint64, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.ids) - 1; i >= 0; i-- {
		g := t.groups[t.ids[i]]
		if err := g.load(); noFiles(err) {
			return 0, 0, false, err
		} else if err != nil {
			i = min(i, len(t.ids)) // it, and others, may have been removed by somebody else
			continue
		}
		t.touch(g)
		if n := len(g.idx.entries); n > 0 {
			return g.id, g.idx.entries[n-1].id, true, nil
		}
	}
	return 0, 0, false, nil
}

// Count counts the groups from…to, inclusive.
func (t *Track) Count(from, to uint64) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearch(t.ids, from)
	j, found := slices.BinarySearch(t.ids, to)
	if found {
		j++
	}
	return max(j-i, 0)
}
