package moqt

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

func TestNamespaces(t *testing.T) { everywhere(t, testNamespaces) }

func testNamespaces(t *draftT) {
	ctx := testContext(t)
	prefix := object.Namespace{"ec", "atsc"}
	one := object.Namespace{"ec", "atsc", "1", "2"}
	announced := make(chan *PublishNamespaceRequest, 1)
	announcers := make(chan *NamespaceAnnouncer, 1)
	c, _ := pipePair(t, nil, &Config{Handler: handlers{
		publishNamespace: func(_ context.Context, r *PublishNamespaceRequest) {
			if r.Namespace.String() == "not-mine" {
				r.Reject(wire.RequestUnauthorized, "not yours")
				return
			}
			if err := r.Accept(); err != nil {
				t.Error(err)
			}
			announced <- r
		},
		subscribeNamespace: func(_ context.Context, r *SubscribeNamespaceRequest) {
			if r.Prefix.String() != "ec-atsc" || r.Options.Publish || r.Options.NoListing {
				t.Errorf("%+v", r)
			}
			a, err := r.Accept()
			if err != nil {
				t.Error(err)
			}
			announcers <- a
		},
	}})
	p, err := c.PublishNamespace(ctx, one)
	if err != nil {
		t.Fatal(err)
	}
	r := recv(t, announced)
	if err := p.Done(); err != nil {
		t.Fatal(err)
	}
	done(t, r.Context())
	if p, err = c.PublishNamespace(ctx, one); err != nil {
		t.Fatal(err)
	}
	if err := recv(t, announced).Cancel(wire.RequestExpiredAuthToken, "expired"); err != nil {
		t.Fatal(err)
	}
	var e *RequestError
	if err := done(t, p.Context()); !errors.As(err, &e) || e.Code != wire.RequestExpiredAuthToken {
		t.Errorf("cancelled with %v", err)
	}
	if _, err := c.PublishNamespace(ctx, object.Namespace{"not", "mine"}); !errors.As(err, &e) || e.Code != wire.RequestUnauthorized {
		t.Errorf("refused with %v", err)
	}

	sub, err := c.SubscribeNamespace(ctx, prefix, SubscribeNamespaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := recv(t, announcers)
	for _, overlap := range []object.Namespace{{}, {"ec"}, prefix, one} {
		if _, err := c.SubscribeNamespace(ctx, overlap, SubscribeNamespaceOptions{}); !errors.As(err, &e) || e.Code != wire.RequestPrefixOverlap {
			t.Errorf("overlapping prefix %v: %v", overlap, err)
		}
	}
	for _, f := range []func(object.Namespace) error{a.Remove, a.Add, a.Add, a.Remove} { // doubles are not sent
		if err := f(one); err != nil {
			t.Fatal(err)
		}
	}
	for _, gone := range []bool{false, true} {
		ev, err := sub.Next(ctx)
		if err != nil || ev.Done != gone || ev.Namespace.String() != one.String() {
			t.Errorf("event %+v, %v", ev, err)
		}
	}
	if err := a.Add(object.Namespace{"ec", "dvb"}); !errors.Is(err, wire.ErrValue) {
		t.Errorf("namespace outside of the prefix: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := sub.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing to tell: %v", err)
	}
	if err := a.Add(prefix); err != nil { // an empty suffix
		t.Fatal(err)
	}
	if ev, err := sub.Next(ctx); err != nil || ev.Namespace.String() != "ec-atsc" {
		t.Errorf("after a timeout: %+v, %v", ev, err)
	}
	sub.Close()
	done(t, a.Context())
	sub, err = c.SubscribeNamespace(ctx, prefix, SubscribeNamespaceOptions{}) // the prefix is free again
	if err != nil {
		t.Fatal(err)
	}
	recv(t, announcers).Close()
	if _, err := sub.Next(ctx); err != io.EOF {
		t.Errorf("after the publisher closed: %v", err)
	}
}

func TestTrackStatus(t *testing.T) { everywhere(t, testTrackStatus) }

func testTrackStatus(t *draftT) {
	ctx := testContext(t)
	c, _ := pipePair(t, nil, &Config{Handler: handlers{trackStatus: func(_ context.Context, r *TrackStatusRequest) {
		if r.Track.Name == "none" {
			r.Reject(wire.RequestDoesNotExist, "")
			return
		}
		r.Accept(TrackInfo{Largest: &Location{Group: 1, Object: 2}, Expires: time.Minute})
	}}})
	info, err := c.TrackStatus(ctx, testTrack)
	if err != nil || info.Largest == nil || *info.Largest != (Location{Group: 1, Object: 2}) || info.Expires != time.Minute {
		t.Errorf("%+v, %v", info, err)
	}
	var e *RequestError
	if _, err := c.TrackStatus(ctx, object.TrackName{Namespace: testTrack.Namespace, Name: "none"}); !errors.As(err, &e) || e.Code != wire.RequestDoesNotExist {
		t.Errorf("%v", err)
	}
}
