package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// large is an object that arrives in parts.
func large(group, id uint64) *object.Object {
	payload := bytes.Repeat(fmt.Appendf(nil, "%d/%d ", group, id), 50_000)
	return &object.Object{Group: group, ID: id, Payload: payload, Properties: object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)}
}

// begin sends the header of an object and the first n bytes.
func (p *publisher) begin(o *object.Object, n int) {
	p.t.Helper()
	if p.w == nil {
		var err error
		if p.w, err = p.pub.OpenSubgroup(within(p.t, time.Minute), moqt.SubgroupHeader{Group: o.Group, HasProperties: true}); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := p.w.WriteObjectHeader(o.ID, o.Properties, uint64(len(o.Payload))); err != nil {
		p.t.Fatal(err)
	}
	p.more(o, 0, n)
}

// more sends a part of the payload.
func (p *publisher) more(o *object.Object, from, to int) {
	p.t.Helper()
	if _, err := p.w.Write(o.Payload[from:to]); err != nil {
		p.t.Fatal(err)
	}
}

// watcher reads one subgroup in the steps a test asks for.
type watcher struct {
	t   *testing.T
	sub *moqt.Subscription
	r   *moqt.SubgroupReader
	h   moqt.ObjectHeader
	at  int
}

func (s *server) watcher(t *testing.T, o moqt.SubscribeOptions) *watcher {
	t.Helper()
	sub, err := s.dial(t, nil).Subscribe(within(t, time.Minute), ts, o)
	if err != nil {
		t.Fatal(err)
	}
	return &watcher{t: t, sub: sub}
}

// next goes to the next object.
func (w *watcher) next(id uint64) {
	w.t.Helper()
	var err error
	if w.r == nil {
		if w.r, err = w.sub.AcceptSubgroup(within(w.t, time.Minute)); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.h, err = w.r.Next(); err != nil || w.h.ID != id {
		w.t.Fatalf("object %d, %v; want %d", w.h.ID, err, id)
	}
	w.at = 0
}

// until reads the payload of o up to n.
func (w *watcher) until(o *object.Object, n int) {
	w.t.Helper()
	b := make([]byte, n-w.at)
	if _, err := io.ReadFull(w.r, b); err != nil {
		w.t.Fatal(err)
	}
	if !bytes.Equal(b, o.Payload[w.at:n]) {
		w.t.Fatalf("bytes %d to %d are not what was published", w.at, n)
	}
	w.at = n
}

// rest reads what comes until the payload breaks off, and returns how far it came.
func (w *watcher) rest(o *object.Object) (int, error) {
	n, err := io.Copy(io.Discard, w.r)
	return w.at + int(n), err
}

// The first half is with the subscribers before the second has left the publisher; the last byte only when all is stored.
func TestForwardedWhileItArrives(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p := s.publisher(t, ts)
		p.put(part(1, 0))
		s.stored(t, 1)
		early := s.watcher(t, from(1))
		early.next(0)
		o := large(1, 1)
		half := len(o.Payload) / 2
		p.begin(o, half)
		early.next(1)
		early.until(o, half)
		late := s.watcher(t, fromNow) // gets the object that is under way from its start
		late.next(1)
		late.until(o, half)
		p.more(o, half, len(o.Payload)-1)
		early.until(o, len(o.Payload)-1)
		synctest.Wait()
		if st := s.store.Stats(); st.Stored != 1 || s.Stats().SentObjects != 1 {
			t.Errorf("%+v, %+v", st, s.Stats())
		}
		p.more(o, len(o.Payload)-1, len(o.Payload))
		early.until(o, len(o.Payload))
		late.until(o, len(o.Payload))
		if st := s.store.Stats(); st.Stored != 2 {
			t.Errorf("%+v", st)
		}
		p.put(&object.Object{Group: 1, ID: 2, Status: object.EndOfGroup})
		early.next(2)
		late.next(2)
	})
}

