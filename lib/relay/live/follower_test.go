package live

import (
	"slices"
	"testing"

	"every.channel/ec/lib/moqt"
)

// begins takes groups from a follower, which has to give these and then none.
func begins(t *testing.T, f *Follower, want ...uint64) {
	t.Helper()
	var got []uint64
	for b, ok := f.Next(); ok; b, ok = f.Next() {
		f.Begin(b)
		got = append(got, b.ID)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("groups %v, want %v", got, want)
	}
}

// group brings the beginnings of groups.
func (h *home) group(src *Source, ids ...uint64) {
	h.t.Helper()
	for _, id := range ids {
		h.takes(src, part(id, 0))
	}
}

// Groups come in ascending order, a late one when it is there, but not what lies before the floor.
func TestFollower(t *testing.T) {
	alone(t, func(h *home) {
		a := h.publisher("a")
		h.group(a, 3, 5, 7)
		f := h.Follow(moqt.Location{Group: 4}, false, h.Born())
		defer h.Unfollow(f)
		begins(t, f, 5, 7)
		h.group(h.publisher("b"), 6, 2)
		select {
		case <-f.Woken():
		default:
			t.Error("not woken by a group")
		}
		begins(t, f, 6)
		if n := f.Behind(Birth{ID: 5}); n != 2 {
			t.Errorf("%d groups come after group 5", n)
		}
		f.Raise(moqt.Location{Group: 9})
		h.group(a, 8, 9)
		begins(t, f, 9)
	})
}

// A broadcast's clock is set back: a follower without a filter goes back with it, one with a filter does not. Another publisher that
// is still above shows that it is one publisher's past.
func TestFollowerGoesBack(t *testing.T) {
	for _, alsoAbove := range []bool{false, true} {
		alone(t, func(h *home) {
			a := h.publisher("a")
			h.group(a, 1000, 1001)
			if alsoAbove {
				h.group(h.publisher("b"), 1002)
			} else {
				h.group(a, 1002)
			}
			all := h.Follow(moqt.Location{Group: 1001, Object: 1}, true, h.Born())
			filtered := h.Follow(moqt.Location{Group: 1001, Object: 1}, false, h.Born())
			begins(t, all, 1001, 1002)
			begins(t, filtered, 1001, 1002)
			h.group(a, 10, 11)
			if alsoAbove {
				begins(t, all)
			} else {
				begins(t, all, 10, 11) // and not again what came before it followed
			}
			begins(t, filtered)
		})
	}
}
