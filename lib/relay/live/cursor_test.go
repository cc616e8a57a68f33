package live

import (
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

// A group ends whole, or incomplete when it was waited for; until then a cursor waits.
func TestHowGroupsEnd(t *testing.T) {
	for _, c := range []struct {
		what  string
		bring func(h *home, src *Source)
		sent  []uint64
		want  Verdict
		after Verdict // once it was waited for
	}{
		{"all up to the end", func(h *home, src *Source) {
			h.takes(src, part(1, 0), part(1, 1), part(1, 2), part(1, 3))
		}, []uint64{0, 1, 2, 3}, Whole, Whole},
		{"the newest goes on", func(h *home, src *Source) { h.takes(src, part(1, 0)) }, []uint64{0}, Wait, Wait},
		{"one is missing", func(h *home, src *Source) {
			h.takes(src, part(1, 0), part(1, 2), part(1, 3), part(2, 3))
		}, []uint64{0}, Wait, Incomplete},
		{"a newer one has begun", func(h *home, src *Source) {
			h.takes(src, part(1, 0), part(2, 3))
		}, []uint64{0}, Wait, Incomplete},
		{"the track is over, all is there", func(h *home, src *Source) {
			h.takes(src, part(1, 0))
			h.Detach(src, true)
		}, []uint64{0}, Whole, Whole},
		{"the track is over, its groups have ends", func(h *home, src *Source) {
			h.takes(src, part(2, 3), part(1, 0))
			h.Detach(src, true)
		}, []uint64{0}, Incomplete, Incomplete},
	} {
		t.Run(c.what, func(t *testing.T) {
			alone(t, func(h *home) {
				c.bring(h, h.publisher("a"))
				cur := h.Cursor(1, 0)
				sends(t, cur, c.sent...)
				next(t, cur, c.want)
				time.Sleep(stall)
				next(t, cur, c.after)
			})
		})
	}
}

// Ids may be left out by a publisher. Another one may have them, so they are waited for a while if there is one.
func TestIdsLeftOut(t *testing.T) {
	skips := func() *Object { o := part(1, 2); o.Place = Place{Prev: 0, HasPrev: true}; return o }
	for _, c := range []struct {
		publishers int
		place      Place
		wait       time.Duration
	}{
		{1, Place{Prev: 0, HasPrev: true}, 0},
		{2, Place{Prev: 0, HasPrev: true}, stall / 2},
		{1, Place{Prev: 1, HasPrev: true}, -1}, // its publisher sent 1 before it
	} {
		alone(t, func(h *home) {
			src := h.publisher("a")
			for range c.publishers - 1 {
				h.publisher("b")
			}
			o := skips()
			o.Place = c.place
			h.takes(src, part(1, 0), o)
			cur := h.Cursor(1, 0)
			sends(t, cur, 0)
			if c.wait != 0 {
				if s := next(t, cur, Wait); c.wait > 0 && s.Wait != c.wait {
					t.Errorf("waits %v, want %v", s.Wait, c.wait)
				}
				time.Sleep(max(c.wait, 0))
			}
			if c.wait < 0 {
				time.Sleep(10 * stall)
				next(t, cur, Wait)
				return
			}
			sends(t, cur, 2)
		})
	}
}

// The first object that anybody has may not be the first: it is sent when that was waited for.
func TestMiddleOfASubgroup(t *testing.T) {
	alone(t, func(h *home) {
		o := part(1, 1)
		o.Place = Place{}
		h.takes(h.publisher("a"), o)
		c := h.Cursor(1, 0)
		if s := next(t, c, Wait); s.Wait != stall {
			t.Errorf("waits %v", s.Wait)
		}
		time.Sleep(stall)
		sends(t, c, 1)
	})
}

// What left memory is sent from the store, from where the cursor is, and what then comes from memory again.
func TestCursorGoesToTheStore(t *testing.T) {
	alone(t, func(h *home) {
		src := h.publisher("a")
		h.takes(src, part(1, 0), part(1, 1), part(1, 2))
		c := h.Cursor(1, 0)
		defer c.Close()
		sends(t, c, 0)
		h.mu.Lock()
		h.drop(h.groups[1])
		h.mu.Unlock()
		s := next(t, c, Send)
		if s.Object.ID != 1 || !s.Since.IsZero() {
			t.Errorf("object %d, from memory: %v", s.Object.ID, !s.Since.IsZero())
		}
		c.Sent(&s)
		sends(t, c, 2)
		next(t, c, Wait) // it is the newest
		h.takes(src, part(1, 3))
		sends(t, c, 3)
		next(t, c, Whole)
	})
}

// A subgroup is done when all was sent that its publisher said it has.
func TestSubgroupsAreDone(t *testing.T) {
	alone(t, func(h *home) {
		src := h.publisher("a")
		first, second := part(1, 0), part(1, 1)
		second.Subgroup, second.Place = 1, Place{First: true}
		h.takes(src, first, second)
		c := h.Cursor(1, 0)
		sends(t, c, 0)
		s := next(t, c, Send)
		c.Sent(&s)
		h.Stream().Close(1, 0, 0, true)
		h.Stream().Close(1, 1, 1, false) // without FIN
		if s := next(t, c, Wait); len(s.Done) != 1 || s.Done[0] != 0 {
			t.Errorf("done: %v", s.Done)
		}
		if s := next(t, c, Wait); len(s.Done) != 0 {
			t.Errorf("done again: %v", s.Done)
		}
	})
}

// Over leaves out the rest of one subgroup, and no other.
func TestOver(t *testing.T) {
	alone(t, func(h *home) {
		src := h.publisher("a")
		other := part(1, 2)
		other.Subgroup, other.Place = 1, Place{First: true}
		h.takes(src, part(1, 0), part(1, 1), other)
		c := h.Cursor(1, 0)
		s := next(t, c, Send)
		c.Over(&s)
		if s = next(t, c, Send); s.Object.ID != 2 || s.Object.Status != object.Normal {
			t.Errorf("object %d follows", s.Object.ID)
		}
		c.Sent(&s)
		next(t, c, Wait)
	})
}
