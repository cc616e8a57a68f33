package relay

import (
	"errors"
	"io"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// TestRendezvous: a SUBSCRIBE for a track that nobody publishes waits for it as long as its sender says (draft 18).
func TestRendezvous(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	for patience, want := range map[time.Duration]moqt.RequestCode{0: wire.RequestDoesNotExist, 10 * time.Millisecond: wire.RequestTimeout} {
		var e *moqt.RequestError
		if _, err := s.dial(t, nil).Subscribe(within(t, time.Minute), ts, moqt.SubscribeOptions{Rendezvous: patience}); !errors.As(err, &e) || e.Code != want {
			t.Errorf("after %v: %v, want %v", patience, err, want)
		}
	}
	type answer struct {
		sub *moqt.Subscription
		err error
	}
	answers := make(chan answer, 1)
	viewer := s.dial(t, nil)
	go func() {
		sub, err := viewer.Subscribe(within(t, time.Minute), ts, moqt.SubscribeOptions{Rendezvous: time.Minute})
		answers <- answer{sub, err}
	}()
	wait(t, "the request to wait", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.listeners) == 3 // steer, backfill and the request
	})
	p := s.publisher(t, ts)
	a := <-answers
	if a.err != nil {
		t.Fatal(a.err)
	}
	p.group(7)
	g, payload := readObject(t, a.sub)
	if g != 7 || string(payload) != string(part(7, 0).Payload) {
		t.Errorf("group %d: %d bytes", g, len(payload))
	}
}

// readObject reads the first object of the next group.
func readObject(t *testing.T, sub *moqt.Subscription) (group uint64, payload []byte) {
	t.Helper()
	r, err := sub.AcceptSubgroup(within(t, time.Minute))
	if err != nil {
		t.Fatalf("next group: %v", err)
	}
	if _, err := r.Next(); err != nil {
		t.Fatalf("its object: %v", err)
	}
	if payload, err = io.ReadAll(r); err != nil {
		t.Fatalf("its payload: %v", err)
	}
	return r.Header().Group, payload
}
