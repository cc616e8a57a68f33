package live

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

var name = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}

const stall = 2 * time.Second

// files are those of a track in a store, which tests may have fail or wait.
type files struct {
	*store.Track
	t    *testing.T
	of   *Track
	full error         // of PutFrom
	gate chan struct{} // Open of group 1 waits for it; nil: it does not
	torn bool          // group 0 cannot be read
	wipe func()        // called by Clear before anything is removed
}

// asked checks that nobody holds the track's mutex.
func (f *files) asked(what string) {
	f.t.Helper()
	if f.of == nil {
		return
	}
	if !f.of.mu.TryLock() {
		f.t.Errorf("%s is asked of the store while the track is locked", what)
		return
	}
	f.of.mu.Unlock()
}

func (f *files) PutFrom(from store.Origin, o *object.Object, sum object.Hash) (store.Result, error) {
	f.asked("PutFrom")
	if f.full != nil {
		return 0, f.full
	}
	return f.Track.PutFrom(from, o, sum)
}

func (f *files) Open(group, from uint64) (*store.Reader, error) {
	f.asked("Open")
	if f.gate != nil && group == 1 {
		<-f.gate
	}
	if f.torn && group == 0 {
		return nil, store.ErrDamaged
	}
	return f.Track.Open(group, from)
}

func (f *files) Has(group uint64) bool       { f.asked("Has"); return f.Track.Has(group) }
func (f *files) Wants(group, id uint64) bool { f.asked("Wants"); return f.Track.Wants(group, id) }
func (f *files) Count(from, to uint64) int   { f.asked("Count"); return f.Track.Count(from, to) }

func (f *files) Clear() error {
	f.asked("Clear")
	if f.wipe != nil {
		f.wipe()
	}
	return f.Track.Clear()
}

func (f *files) Next(from uint64) (store.Info, bool) {
	f.asked("Next")
	return f.Track.Next(from)
}

// home is a track of a test, in a memory that keeps little.
type home struct {
	*Track
	t     *testing.T
	files *files
}

// alone runs a test with a track, without a server, in time that passes only when all wait.
func alone(t *testing.T, test func(h *home)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, end := atRelay(t)
		defer end()
		test(h)
	})
}

