package mesh

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"every.channel/ec/lib/object"
)

// TestLongInventory: however many groups there are, the list is one that is read, and has the newest of them.
func TestLongInventory(t *testing.T) {
	list := make([]Group, 0, maxInventory+1000)
	wants := func(what string, want int) {
		t.Helper()
		b, at, n := AppendInventory(nil, list), -1, 0
		err := ReadInventory(bufio.NewReader(bytes.NewReader(b)), func(g Group) bool {
			if at < 0 {
				at = slices.Index(list, g)
			}
			n++
			return at >= 0 && list[at+n-1] == g
		})
		if err != nil || len(b) > MaxInventoryBytes || n < want || at+n != len(list) {
			t.Errorf("%s: %d groups in %d bytes, from the %dth of %d on, %v", what, n, len(b), at, len(list), err)
		}
	}
	for i := range uint64(cap(list)) { // as names have them
		list = append(list, Group{ID: (890_000_000+i)<<16 + rand.Uint64N(1<<16), Whole: true})
	}
	wants("chunks", maxInventory)
	list = list[:len(list)-1000]
	wants("as many as are read", maxInventory)
	list = list[:3<<20]
	for i := range list {
		list[i] = Group{ID: uint64(i) << 40, Objects: object.MaxVarint - 1}
	}
	wants("far apart", MaxInventoryBytes/16-1)
}
