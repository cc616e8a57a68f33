package relay

import (
	"errors"
	"io"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// TestPublisherBeginsAnew: a publisher of another make, whose objects have no hashes, restarts and counts its groups from 0 again. Who
// subscribed is told that the track has ended, and who subscribes anew gets the new objects, live and stored.
func TestPublisherBeginsAnew(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	publish := func(run string, groups uint64) *publisher {
		p := s.publisher(t, ts)
		for g := range groups {
			w, err := p.pub.OpenSubgroup(within(t, time.Minute), moqt.SubgroupHeader{Group: g})
			if err == nil {
				err = errors.Join(w.WriteObject(0, nil, 0, []byte(run)), w.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return p
	}
	first := publish("first", 5)
	s.stored(t, 5)
	c := s.dial(t, nil)
	defer c.leave()
	old, err := c.Subscribe(within(t, time.Minute), ts, from(0))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := old.AcceptSubgroup(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	first.c.leave()
	wait(t, "the publisher to leave", func() bool { return !s.lookup(ts).Live() })
	publish("second", 2)
	_, err = old.AcceptSubgroup(within(t, time.Minute))
	if done, ok := errors.AsType[*moqt.DoneError](err); !ok || done.Code != wire.DoneTrackEnded {
		t.Errorf("the subscription ended with %v", err)
	}
	sub, err := c.Subscribe(within(t, time.Minute), ts, from(0))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := sub.AcceptSubgroup(within(t, time.Minute))
		if err == nil {
			_, err = r.Next()
		}
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != "second" {
			t.Errorf("group %d: %q, %v", r.Header().Group, b, err)
		}
	}
	if n := s.store.Track(ts).Count(0, 100); n != 2 {
		t.Errorf("%d groups are stored", n)
	}
}

// TestSlowSubscriberOfATrackThatBeginsAnew: who does not read is told as well, and nothing waits for him.
func TestSlowSubscriberOfATrackThatBeginsAnew(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	first := s.publisher(t, ts)
	first.put(big(0))
	s.stored(t, 1)
	c := s.dial(t, nil)
	defer c.leave()
	sub, err := c.Subscribe(within(t, time.Minute), ts, from(0))
	if err == nil {
		_, err = sub.AcceptSubgroup(within(t, time.Minute)) // and it is not read
	}
	if err != nil {
		t.Fatal(err)
	}
	first.c.leave()
	wait(t, "the publisher to leave", func() bool { return !s.lookup(ts).Live() })
	s.publisher(t, ts).put(&object.Object{Payload: []byte("second")})
	_, err = sub.AcceptSubgroup(within(t, time.Minute))
	if done, ok := errors.AsType[*moqt.DoneError](err); !ok || done.Code != wire.DoneTrackEnded {
		t.Errorf("the subscription ended with %v", err)
	}
	wait(t, "the subscriber to be gone", func() bool { return s.Stats().Subscribers == 0 })
}

// TestChainBeginsAnew: behind another relay, too, whoever follows a track that begins anew is told, and comes to what is new and to
// nothing else.
func TestChainBeginsAnew(t *testing.T) {
	origin := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	last := edge(t, origin.upstream())
	put := func(p *publisher, group uint64, run string) {
		p.w = nil
		p.put(&object.Object{Group: group, Payload: []byte(run)})
		p.put(&object.Object{Group: group, ID: 1, Status: object.EndOfGroup})
	}
	first := origin.publisher(t, ts)
	for g := range uint64(5) {
		put(first, g, "first")
	}
	origin.stored(t, 10)
	last.knows(t, ts.Namespace)
	c := last.dial(t, nil)
	defer c.leave()
	// follow reads groups, the first objects of which it gives to want, until that is satisfied, and subscribes again when the track ends.
	ends := 0
	follow := func(want func(payloads map[uint64]string) bool) {
		payloads := make(map[uint64]string)
		sub, err := c.Subscribe(within(t, time.Minute), ts, from(0))
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Unsubscribe()
		for !want(payloads) {
			r, err := sub.AcceptSubgroup(within(t, time.Minute))
			if done, ok := errors.AsType[*moqt.DoneError](err); ok && done.Code == wire.DoneTrackEnded {
				ends++
				clear(payloads)
				sub, err = c.Subscribe(within(t, time.Minute), ts, from(0))
				if err == nil {
					continue
				}
			}
			if err != nil {
				t.Fatalf("%v, after %v", err, payloads)
			}
			if _, err := r.Next(); err != nil {
				continue
			}
			b, _ := io.ReadAll(r)
			payloads[r.Header().Group] = string(b)
		}
	}
	follow(func(got map[uint64]string) bool { return len(got) == 5 })
	first.c.leave()
	wait(t, "the publisher to leave", func() bool { return !origin.lookup(ts).Live() })
	second := origin.publisher(t, ts)
	put(second, 0, "second")
	put(second, 1, "second")
	wait(t, "the origin to begin anew", func() bool { return origin.store.Track(ts).Count(0, 9) == 2 })
	wait(t, "the other relay to leave", func() bool { return origin.Stats().Subscribers == 0 })
	come := make(chan struct{})
	go func() { // while it is followed here
		defer close(come)
		wait(t, "a subscriber", func() bool { return origin.Stats().Subscribers > 0 })
		put(second, 2, "second")
	}()
	follow(func(got map[uint64]string) bool {
		return got[0] == "second" && got[1] == "second" && got[2] == "second"
	})
	<-come
	if ends == 0 {
		t.Error("the end was not told")
	}
	if n := last.store.Track(ts).Count(0, 9); n != 3 {
		t.Errorf("%d groups are stored", n)
	}
}
