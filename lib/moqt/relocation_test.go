package moqt

import (
	"context"
	"errors"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// TestRelocation: each request can be sent elsewhere by its receiver; who made it learns of that, and it goes on meanwhile.
func TestRelocation(t *testing.T) { everywhere(t, testRelocation) }

func testRelocation(t *draftT) {
	const uri = "moqt://elsewhere:4443"
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	taken := make(chan *Subscription, 1)
	announced := make(chan *PublishNamespaceRequest, 1)
	lists := make(chan *NamespaceAnnouncer, 1)
	fetches := make(chan *FetchWriter, 1)
	h.publish = func(_ context.Context, r *PublishRequest) {
		if sub, err := r.Accept(SubscribeOptions{}); err == nil {
			taken <- sub
		}
	}
	h.publishNamespace = func(_ context.Context, r *PublishNamespaceRequest) { r.Accept(); announced <- r }
	h.subscribeNamespace = func(_ context.Context, r *SubscribeNamespaceRequest) {
		if a, err := r.Accept(); err == nil {
			lists <- a
		}
	}
	h.fetch = func(_ context.Context, r *FetchRequest) {
		if w, err := r.Accept(FetchInfo{End: Location{Group: 1, Object: 1}}); err == nil {
			fetches <- w
		}
	}
	c, s := pipePair(t, &Config{Handler: h}, &Config{Handler: h})

	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	if !t.v.RequestStreams() {
		if err := p.GoAway(uri, 0); !errors.Is(err, wire.ErrValue) {
			t.Errorf("in a draft without: %v", err)
		}
		return
	}
	other := object.TrackName{Namespace: testTrack.Namespace, Name: "other"}
	pub, err := c.Publish(ctx, other, PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ns, err := c.PublishNamespace(ctx, testTrack.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.Fetch(ctx, testTrack, Location{}, Location{Group: 1, Object: 1}, FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	theirs, fetch, space := recv(t, taken), recv(t, fetches), recv(t, announced)
	type request interface {
		Session() *Session
		GoingAway() <-chan struct{}
		Relocation() Relocation
	}
	for _, tt := range []struct {
		name   string
		asked  request
		goAway func(string, time.Duration) error
	}{{"SUBSCRIBE", sub, p.GoAway}, {"PUBLISH", pub, theirs.GoAway}, {"PUBLISH_NAMESPACE", ns, space.GoAway}, {"FETCH", f, fetch.GoAway}} {
		if tt.asked.Relocation() != (Relocation{}) || tt.asked.Session() != c {
			t.Errorf("%s: told of a relocation too early, or of another session", tt.name)
		}
		for range 2 { // it is sent once
			if err := tt.goAway(uri, time.Hour); err != nil {
				t.Fatal(tt.name, err)
			}
		}
		recv(t, tt.asked.GoingAway())
		if to := tt.asked.Relocation(); to != (Relocation{uri, time.Hour}) {
			t.Errorf("%s: sent to %+v", tt.name, to)
		}
	}
	writeObject(t, p, 1, 0, "goes on")
	if _, _, got := readObject(t, sub); got != "goes on" {
		t.Errorf("%q", got)
	}
	if err := fetch.WriteObject(FetchObject{Group: 1}, []byte("goes on")); err != nil {
		t.Error(err)
	}
	fetch.Close()
	if o, err := f.Next(); err != nil || o.Group != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	f.Cancel()

	list, err := c.SubscribeNamespace(ctx, nil, SubscribeNamespaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := recv(t, lists)
	if err := errors.Join(a.GoAway("", 0), a.GoAway("", 0), a.Add(testTrack.Namespace)); err != nil {
		t.Fatal(err)
	}
	var away *GoAwayError
	if _, err := list.Next(ctx); !errors.As(err, &away) || away.URI != "" || list.Relocation() != away.Relocation || list.Session() != c {
		t.Errorf("listing: %v", err)
	}
	if e, err := list.Next(ctx); err != nil || !e.Namespace.Equal(testTrack.Namespace) {
		t.Errorf("after the GOAWAY: %+v, %v", e, err)
	}

	// A client may do so, but not name a place.
	if _, err := s.Subscribe(ctx, other, SubscribeOptions{}); (err == nil) == t.v.Has(wire.OneSubscription) {
		t.Errorf("subscribed to a track that is published: %v", err)
	} else if err == nil {
		recv(t, pubs)
	}
	third := object.TrackName{Namespace: testTrack.Namespace, Name: "third"}
	back, err := s.Subscribe(ctx, third, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mine := recv(t, pubs)
	if err := mine.GoAway(uri, 0); !errors.Is(err, wire.ErrValue) {
		t.Errorf("a client's URI: %v", err)
	}
	if err := mine.GoAway("", 0); err != nil {
		t.Fatal(err)
	}
	recv(t, back.GoingAway())
}

// TestRelocationPatience: a request that is not moved in time ends with GOING_AWAY.
func TestRelocationPatience(t *testing.T) { everywhere(t, testRelocationPatience) }

func testRelocationPatience(t *draftT) {
	if !t.v.RequestStreams() {
		return
	}
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	lists := make(chan *NamespaceAnnouncer, 1)
	announced := make(chan *PublishNamespaceRequest, 1)
	taken := make(chan *Subscription, 1)
	h.publish = func(_ context.Context, r *PublishRequest) {
		if sub, err := r.Accept(SubscribeOptions{}); err == nil {
			taken <- sub
		}
	}
	h.publishNamespace = func(_ context.Context, r *PublishNamespaceRequest) { r.Accept(); announced <- r }
	h.subscribeNamespace = func(_ context.Context, r *SubscribeNamespaceRequest) {
		if a, err := r.Accept(); err == nil {
			lists <- a
		}
	}
	const patience = 20 * time.Millisecond
	c, _ := pipePair(t, &Config{DoneTimeout: patience}, &Config{Handler: h, DoneTimeout: patience})
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	p.GoAway("", patience)
	var end *DoneError
	if err := done(t, sub.Context()); !errors.As(err, &end) || end.Code != wire.DoneGoingAway {
		t.Errorf("subscription: %v", err)
	}
	done(t, p.Context())

	pub, err := c.Publish(ctx, testTrack, PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	theirs := recv(t, taken)
	theirs.GoAway("", patience)
	done(t, pub.Context())
	done(t, theirs.Context())

	ns, err := c.PublishNamespace(ctx, testTrack.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	space := recv(t, announced)
	space.GoAway("", patience)
	var e *RequestError
	if err := done(t, ns.Context()); !errors.As(err, &e) || e.Code != wire.RequestGoingAway {
		t.Errorf("namespace: %v", err)
	}
	done(t, space.Context())

	list, err := c.SubscribeNamespace(ctx, nil, SubscribeNamespaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := recv(t, lists)
	a.GoAway("", patience)
	var away *GoAwayError
	if _, err := list.Next(ctx); !errors.As(err, &away) || away.Timeout != patience {
		t.Errorf("listing: %v", err)
	}
	var reset *StreamResetError
	if _, err := list.Next(ctx); !errors.As(err, &reset) || reset.Code != wire.ResetGoingAway {
		t.Errorf("listing that was not moved: %v", err)
	}
	done(t, a.Context())
}
