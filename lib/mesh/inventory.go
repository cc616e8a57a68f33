package mesh

import (
	"bufio"
	"bytes"
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
	err = ReadInventory(bufio.NewReader(bytes.NewReader(b)), func(g Group) bool {
		if g.ID >= from {
			list = append(list, g)
		}
		return true
	})
	return list, err
}

// ReadInventory reads what AppendInventory wrote, group by group, until take returns false.
func ReadInventory(r *bufio.Reader, take func(Group) bool) error {
	last := uint64(0)
	for n := 0; ; n++ {
		delta, err := readVarint(r)
		if err == io.EOF {
			return nil
		}
		state, err2 := readVarint(r)
		if err2 == io.EOF {
			err2 = io.ErrUnexpectedEOF
		}
		switch err = errors.Join(err, err2); {
		case err != nil:
			return err
		case n == maxInventory:
			return fmt.Errorf("more than %d groups", maxInventory)
		case n > 0 && delta == 0 || delta > object.MaxVarint-last:
			return errors.New("groups are not ascending")
		}
		g := Group{ID: last + delta, Whole: state == 0}
		if !g.Whole {
			g.Objects = state - 1
		}
		if !take(g) {
			return nil
		}
		last = g.ID
	}
}

func readVarint(r *bufio.Reader) (uint64, error) {
	b, err := r.Peek(8)
	v, n := object.ConsumeVarint(b)
	if n > 0 {
		_, err = r.Discard(n)
		return v, err
	}
	if err == io.EOF && len(b) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return 0, err
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
