package live

import (
	"slices"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// Withhold takes out of memory what the store withholds, looks again at what it has, and wakes all who follow the track. What is on its way is broken off.
func (t *Track) Withhold() {
	t.mu.Lock()
	var loading []chan struct{} // what is read from now on, the store has looked at already
	for _, g := range t.groups {
		if g.loading != nil {
			loading = append(loading, g.loading)
		}
	}
	t.mu.Unlock()
	for _, loaded := range loading {
		<-loaded
	}
	t.mu.Lock()
	hashes := make(map[uint64][]object.Hash)
	for id, g := range t.groups {
		hashes[id] = g.hashes()
	}
	largest := t.largest
	t.mu.Unlock()
	var gone []uint64
	for id, list := range hashes { // without the mutex, because the store is asked
		if t.files.Withheld(id) || slices.ContainsFunc(list, func(h object.Hash) bool { return !t.files.Takes(id, h) }) {
			gone = append(gone, id)
		}
	}
	lost := largest != nil && (slices.Contains(gone, largest.Group) || t.files.Withheld(largest.Group))
	var stored *moqt.Location
	if g, id, ok := t.files.Largest(); ok {
		stored = &moqt.Location{Group: g, Object: id}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range gone {
		if g := t.groups[id]; g != nil {
			for _, o := range slices.Clone(g.objs) {
				t.breakOff(o)
			}
			t.drop(g)
		}
	}
	if lost && t.largest != nil && *t.largest == *largest {
		t.largest = nil
		for id, g := range t.groups { // what could not be stored is only here
			if n := len(g.objs); n > 0 {
				t.largest = later(t.largest, &moqt.Location{Group: id, Object: g.objs[n-1].ID})
			}
		}
	}
	t.largest = later(t.largest, stored) // what is not withheld any more may be later
	t.wake()
}

// hashes are those of a group's payloads, as far as they are known. The track's mutex is held.
func (g *group) hashes() (list []object.Hash) {
	for _, o := range g.objs {
		if p, err := object.ParseProperties(o.Properties); err == nil && p.HasHash {
			list = append(list, p.Hash)
		} else if o.whole() && o.Status == object.Normal {
			list = append(list, object.Sum(o.Payload))
		}
	}
	return list
}