// Another home's copy was stored while this one was on its way, and nobody has said so yet: this one is whole all the same.
func TestStoredWhileItArrives(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p := s.publisher(t, ts)
		p.put(part(1, 0))
		s.stored(t, 1)
		w := s.watcher(t, from(1))
		w.next(0)
		o := large(1, 1)
		half := len(o.Payload) / 2
		p.begin(o, half)
		w.next(1)
		w.until(o, half)
		if _, err := s.store.Track(ts).Put(o, object.Sum(o.Payload)); err != nil {
			t.Fatal(err)
		}
		p.more(o, half, len(o.Payload))
		w.until(o, len(o.Payload))
		p.put(&object.Object{Group: 1, ID: 2, Status: object.EndOfGroup})
		w.next(2)
		if st := s.Stats(); st.ResetBroken != 0 || st.Duplicates != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// A few bytes do not wait for more either.
func TestForwardedAfterAWhile(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p := s.publisher(t, ts)
		w := s.watcherOfNew(t, p)
		o := large(1, 0)
		p.begin(o, 10)
		w.next(0)
		w.until(o, 10)
	})
}

// watcherOfNew subscribes to a track that has nothing yet.
func (s *server) watcherOfNew(t *testing.T, p *publisher) *watcher {
	wait(t, "the track", func() bool { return s.Stats().LiveTracks == 1 })
	return s.watcher(t, from(0))
}

func TestLieIsNeverServedWhole(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p, honest := s.publisher(t, ts), s.publisher(t, ts)
		w := s.watcherOfNew(t, p)
		o := large(1, 0)
		lie := *o
		lie.Payload = bytes.Clone(o.Payload)
		lie.Payload[len(lie.Payload)-1] ^= 1
		p.begin(&lie, len(o.Payload)/2)
		w.next(0)
		w.until(o, len(o.Payload)/2)
		p.more(&lie, len(o.Payload)/2, len(o.Payload))
		n, err := w.rest(o)
		var reset *moqt.StreamResetError
		if !errors.As(err, &reset) || n >= len(o.Payload) {
			t.Errorf("%d of %d bytes, %v", n, len(o.Payload), err)
		}
		if st := s.Stats(); st.Refused != 1 || st.ResetBroken != 1 || st.SentObjects != 0 || s.store.Stats().Stored != 0 {
			t.Errorf("%+v", st)
		}
		honest.put(o)
		again := s.watcher(t, from(0))
		again.next(0)
		again.until(o, len(o.Payload))
	})
}

// An object is continued by whoever has more of it: the publisher that began it may stall, die, or come back.
func TestAnotherPublisherContinues(t *testing.T) {
	for name, meanwhile := range map[string]func(t *testing.T, s *server, a *publisher, o *object.Object) *publisher{
		"stalls": func(t *testing.T, s *server, a *publisher, o *object.Object) *publisher { return s.publisher(t, ts) },
		"dies": func(t *testing.T, s *server, a *publisher, o *object.Object) *publisher {
			b := s.publisher(t, ts)
			a.c.leave()
			wait(t, "the stream's end", func() bool { return s.Stats().BrokenStreams == 1 })
			return b
		},
		"comes back": func(t *testing.T, s *server, a *publisher, o *object.Object) *publisher {
			a.c.leave()
			wait(t, "its end", func() bool { return s.Stats().LiveTracks == 0 })
			return s.publisher(t, ts)
		},
		"dies while both send": func(t *testing.T, s *server, a *publisher, o *object.Object) *publisher {
			b := s.publisher(t, ts)
			b.begin(o, 20_000)
			synctest.Wait()
			a.c.leave()
			wait(t, "the stream's end", func() bool { return s.Stats().BrokenStreams == 1 })
			b.more(o, 20_000, len(o.Payload)/4)
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(t *testing.T) {
				s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
				a := s.publisher(t, ts)
				w := s.watcherOfNew(t, a)
				o := large(1, 0)
				half, size := len(o.Payload)/2, len(o.Payload)
				a.begin(o, half)
				w.next(0)
				w.until(o, half)
				b := meanwhile(t, s, a, o)
				if b.w == nil {
					b.begin(o, size/4)
				}
				b.more(o, size/4, size*3/4)
				w.until(o, size*3/4)
				b.more(o, size*3/4, size)
				w.until(o, size)
				b.put(&object.Object{Group: 1, ID: 1, Status: object.EndOfGroup})
				w.next(1)
				if _, err := w.r.Next(); err != io.EOF {
					t.Error(err)
				}
				if st := s.Stats(); st.ResetBroken+st.ResetIncomplete+st.Conflicts+st.Refused != 0 || st.Objects != 2 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// Without a hash nobody can tell what the rest is, so it is reset.
func TestObjectWithoutHashBreaksOff(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		a, b := s.publisher(t, ts), s.publisher(t, ts)
		w := s.watcherOfNew(t, a)
		o := large(1, 0)
		o.Properties = nil
		a.begin(o, len(o.Payload)/2)
		w.next(0)
		w.until(o, len(o.Payload)/2)
		a.c.leave()
		var reset *moqt.StreamResetError
		if _, err := w.rest(o); !errors.As(err, &reset) {
			t.Error(err)
		}
		b.put(o)
		again := s.watcher(t, from(0))
		again.next(0)
		again.until(o, len(o.Payload))
	})
}

// A publisher that began with other bytes under the same hash costs those who were sent them their stream, and nobody more.
func TestPublishersContradictEachOther(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		a, b := s.publisher(t, ts), s.publisher(t, ts)
		w := s.watcherOfNew(t, a)
		o := large(1, 0)
		lie := *o
		lie.Payload = bytes.Clone(o.Payload)
		lie.Payload[7] ^= 1
		a.begin(&lie, 1000)
		w.next(0)
		w.until(&lie, 1000)
		b.put(o)
		var reset *moqt.StreamResetError
		if n, err := w.rest(o); !errors.As(err, &reset) || n >= len(o.Payload) {
			t.Errorf("%d bytes, %v", n, err)
		}
		again := s.watcher(t, from(0))
		again.next(0)
		again.until(o, len(o.Payload))
		a.more(&lie, 1000, len(o.Payload))
		wait(t, "the refusal", func() bool { return s.Stats().Refused == 1 })
	})
}

