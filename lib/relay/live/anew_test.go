package live

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"every.channel/ec/lib/moqt"
)

// plain is a pure function of its arguments, without a hash, as other makes publish.
func plain(run string, group, id uint64) *Object {
	o := part(group, id)
	o.Status, o.Properties, o.Payload = 0, nil, fmt.Appendf(nil, "%s %d/%d", run, group, id)
	o.Size = len(o.Payload)
	return o
}

// payloads are those that a cursor gives of a group until there are no more for now.
func payloads(t *testing.T, c *Cursor) (got []string) {
	t.Helper()
	defer c.Close()
	for {
		s, err := c.Next()
		switch {
		case err != nil:
			t.Fatal(err)
		case s.Verdict != Send:
			return got
		}
		got = append(got, string(bytes.Clone(s.Payload)))
		c.Sent(&s)
	}
}

// A publisher of another make comes back under ids that it has used before: what was kept goes, whoever followed that is told, and nobody
// is given objects of both.
func TestBeginsAnew(t *testing.T) {
	alone(t, func(h *home) {
		a := h.publisher("a")
		for g := range uint64(40) { // more than there is memory for
			h.takes(a, plain("first", g, 0), plain("first", g, 1))
		}
		old := h.Follow(moqt.Location{}, true, 0)
		defer h.Unfollow(old)
		b, _ := old.Next()
		inMemory, stored := old.Cursor(39, 0), old.Cursor(1, 0)
		for _, c := range []*Cursor{inMemory, stored} {
			if s, err := c.Next(); err != nil || s.Verdict != Send {
				t.Fatalf("%+v, %v", s, err)
			} else {
				c.Sent(&s)
			}
			defer c.Close()
		}
		h.Detach(a, false)

		again := &Source{Name: "a"}
		h.Attach(again, []byte("properties"))
		h.takes(again, plain("second", 0, 0), plain("second", 0, 1), plain("second", 1, 0))
		if !old.Over() || b.ID != 0 {
			t.Error("the follower is not told")
		}
		for _, c := range []*Cursor{inMemory, stored, old.Cursor(0, 0)} {
			if _, err := c.Next(); !errors.Is(err, ErrAnew) {
				t.Errorf("%v, want %v", err, ErrAnew)
			}
		}
		f := h.Follow(moqt.Location{}, true, h.Born())
		defer h.Unfollow(f)
		begins(t, f, 0, 1)
		if got := payloads(t, f.Cursor(0, 0)); !slices.Equal(got, []string{"second 0/0", "second 0/1"}) {
			t.Errorf("%q", got)
		}
		if i := h.Info(); *i.Largest != (moqt.Location{Group: 1}) || string(i.Properties) != "properties" {
			t.Errorf("%v, %q", i.Largest, i.Properties)
		}
		if h.files.Has(2) || h.bytes != int64(3*len("second 0/0")) {
			t.Errorf("something of before is kept, %d bytes in memory", h.bytes)
		}
		// It does not begin anew twice in one session.
		if r := h.put(again, plain("third", 0, 0)); r.Outcome != Conflict {
			t.Errorf("%+v", r)
		}
	})
}

// What was kept stays if it has hashes, if somebody else publishes the track, if the publisher had something that was new, and if the
// object is not of now.
func TestDoesNotBeginAnew(t *testing.T) {
	for name, test := range map[string]func(h *home) Result{
		"hashes": func(h *home) Result {
			a := h.publisher("a")
			h.takes(a, part(0, 0))
			h.Detach(a, false)
			return h.put(h.publisher("a"), plain("second", 0, 0))
		},
		"a hash": func(h *home) Result {
			a := h.publisher("a")
			h.takes(a, plain("first", 0, 0))
			h.Detach(a, false)
			return h.put(h.publisher("a"), part(0, 0))
		},
		"another publisher": func(h *home) Result {
			h.takes(h.publisher("a"), plain("first", 0, 0))
			return h.put(h.publisher("b"), plain("second", 0, 0))
		},
		"something new": func(h *home) Result {
			a := h.publisher("a")
			h.takes(a, plain("first", 0, 0))
			h.Detach(a, false)
			b := h.publisher("b")
			h.takes(b, plain("second", 1, 0))
			return h.put(b, plain("second", 0, 0))
		},
		"fetched": func(h *home) Result {
			a := h.publisher("a")
			h.takes(a, plain("first", 0, 0))
			h.Detach(a, false)
			return h.put(&Source{Name: "b", Fetched: true}, plain("second", 0, 0))
		},
	} {
		alone(t, func(h *home) {
			f := h.Follow(moqt.Location{}, true, 0)
			defer h.Unfollow(f)
			if r := test(h); r.Outcome != Conflict || f.Over() || !h.files.Has(0) {
				t.Errorf("%s: %+v", name, r)
			}
		})
	}
}
