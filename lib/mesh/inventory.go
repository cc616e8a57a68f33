package mesh

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"every.channel/ec/lib/object"
)

// A relay, or a publisher with a memory, lists the groups that it has of a track when it is asked with a FETCH (docs/format/chain.md).

// Ours reports whether a peer that calls itself so (MOQT_IMPLEMENTATION) is of this project, and knows what is said here.
func Ours(implementation string) bool { return strings.HasPrefix(implementation, "every.channel") }

// InventoryField, put before a track's namespace, names the track that lists its groups.
const InventoryField = ".ec-groups"

const (
	// maxInventory bounds the groups of one answer: 97 days of chunks of 2 s. MaxInventoryBytes bounds its length: such a group takes 5 bytes.
	maxInventory, MaxInventoryBytes = 4 << 20, 32 << 20
)

// AppendInventory appends a list of groups, which are in ascending order; of more than ReadInventory takes, the newest.
func AppendInventory(b []byte, list []Group) []byte {
	last := uint64(0)
	for _, g := range readable(list) {
		b = g.append(b, last)
		last = g.ID
	}
	return b
}

// append appends a group that follows another one.
func (g Group) append(b []byte, last uint64) []byte {
	b = object.AppendVarint(b, g.ID-last)
	if g.Whole {
		return object.AppendVarint(b, 0)
	}
	return object.AppendVarint(b, g.Objects+1)
}

// readable returns the newest groups of a list, as many as one answer may have.
func readable(list []Group) []Group {
	var one [16]byte
	size := len(one) // the first group takes that at most
	for i := len(list) - 1; i > 0; i-- {
		if size += len(list[i].append(one[:0], list[i-1].ID)); size > MaxInventoryBytes || len(list)-i == maxInventory {
			return list[i:]
		}
	}
	return list
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

// MergeInventories returns the groups that stand in either list; both are in ascending order.
func MergeInventories(a, b []Group) []Group {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	all := make([]Group, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].ID < b[0].ID:
			all, a = append(all, a[0]), a[1:]
		case b[0].ID < a[0].ID:
			all, b = append(all, b[0]), b[1:]
		default:
			all = append(all, Group{ID: a[0].ID, Whole: a[0].Whole || b[0].Whole, Objects: max(a[0].Objects, b[0].Objects)})
			a, b = a[1:], b[1:]
		}
	}
	return append(append(all, a...), b...)
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