// An object that does not go on is given up like a group that does not, so that the track goes on.
func TestStalledObjectIsReset(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p := s.publisher(t, ts)
		w := s.watcherOfNew(t, p)
		o := large(1, 0)
		p.begin(o, 100_000)
		w.next(0)
		w.until(o, 100_000)
		p.w = nil
		p.put(large(2, 0))
		began := time.Now()
		var reset *moqt.StreamResetError
		if _, err := w.rest(o); !errors.As(err, &reset) {
			t.Error(err)
		}
		if d := time.Since(began); d < time.Second || d > 3*time.Second {
			t.Errorf("reset after %v", d)
		}
		w.r = nil
		w.next(0)
		w.until(large(2, 0), 100_000)
	})
}

// readLarge reads a group of large objects, a buffer at a time, and compares them.
func readLarge(t *testing.T, r *moqt.SubgroupReader, buf []byte) {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Errorf("group %d: %v", r.Header().Group, err)
			return
		}
		var got bytes.Buffer
		io.CopyBuffer(&struct{ io.Writer }{&got}, struct{ io.Reader }{r}, buf)
		if h.Size > 0 && !bytes.Equal(got.Bytes(), large(r.Header().Group, h.ID).Payload) {
			t.Errorf("object %d/%d is not what was published", r.Header().Group, h.ID)
			return
		}
	}
}

// Payloads' memory is used again, but not while anybody is being sent it: all viewers, slow ones too, get what was published.
func TestMemoryIsNotUsedTooEarly(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{CacheBytes: 1}, store.Config{})
	a, b := s.publisher(t, ts), s.publisher(t, ts)
	const groups, objects = 40, 3
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	a.put(large(0, 0))
	s.stored(t, 1)
	var viewers, homes sync.WaitGroup
	for i := range 3 {
		sub, err := s.dial(t, nil).Subscribe(ctx, ts, from(0))
		if err != nil {
			t.Fatal(err)
		}
		viewers.Go(func() {
			for range groups {
				r, err := sub.AcceptSubgroup(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				// At the same time as the groups before: all share the connection's window.
				viewers.Go(func() { readLarge(t, r, make([]byte, 1000<<(5*i))) }) // of different speeds
			}
		})
	}
	for _, p := range []*publisher{a, b} {
		homes.Go(func() {
			for g := range uint64(groups) {
				for id := range uint64(objects) {
					if p != a || g+id > 0 {
						p.put(large(g, id))
					}
				}
				p.put(&object.Object{Group: g, ID: objects, Status: object.EndOfGroup})
			}
		})
	}
	homes.Wait()
	viewers.Wait()
	if st := s.Stats(); st.ResetLag+st.ResetBroken+st.ResetIncomplete+st.Conflicts+st.Refused > 0 {
		t.Errorf("%+v", st)
	}
}
