package relay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// offers takes what it is pushed, once it may, and tells the names first.
type offers struct {
	taker
	names  chan string
	answer chan struct{} // closed when PUBLISH is answered
}

func newOffers() *offers {
	return &offers{taker: taker{got: make(chan string, 10)}, names: make(chan string, 200), answer: make(chan struct{})}
}

func (k *offers) Publish(ctx context.Context, r *moqt.PublishRequest) {
	k.names <- r.Track.Name
	select {
	case <-k.answer:
		k.taker.Publish(ctx, r)
	case <-ctx.Done():
	}
}

func (k *offers) offered(t *testing.T, want string) { t.Helper(); comes(t, k.names, want) }

// below makes a name below a namespace of tests.
func below(ns, track string) object.TrackName {
	return object.TrackName{Namespace: object.Namespace{"many", ns}, Name: track}
}

func (s *server) asksForTracks(t *testing.T, c *client, ns ...string) *moqt.NamespaceSubscription {
	t.Helper()
	o := moqt.SubscribeNamespaceOptions{Publish: true, NoListing: true}
	sub, err := c.SubscribeNamespace(within(t, time.Minute), ns, o)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// TestPushedAgain: who was pushed a track that begins anew is offered the new one.
func TestPushedAgain(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	first := s.publisher(t, below("a", "x"))
	first.put(&object.Object{Payload: []byte("first")})
	s.stored(t, 1)
	k := newOffers()
	close(k.answer)
	s.asksForTracks(t, s.dial(t, k), "many")
	k.offered(t, "x")
	wait(t, "a subscriber", func() bool { return s.Stats().Subscribers == 1 })
	second := s.publisher(t, below("a", "x")) // before the first one leaves, so that the track has a publisher all the time
	first.c.leave()
	tr := s.lookup(below("a", "x"))
	wait(t, "the first publisher to leave", func() bool { n, _, _ := tr.Status(time.Now()); return n == 1 })
	second.put(&object.Object{Payload: []byte("second")})
	k.offered(t, "x")
	wait(t, "a subscriber", func() bool { return s.Stats().Subscribers == 1 })
	second.w = nil
	second.put(&object.Object{Group: 1, Payload: []byte("more")})
	got := <-k.got
	if got == "x 0 6" { // the object with which it began anew came before or after that offer
		got = <-k.got
	}
	if got != "x 1 4" {
		t.Errorf("%q", got)
	}
}

// TestNotPushedTwice: while the peer does not answer, a track whose publisher comes and goes is not offered once more each time.
func TestNotPushedTwice(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	k := newOffers()
	s.asksForTracks(t, s.dial(t, k), "many")
	for i := range 3 {
		p := s.publisher(t, below("a", "x"))
		if i == 0 {
			k.offered(t, "x")
		}
		p.c.leave()
		wait(t, "the publisher to leave", func() bool { tr := s.lookup(below("a", "x")); return tr == nil || !tr.Live() })
		name := fmt.Sprint("y", i)
		s.publisher(t, below("a", name)) // when this is offered, the others were looked at
		k.offered(t, name)
	}
}

// TestPushedTracksAreBoundedPerPeer: a peer gets no more by asking for several prefixes, or again and again.
func TestPushedTracksAreBoundedPerPeer(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	c := s.dial(t, nil)
	for i := range 2 * (maxPushed - 1) {
		name := below(fmt.Sprint(i%2), fmt.Sprintf("%03d", i/2))
		if _, err := c.Publish(within(t, time.Minute), name, moqt.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	k := s.dial(t, &taker{got: make(chan string, 10)})
	first := s.asksForTracks(t, k, "many", "0")
	wait(t, "the first ones", func() bool { return s.Stats().Subscribers == maxPushed-1 })
	first.Close()
	sub := s.asksForTracks(t, k, "many", "1")
	for i := range maxPushed - 2 {
		ev, err := sub.Next(within(t, time.Minute))
		if err != nil || ev.Blocked == nil || *ev.Blocked != fmt.Sprintf("%03d", i+1) {
			t.Fatalf("%+v, %v", ev, err)
		}
	}
	wait(t, "one more", func() bool { return s.Stats().Subscribers == maxPushed })
}

// TestListingsAreBounded: a peer with many requests for namespaces, each of which remembers all there are, is refused more.
func TestListingsAreBounded(t *testing.T) {
	for _, v := range wire.Versions() {
		s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
		c := s.dialWith(t, &moqt.Config{Versions: []moqt.Version{v}})
		ask := func(i int) (*moqt.NamespaceSubscription, error) {
			o := moqt.SubscribeNamespaceOptions{Publish: i%2 == 0, NoListing: i%2 == 0}
			return c.SubscribeNamespace(within(t, time.Minute), object.Namespace{"many", fmt.Sprint(i)}, o)
		}
		var first *moqt.NamespaceSubscription
		for i := range maxListings {
			sub, err := ask(i)
			if err != nil {
				t.Fatalf("%v: request %d: %v", v, i, err)
			}
			if i == 0 {
				first = sub
			}
		}
		_, err := ask(maxListings)
		if refusal, ok := errors.AsType[*moqt.RequestError](err); !ok || refusal.Code != wire.RequestExcessiveLoad {
			t.Errorf("%v: %v", v, err)
		}
		first.Close()
		wait(t, "room for one more", func() bool { _, err := ask(maxListings); return err == nil })
	}
}