// atRelay is a track of a relay's own.
func atRelay(t *testing.T) (h *home, end func()) {
	s, err := store.Open(t.TempDir(), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	f := &files{Track: s.Track(name), t: t}
	f.of = New(Config{CacheBytes: 1, Stall: stall, Logger: slog.New(slog.DiscardHandler)}).Track(name, f)
	return &home{f.of, t, f}, func() { s.Close() }
}

// publisher is a source of the track.
func (h *home) publisher(name string) *Source {
	src := &Source{Name: name}
	h.Attach(src, nil)
	return src
}

// part is a pure function of its arguments: every publisher makes the same. Of id 3 it is the end of the group.
func part(group, id uint64) *Object {
	o := &Object{Object: object.Object{Group: group, ID: id}, Place: Place{Prev: id - 1, HasPrev: id > 0, First: id == 0}}
	if id == 3 {
		o.Status = object.EndOfGroup
		return o
	}
	o.Payload = bytes.Repeat(fmt.Appendf(nil, "%d/%d ", group, id), 2000)
	o.Size, o.Properties = len(o.Payload), object.Properties{Hash: object.Sum(o.Payload), HasHash: true}.Append(nil)
	return o
}

// changed is o with another last byte; the hash that it declares goes with it if honest.
func changed(o *Object, honest bool) *Object {
	o.Payload = bytes.Clone(o.Payload)
	o.Payload[len(o.Payload)-1] ^= 1
	if honest {
		o.Properties = object.Properties{Hash: object.Sum(o.Payload), HasHash: true}.Append(nil)
	}
	return o
}

// put brings a whole object.
func (h *home) put(src *Source, o *Object) Result {
	f := h.Begin(src, o)
	return h.Put(&f, o.Payload, nil, object.Sum(o.Payload))
}

// takes brings a whole object that is new.
func (h *home) takes(src *Source, objs ...*Object) {
	h.t.Helper()
	for _, o := range objs {
		if r := h.put(src, o); r.Outcome != Stored || r.Err != nil {
			h.t.Fatalf("object %d/%d: %+v", o.Group, o.ID, r)
		}
	}
}

// arriving is an object on its way, in memory as a relay reads it.
type arriving struct {
	h   *home
	f   Feed
	o   *Object
	mem *Payload
}

// begin brings the beginning of an object.
func (h *home) begin(src *Source, o *Object, n int) *arriving {
	a := &arriving{h: h, o: o, mem: NewPayload(o.Size)}
	whole := o.Payload
	o.Payload = nil
	copy(a.mem.Bytes(), whole)
	a.f = h.Begin(src, o)
	a.more(n)
	return a
}

func (a *arriving) more(n int) { a.h.Append(&a.f, a.mem.Bytes()[:n], a.mem) }

func (a *arriving) put() Result {
	b := a.mem.Bytes()[:a.o.Size]
	return a.h.Put(&a.f, b, a.mem, object.Sum(b))
}

func (a *arriving) fail() { a.h.Fail(&a.f, a.mem) }

// next is the cursor's next step, which has to be of that kind.
func next(t *testing.T, c *Cursor, want Verdict) Step {
	t.Helper()
	s, err := c.Next()
	if err != nil || s.Verdict != want {
		t.Fatalf("verdict %d, %v; want %d", s.Verdict, err, want)
	}
	return s
}

// sends takes whole objects from a cursor, those of group 1 as part makes them.
func sends(t *testing.T, c *Cursor, ids ...uint64) {
	t.Helper()
	for _, id := range ids {
		s := next(t, c, Send)
		if s.Object.ID != id || s.Arriving || !bytes.Equal(s.Payload, part(s.Object.Group, id).Payload) {
			t.Fatalf("object %d of %d bytes, arriving %v; want %d", s.Object.ID, len(s.Payload), s.Arriving, id)
		}
		c.Sent(&s)
	}
}

// Several publishers of an object are one, and what is there is never replaced.
func TestWhatBecomesOfAnObject(t *testing.T) {
	for _, c := range []struct {
		what  string
		of    func() *Object
		want  Outcome
		first string
	}{
		{"the same", func() *Object { return part(1, 1) }, Duplicate, ""},
		{"another one with its id", func() *Object { return changed(part(1, 1), true) }, Conflict, "a"},
		{"one that contradicts its hash", func() *Object { return changed(part(1, 1), false) }, Refused, ""},
		{"one whose properties cannot be read", func() *Object { o := part(1, 2); o.Properties = []byte{0xff}; return o }, Refused, ""},
		{"the next one", func() *Object { return part(1, 2) }, Stored, ""},
		{"the end", func() *Object { return part(1, 3) }, Stored, ""},
		{"one behind the end", func() *Object { return part(2, 2) }, Conflict, "store"},
	} {
		t.Run(c.what, func(t *testing.T) {
			alone(t, func(h *home) {
				a, b := h.publisher("a"), h.publisher("b")
				end := part(2, 3)
				end.ID = 1
				h.takes(a, part(1, 0), part(1, 1), part(2, 0), end)
				r := h.put(b, c.of())
				if r.Outcome != c.want || (r.Err != nil) != (c.want == Refused) {
					t.Errorf("%+v", r)
				}
				if r.First != c.first {
					t.Errorf("first came %q", r.First)
				}
				counts := map[Outcome]int64{Stored: b.Objects.Load(), Duplicate: b.Duplicates.Load(), Conflict: b.Conflicts.Load(), Refused: b.Refused.Load()}
				for o, n := range counts {
					if want := int64(0); o == c.want && n != 1 || o != c.want && n != want {
						t.Errorf("%d counted as %d", n, o)
					}
				}
				sends(t, h.Cursor(1, 0), 0, 1)
			})
		})
	}
}

// Without a disk what is live is served all the same, merged in memory; of the past nothing is.
func TestWithoutDisk(t *testing.T) {
	alone(t, func(h *home) {
		a, b := h.publisher("a"), h.publisher("b")
		h.files.full = errors.New("no space")
		past := &Source{Name: "past", Origin: store.Past, Fetched: true}
		if r := h.put(past, part(1, 0)); r.Outcome != Lost || r.Err == nil {
			t.Errorf("of the past: %+v", r)
		}
		for _, c := range []struct {
			src  *Source
			o    *Object
			want Outcome
		}{{a, part(1, 0), Stored}, {b, part(1, 0), Duplicate}, {b, changed(part(1, 0), true), Conflict}} {
			if r := h.put(c.src, c.o); r.Outcome != c.want || r.Err == nil {
				t.Errorf("%+v, want %d and why it is not on disk", r, c.want)
			}
		}
		sends(t, h.Cursor(1, 0), 0)
	})
}

// What cannot be compared by the store is compared with what can be read.
func TestStoreThatDoesNotTake(t *testing.T) {
	alone(t, func(h *home) {
		a := h.publisher("a")
		for g := range uint64(40) {
			h.wholeGroup(a, g, false)
		}
		h.files.full = errors.New("a group of the cold tier that was not read yet")
		if r := h.put(a, changed(part(0, 1), true)); r.Outcome != Conflict {
			t.Errorf("another object: %+v", r)
		}
		if r := h.put(a, part(0, 2)); r.Outcome != Duplicate {
			t.Errorf("the same: %+v", r)
		}
		o := part(0, 5)
		if r := h.put(a, o); r.Outcome != Conflict {
			t.Errorf("behind the end: %+v", r)
		}
	})
}

// While a group is read from the store, only who wants that group waits.
func TestLoadingStopsNobody(t *testing.T) {
	alone(t, func(h *home) {
		src := h.publisher("a")
		h.takes(src, part(1, 0))
		for g := uint64(2); g < 2+MaxGroups; g++ {
			h.takes(src, part(g, 0))
		}
		if h.groups[1] != nil {
			t.Fatal("group 1 is still in memory")
		}
		h.files.gate = make(chan struct{})
		got := make(chan Result)
		go func() { got <- h.put(src, part(1, 1)) }()
		synctest.Wait()
		h.takes(src, part(100, 0)) // another group
		if l := h.Info().Largest; l == nil || l.Group != 100 {
			t.Errorf("largest %v", l)
		}
		seen := make(chan struct{})
		go func() {
			sends(t, h.Cursor(1, 0), 0, 1)
			close(seen)
		}()
		synctest.Wait()
		select {
		case <-got:
			t.Error("put into a group that is not loaded")
		case <-seen:
			t.Error("a group was sent before it was loaded")
		default:
		}
		close(h.files.gate)
		if r := <-got; r.Outcome != Stored || r.Err != nil {
			t.Errorf("%+v", r)
		}
		<-seen
	})
}
