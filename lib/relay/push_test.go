package relay

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// taker is a peer that takes what it is pushed.
type taker struct {
	moqt.UnimplementedHandler
	refuse string // name of a track that is not taken
	got    chan string
}

func (k *taker) Publish(ctx context.Context, r *moqt.PublishRequest) {
	if r.Track.Name == k.refuse {
		k.got <- "refused " + r.Track.String()
		r.Reject(wire.RequestUninterested, "")
		return
	}
	sub, err := r.Accept(moqt.SubscribeOptions{})
	if err != nil {
		return
	}
	for {
		r, err := sub.AcceptSubgroup(ctx)
		if err == nil {
			_, err = r.Next()
		}
		if err != nil {
			return
		}
		b, _ := io.ReadAll(r)
		k.got <- fmt.Sprintf("%s %d %d", sub.Track().Name, r.Header().Group, len(b))
	}
}

func (k *taker) gets(t *testing.T, want string) { t.Helper(); comes(t, k.got, want) }

// comes waits for a word, which must be the next one.
func comes(t *testing.T, words <-chan string, want string) {
	t.Helper()
	select {
	case got := <-words:
		if got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	case <-within(t, time.Minute).Done():
		t.Fatalf("%q does not come", want)
	}
}

// TestTracksArePushed: a peer that asks for the tracks below a prefix is offered those that are live, now and later, and then those below
// another prefix; not its own, not what it refused, and none twice.
func TestTracksArePushed(t *testing.T) {
	for _, v := range wire.Versions() {
		t.Run(v.String(), func(t *testing.T) {
			s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
			name := func(ns, track string) object.TrackName {
				return object.TrackName{Namespace: object.Namespace{"ec", ns}, Name: track}
			}
			a := s.publisher(t, name("one", "a"))
			refused := s.publisher(t, name("one", "refused"))
			other := s.publisher(t, name("two", "other"))
			k := &taker{refuse: "refused", got: make(chan string, 10)}
			ms, err := moqt.Dial(within(t, time.Minute), s.url(), s.tls, &moqt.Config{Handler: k, Versions: []moqt.Version{v}})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() { ms.Run(context.Background()); close(done) }()
			defer func() { ms.Close(wire.NoError, ""); <-done }()
			if _, err := ms.Publish(within(t, time.Minute), name("one", "own"), moqt.PublishOptions{}); err != nil {
				t.Fatal(err)
			}
			sub, err := ms.SubscribeNamespace(within(t, time.Minute), object.Namespace{"ec", "one"}, moqt.SubscribeNamespaceOptions{Publish: true, NoListing: true})
			if err != nil {
				t.Fatal(err)
			}
			k.gets(t, "refused ec-one--refused")
			wait(t, "a subscriber", func() bool { return s.Stats().Subscribers == 1 })
			size := len(part(1, 0).Payload)
			a.put(part(1, 0))
			k.gets(t, fmt.Sprintf("a 1 %d", size))
			// One that comes later.
			b := s.publisher(t, name("one", "b"))
			wait(t, "another subscriber", func() bool { return s.Stats().Subscribers == 2 })
			b.put(part(7, 0))
			k.gets(t, fmt.Sprintf("b 7 %d", size))
			refused.put(part(1, 0))
			// Another prefix.
			if v.Has(wire.ListingUpdates) {
				if err := sub.UpdatePrefix(within(t, time.Minute), object.Namespace{"ec", "two"}); err != nil {
					t.Fatal(err)
				}
				wait(t, "a subscriber below the other prefix", func() bool { return s.Stats().Subscribers == 3 })
				other.put(part(3, 0))
				k.gets(t, fmt.Sprintf("other 3 %d", size))
			}
			// What was pushed goes on when nothing more is asked for.
			sub.Close()
			b.put(part(7, 1))
			b.put(part(7, 2))
			b.w.Close()
			b.w = nil
			b.put(part(8, 0))
			k.gets(t, fmt.Sprintf("b 8 %d", size))
			if len(k.got) > 0 {
				t.Errorf("also %q", <-k.got)
			}
		})
	}
}

// TestPushedTracksAreBounded: what there is no room for is named, and can be subscribed to.
func TestPushedTracksAreBounded(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	c := s.dial(t, nil)
	for i := range maxPushed + 1 {
		if _, err := c.Publish(within(t, time.Minute), object.TrackName{Namespace: object.Namespace{"many"}, Name: fmt.Sprintf("%03d", i)}, moqt.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	k := s.dial(t, &taker{got: make(chan string, 10)})
	sub, err := k.SubscribeNamespace(within(t, time.Minute), object.Namespace{"many"}, moqt.SubscribeNamespaceOptions{Publish: true, NoListing: true})
	if err != nil {
		t.Fatal(err)
	}
	ev, err := sub.Next(within(t, time.Minute))
	if err != nil || ev.Blocked == nil || *ev.Blocked != fmt.Sprintf("%03d", maxPushed) {
		t.Fatalf("%+v, %v", ev, err)
	}
	wait(t, "the others", func() bool { return s.Stats().Subscribers == maxPushed })
	if _, err := k.Subscribe(within(t, time.Minute), object.TrackName{Namespace: object.Namespace{"many"}, Name: *ev.Blocked}, moqt.SubscribeOptions{}); err != nil {
		t.Error(err)
	}
}
