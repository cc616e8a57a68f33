package live

import (
	"errors"
	"log/slog"
	"testing"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// restart is what a relay does: what was in memory is gone, and the files are there.
func (h *home) restart() {
	h.files.of = New(Config{CacheBytes: 1, Stall: stall, Logger: slog.New(slog.DiscardHandler)}).Track(name, h.files)
	h.Track = h.files.of
}

// session brings objects in a session of their own.
func (h *home) session(objs ...*Object) {
	h.t.Helper()
	src := h.publisher("session")
	h.takes(src, objs...)
	h.Detach(src, false)
}

// alien is what a stranger brings, in a session of its own.
func (h *home) alien(o *Object) Result { return h.put(h.publisher("stranger"), o) }

// Nobody can have a track begin anew that holds what somebody else may need.
func TestNothingIsLostToAStranger(t *testing.T) {
	end := plain("first", 1, 0)
	end.Status, end.Payload, end.Size = object.EndOfTrack, nil, 0
	for name, test := range map[string]func(h *home) Result{
		"a group without hashes between others": func(h *home) Result {
			h.session(part(0, 0), part(1, 0))
			h.session(plain("first", 9, 0))
			return h.alien(plain("second", 9, 0))
		},
		"the same after a restart": func(h *home) Result {
			h.session(part(0, 0), part(1, 0))
			h.session(plain("first", 9, 0))
			h.restart()
			return h.alien(plain("second", 9, 0))
		},
		"an object without a hash before others": func(h *home) Result {
			h.session(plain("first", 0, 0), part(0, 1))
			h.restart()
			return h.alien(plain("second", 0, 0))
		},
		"a group that is only the end of the track": func(h *home) Result {
			h.session(part(0, 0))
			h.session(end)
			h.restart()
			return h.alien(plain("second", 1, 0))
		},
		"a group that cannot be read": func(h *home) Result {
			h.session(part(0, 0))
			h.session(plain("first", 1, 0))
			h.restart()
			h.files.torn = true
			return h.alien(plain("second", 1, 0))
		},
		"an end": func(h *home) Result {
			h.session(plain("first", 0, 0), plain("first", 1, 0))
			o := plain("second", 1, 0)
			o.Status, o.Payload, o.Size = object.EndOfGroup, nil, 0
			return h.alien(o)
		},
		"one of two publishers leaves": func(h *home) Result {
			a, b := h.publisher("a"), h.publisher("b")
			h.takes(a, plain("first", 0, 0))
			h.put(b, plain("second", 0, 0))
			h.takes(a, plain("first", 0, 1))
			h.Detach(a, false)
			return h.put(b, plain("second", 0, 1))
		},
	} {
		alone(t, func(h *home) {
			if r := test(h); r.Outcome != Conflict || !h.files.Has(0) {
				t.Errorf("%s: %+v", name, r)
			}
		})
	}
}

// A publisher that was killed comes back while its old session is not known to be dead: its first objects are refused, and once the old
// session is over the track begins anew.
func TestBeginsAnewBesideTheDead(t *testing.T) {
	alone(t, func(h *home) {
		dead := h.publisher("a")
		h.takes(dead, plain("first", 0, 0), plain("first", 1, 0))
		again := h.publisher("a")
		if r := h.put(again, plain("second", 0, 0)); r.Outcome != Conflict {
			t.Errorf("%+v", r)
		}
		h.Detach(dead, false)
		h.takes(again, plain("second", 1, 0))
		if h.files.Has(0) {
			t.Error("something of before is kept")
		}
	})
}

// Whoever looked at a track before it began anew, or while that was going on, is told. Otherwise he would wait for objects after the old
// largest location, which may take days to come.
func TestWhoCameBeforeItBeganAnew(t *testing.T) {
	alone(t, func(h *home) {
		h.session(plain("first", 7, 0))
		type look struct {
			from moqt.Location
			born uint64
		}
		see := func() look { return look{moqt.Location{Group: h.Info().Largest.Group + 1}, h.Born()} }
		looks := []look{see()}
		var cursor *Cursor
		h.files.wipe = func() {
			looks = append(looks, see())
			cursor = h.Cursor(7, 0)
		}
		h.session(plain("second", 7, 0))
		for _, l := range looks {
			f := h.Follow(l.from, true, l.born)
			defer h.Unfollow(f)
			if !f.Over() {
				t.Errorf("from %v: not told", l.from)
			}
		}
		if _, err := cursor.Next(); !errors.Is(err, ErrAnew) {
			t.Errorf("%v, want %v", err, ErrAnew)
		}
		f := h.Follow(moqt.Location{}, true, h.Born())
		defer h.Unfollow(f)
		if f.Over() {
			t.Error("one who comes later is told")
		}
	})
}

// What was asked for before a track began anew is not taken for the new track's.
func TestFetchedFromBefore(t *testing.T) {
	alone(t, func(h *home) {
		h.session(plain("first", 0, 0))
		src := &Source{Name: "upstream", Origin: store.Past, Fetched: true, Since: h.Born()}
		h.takes(src, plain("first", 1, 0))
		h.session(plain("second", 0, 0))
		if r := h.put(src, plain("first", 2, 0)); r.Outcome != Lost || !errors.Is(r.Err, ErrAnew) || h.files.Has(2) {
			t.Errorf("%+v", r)
		}
	})
}

// A stranger who contradicts one group after another fills no memory with them.
func TestContradictionsAreNotKept(t *testing.T) {
	alone(t, func(h *home) {
		for g := range uint64(10) {
			h.session(part(g, 0))
		}
		h.restart()
		for g := range uint64(10) {
			src := h.publisher("stranger")
			h.put(src, plain("second", g, 0))
			h.Detach(src, false)
		}
		if n := len(h.groups); n > 0 {
			t.Errorf("%d groups are in memory", n)
		}
	})
}
