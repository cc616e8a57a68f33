package mesh

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"every.channel/ec/lib/object"
)

// A relay, or a publisher with a memory, lists the groups that it has of a track when it is asked with a FETCH (docs/format/chain.md).

// Ours reports whether a peer that calls itself so (MOQT_IMPLEMENTATION) is of this project, and knows what is said here.
func Ours(implementation string) bool { return strings.HasPrefix(implementation, "every.channel") }

// InventoryField, put before a track's namespace, names the track that lists its groups.
const InventoryField = ".ec-groups"

const (
	// maxInventory bounds the groups of one answer, MaxInventoryBytes its length.
	maxInventory, MaxInventoryBytes = 4 << 20, 16 << 20
)

// AppendInventory appends a list of groups, which are in ascending order.
func AppendInventory(b []byte, list []Group) []byte {
	last := uint64(0)
	for _, g := range list {
		b = object.AppendVarint(b, g.ID-last)
		if last = g.ID; g.Whole {
			b = object.AppendVarint(b, 0)
		} else {
			b = object.AppendVarint(b, g.Objects+1)
		}
	}
	return b
}

// ParseInventory reads what AppendInventory wrote.
func ParseInventory(b []byte, from uint64) (list []Group, err error) {
	last := uint64(0)
	for len(b) > 0 {
		delta, n := object.ConsumeVarint(b)
		state, m := object.ConsumeVarint(b[n:])
		switch {
		case n == 0 || m == 0:
			return nil, io.ErrUnexpectedEOF
		case len(list) == maxInventory:
			return nil, fmt.Errorf("more than %d groups", maxInventory)
		case len(list) > 0 && delta == 0 || delta > object.MaxVarint-last:
			return nil, errors.New("groups are not ascending")
		}
		g := Group{ID: last + delta, Whole: state == 0}
		if !g.Whole {
			g.Objects = state - 1
		}
		if g.ID >= from {
			list = append(list, g)
		}
		last, b = g.ID, b[n+m:]
	}
	return list, nil
}

// MergeInventories returns the groups that stand in either list.
func MergeInventories(a, b []Group) []Group {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	all := make(map[uint64]Group, len(a))
	for _, g := range append(slices.Clone(a), b...) {
		o := all[g.ID]
		all[g.ID] = Group{ID: g.ID, Whole: o.Whole || g.Whole, Objects: max(o.Objects, g.Objects)}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b Group) int { return cmp.Compare(a.ID, b.ID) })
}

// AppendTracks appends the names of tracks, a line for each. A list of them is what a publisher answers that is asked for InventoryField
// alone.
func AppendTracks(b []byte, names []object.TrackName) []byte {
	for _, n := range names {
		b = append(append(b, n.String()...), '\n')
	}
	return b
}

// ParseTracks reads what AppendTracks wrote, up to most names. A line that is no name is left out.
func ParseTracks(b []byte, most int) (names []object.TrackName) {
	for line := range strings.Lines(string(b)) {
		if len(names) == most {
			break
		}
		if n, err := object.ParseTrackName(strings.TrimSuffix(line, "\n")); err == nil {
			names = append(names, n)
		}
	}
	return names
}
