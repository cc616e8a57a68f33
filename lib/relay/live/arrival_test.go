package live

import (
	"bytes"
	"testing"
	"testing/synctest"
)

// came reads what came of the step's object behind off, and checks it.
func came(t *testing.T, c *Cursor, s *Step, off, to int, want []byte) {
	t.Helper()
	for off < to {
		p := c.Part(s, off)
		if p.Failed || len(p.Bytes) == 0 || !bytes.Equal(p.Bytes, want[off:off+len(p.Bytes)]) {
			t.Fatalf("from %d: %d bytes, failed %v", off, len(p.Bytes), p.Failed)
		}
		off += len(p.Bytes)
	}
	if off != to {
		t.Fatalf("%d bytes came, want %d", off, to)
	}
}

// What came further than anybody's is forwarded, whoever brings it and whoever leaves.
func TestWhoeverHasMoreGoesOn(t *testing.T) {
	for what, meanwhile := range map[string]func(a *arriving){
		"the first stalls":    func(*arriving) {},
		"the first dies":      func(a *arriving) { a.fail() },
		"the first ends last": func(a *arriving) { a.more(a.o.Size - 1) },
	} {
		t.Run(what, func(t *testing.T) {
			alone(t, func(h *home) {
				want := part(1, 0)
				size := want.Size
				a := h.begin(h.publisher("a"), part(1, 0), size/2)
				c := h.Cursor(1, 0)
				s := next(t, c, Send)
				if !s.Arriving || s.Size != size {
					t.Fatalf("%+v", s)
				}
				came(t, c, &s, 0, size/2, want.Payload)
				b := h.begin(h.publisher("b"), part(1, 0), size/4)
				came(t, c, &s, 0, size/2, want.Payload)
				b.more(size * 3 / 4)
				came(t, c, &s, 0, size*3/4, want.Payload)
				meanwhile(a)
				if r := b.put(); r.Outcome != Stored {
					t.Fatalf("%+v", r)
				}
				came(t, c, &s, size/2, size, want.Payload)
				c.Sent(&s)
				sends(t, h.Cursor(1, 0), 0)
				if a.f.into != nil {
					if r := a.put(); r.Outcome != Duplicate {
						t.Errorf("%+v", r)
					}
				}
			})
		})
	}
}

// An object that nobody can go on with is broken off, and another one takes its place.
func TestBrokenOff(t *testing.T) {
	noHash := func() *Object { o := part(1, 0); o.Properties = nil; return o }
	for _, c := range []struct {
		what   string
		first  func() *Object
		end    func(h *home, a *arriving)
		failed bool
	}{
		{"a hash, its publisher dies", func() *Object { return part(1, 0) }, func(_ *home, a *arriving) { a.fail() }, false},
		{"no hash, its publisher dies", noHash, func(_ *home, a *arriving) { a.fail() }, true},
		{"a lie", func() *Object { return changed(part(1, 0), false) }, func(h *home, a *arriving) {
			if r := a.put(); r.Outcome != Refused {
				h.t.Errorf("%+v", r)
			}
		}, true},
		{"another one is stored first", func() *Object { return changed(part(1, 0), true) }, func(h *home, a *arriving) {
			h.takes(h.publisher("b"), part(1, 0))
			if r := a.put(); r.Outcome != Conflict {
				h.t.Errorf("%+v", r)
			}
		}, true},
		{"the track ends", func() *Object { return part(1, 0) }, func(h *home, a *arriving) {
			a.fail()
			for src := range h.sources {
				h.Detach(src, true)
			}
		}, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			alone(t, func(h *home) {
				a := h.begin(h.publisher("a"), c.first(), 1000)
				cur := h.Cursor(1, 0)
				s := next(t, cur, Send)
				c.end(h, a)
				if p := cur.Part(&s, 1000); p.Failed != c.failed {
					t.Errorf("failed: %v, want %v", p.Failed, c.failed)
				}
				cur.Leave(&s)
				h.put(h.publisher("c"), part(1, 0))
				sends(t, h.Cursor(1, 0), 0)
			})
		})
	}
}

// A publisher without a hash, or with another one, continues nobody's object.
func TestStrangersDoNotContinue(t *testing.T) {
	for what, other := range map[string]func() *Object{
		"no hash":      func() *Object { o := part(1, 0); o.Properties = nil; return o },
		"another hash": func() *Object { return changed(part(1, 0), true) },
		"another size": func() *Object { o := part(1, 0); o.Payload = o.Payload[:o.Size-1]; o.Size--; return o },
		"subgroup":     func() *Object { o := part(1, 0); o.Subgroup = 7; return o },
	} {
		t.Run(what, func(t *testing.T) {
			alone(t, func(h *home) {
				h.begin(h.publisher("a"), part(1, 0), 1000)
				if b := h.begin(h.publisher("b"), other(), 2000); !b.f.Alone() {
					t.Error("it feeds the other's object")
				}
				c := h.Cursor(1, 0)
				s := next(t, c, Send)
				came(t, c, &s, 0, 1000, part(1, 0).Payload)
			})
		})
	}
}

// Memory is held as long as anybody may look at it, and no longer.
func TestPayloadIsHeld(t *testing.T) {
	alone(t, func(h *home) {
		a := h.begin(h.publisher("a"), part(1, 0), 1000)
		b := h.begin(h.publisher("b"), part(1, 0), 2000)
		c := h.Cursor(1, 0)
		s := next(t, c, Send)
		a.put()
		b.put()
		for _, p := range []*Payload{a.mem, b.mem} {
			if n := p.refs.Load(); n != 1 { // the object's
				t.Errorf("held %d times while it is sent", n)
			}
		}
		h.mu.Lock()
		h.drop(h.groups[1])
		h.mu.Unlock()
		if n := a.mem.refs.Load(); n != 1 {
			t.Errorf("held %d times while it is sent, out of memory", n)
		}
		c.Sent(&s)
		for _, p := range []*Payload{a.mem, b.mem} {
			if n := p.refs.Load(); n != 0 {
				t.Errorf("held %d times by nobody", n)
			}
		}
		refused := h.begin(h.publisher("d"), changed(part(9, 0), false), 0)
		if refused.put(); refused.mem.refs.Load() != 0 {
			t.Error("the memory of one that was refused is held")
		}
	})
}

// Who waits is woken by what comes, and by a newer group.
func TestPartWakes(t *testing.T) {
	alone(t, func(h *home) {
		src := h.publisher("a")
		a := h.begin(src, part(1, 0), 1000)
		c := h.Cursor(1, 0)
		s := next(t, c, Send)
		woken := func(do func(), by func(Part) <-chan struct{}) {
			t.Helper()
			p := c.Part(&s, 1000)
			do()
			synctest.Wait()
			select {
			case <-by(p):
			default:
				t.Error("nobody is woken")
			}
		}
		woken(func() { h.takes(src, part(2, 0)) }, func(p Part) <-chan struct{} { return p.Changed })
		if p := c.Part(&s, 1000); p.Left <= 0 || p.Left > stall {
			t.Errorf("waits %v more", p.Left)
		}
		woken(func() { a.more(2000) }, func(p Part) <-chan struct{} { return p.Came })
	})
}
