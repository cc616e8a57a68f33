package moqt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

func TestFetch(t *testing.T) { everywhere(t, testFetch) }

func testFetch(t *draftT) {
	ctx := testContext(t)
	big := bytes.Repeat([]byte("0123456789"), 30_000)
	served := make(chan error, 1)
	c, _ := pipePair(t, nil, &Config{Handler: handlers{fetch: func(_ context.Context, r *FetchRequest) {
		if r.Start != (Location{Group: 2}) || r.End != (Location{Group: 4}) || r.GroupOrder != wire.GroupOrderAscending || r.Joining != nil {
			t.Errorf("%+v", r)
		}
		w, err := r.Accept(FetchInfo{EndOfTrack: true, End: Location{Group: 4}, Properties: []byte{4, 9}})
		if err != nil {
			t.Error(err)
			return
		}
		err = errors.Join(
			w.WriteObject(FetchObject{Group: 2, Subgroup: 1, ID: 0, Priority: 8, Properties: []byte{0x3c, 1}}, []byte("first")),
			w.WriteObject(FetchObject{Group: 2, Subgroup: 1, ID: 1, Priority: 8}, nil),
			w.WriteObject(FetchObject{Kind: FetchedUnknown, Group: 3, ID: 5}, nil),
			w.WriteObjectHeader(FetchObject{Group: 4, ID: 0, Priority: 8, Size: uint64(len(big))}),
		)
		for part := big; err == nil && len(part) > 0; part = part[min(7777, len(part)):] {
			_, err = w.Write(part[:min(7777, len(part))])
		}
		served <- errors.Join(err, w.Close())
	}}})
	f, err := c.Fetch(ctx, testTrack, Location{Group: 2}, Location{Group: 4}, FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := f.Info(ctx); err != nil || !info.EndOfTrack || info.End != (Location{Group: 4}) || !bytes.Equal(info.Properties, []byte{4, 9}) {
		t.Errorf("%+v, %v", info, err)
	}
	for _, want := range []struct {
		o       FetchObject
		payload []byte
	}{
		{FetchObject{Group: 2, Subgroup: 1, ID: 0, Priority: 8, Properties: []byte{0x3c, 1}, Size: 5}, []byte("first")},
		{FetchObject{Group: 2, Subgroup: 1, ID: 1, Priority: 8}, nil},
		{FetchObject{Kind: FetchedUnknown, Group: 3, ID: 5}, nil},
		{FetchObject{Group: 4, ID: 0, Priority: 8, Size: uint64(len(big))}, big},
	} {
		o, err := f.Next()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err != nil || fmt.Sprint(o) != fmt.Sprint(want.o) || !bytes.Equal(b, want.payload) {
			t.Errorf("%+v with %d bytes (%v), want %+v", o, len(b), err, want.o)
		}
	}
	if _, err := f.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if err := recv(t, served); err != nil { // the session must not end before
		t.Error(err)
	}
}

// TestOrderOfOneGroup: a fetch of one group is in ascending order for the handler, whatever order the subscriber names, and the subscriber
// reads the answer. moq-relay asks for the last group of a track in descending order.
func TestOrderOfOneGroup(t *testing.T) { everywhere(t, testOrderOfOneGroup) }

func testOrderOfOneGroup(t *draftT) {
	ctx := testContext(t)
	orders := make(chan GroupOrder, 1)
	c, _ := pipePair(t, nil, &Config{Handler: handlers{fetch: func(_ context.Context, r *FetchRequest) {
		orders <- r.GroupOrder
		w, err := r.Accept(FetchInfo{End: r.End})
		if err != nil {
			t.Error(err)
			return
		}
		for id := range uint64(2) {
			w.WriteObject(FetchObject{Group: 7, ID: id}, []byte{byte(id)})
		}
		w.WriteObject(FetchObject{Kind: FetchedUnknown, Group: 7, ID: 9}, nil)
		w.Close()
	}}})
	for end, want := range map[Location]GroupOrder{
		{Group: 7}: wire.GroupOrderAscending, {Group: 7, Object: 10}: wire.GroupOrderAscending, {Group: 8}: wire.GroupOrderDescending,
	} {
		f, err := c.Fetch(ctx, testTrack, Location{Group: 7}, end, FetchOptions{GroupOrder: wire.GroupOrderDescending})
		if err != nil {
			t.Fatal(err)
		}
		if got := recv(t, orders); got != want {
			t.Errorf("to %v: order %v, want %v", end, got, want)
		}
		n := 0
		for ; err == nil; n++ {
			_, err = f.Next()
		}
		if n != 4 || err != io.EOF {
			t.Errorf("to %v: %d entries, %v", end, n-1, err)
		}
	}
}

func TestFetchRefusedAndCancelled(t *testing.T) { everywhere(t, testFetchRefusedAndCancelled) }

func testFetchRefusedAndCancelled(t *draftT) {
	ctx := testContext(t)
	ended := make(chan error, 1)
	c, _ := pipePair(t, nil, &Config{Handler: handlers{fetch: func(ctx context.Context, r *FetchRequest) {
		if r.Track.Name == "none" {
			r.Reject(wire.RequestInvalidRange, "")
			return
		}
		w, err := r.Accept(FetchInfo{End: r.End})
		if err != nil {
			t.Error(err)
		}
		for id := uint64(0); err == nil; id++ { // until FETCH_CANCEL
			err = w.WriteObject(FetchObject{Group: 1, ID: id}, make([]byte, 1000))
		}
		w.Reset(wire.ResetCancelled)
		ended <- err
	}}})
	var e *RequestError
	if _, err := c.Fetch(ctx, object.TrackName{Namespace: testTrack.Namespace, Name: "none"}, Location{}, Location{Group: 1}, FetchOptions{}); !errors.As(err, &e) || e.Code != wire.RequestInvalidRange {
		t.Errorf("%v", err)
	}
	f, err := c.Fetch(ctx, testTrack, Location{}, Location{Group: 1}, FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Next(); err != nil {
		t.Fatal(err)
	}
	if err := f.Cancel(); err != nil {
		t.Fatal(err)
	}
	if err := recv(t, ended); err == nil {
		t.Error("writer did not learn of the cancellation")
	}
	if _, err := f.Next(); err == nil || err == io.EOF {
		t.Errorf("after Cancel: %v", err)
	}
}

func TestJoiningFetch(t *testing.T) { everywhere(t, testJoiningFetch) }

func testJoiningFetch(t *draftT) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{Largest: &Location{Group: 10, Object: 6}})
	asked := make(chan *FetchRequest, 1)
	h.fetch = func(_ context.Context, r *FetchRequest) {
		asked <- r
		if w, err := r.Accept(FetchInfo{End: r.End}); err == nil {
			w.Close()
		}
	}
	c, _ := pipePair(t, nil, &Config{Handler: h})
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{Filter: Filter{Type: wire.FilterLargestObject}})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	writeObject(t, p, 11, 0, "the saved largest object stays the one of SUBSCRIBE_OK")
	for _, tt := range []struct {
		fetch func() (*FetchReader, error)
		start Location
	}{
		{func() (*FetchReader, error) { return c.FetchRelative(ctx, sub, 3, FetchOptions{}) }, Location{Group: 7}},
		{func() (*FetchReader, error) { return c.FetchRelative(ctx, sub, 300, FetchOptions{}) }, Location{}},
		{func() (*FetchReader, error) { return c.FetchAbsolute(ctx, sub, 2, FetchOptions{}) }, Location{Group: 2}},
	} {
		f, err := tt.fetch()
		if err != nil {
			t.Fatal(err)
		}
		r := recv(t, asked)
		if r.Start != tt.start || r.End != (Location{Group: 10, Object: 7}) || r.Joining != p || r.Track.String() != testTrack.String() {
			t.Errorf("%+v", r)
		}
		if _, err := f.Next(); err != io.EOF {
			t.Errorf("empty response: %v", err)
		}
	}
	var e *RequestError
	if _, err := c.FetchAbsolute(ctx, sub, 11, FetchOptions{}); !errors.As(err, &e) || e.Code != wire.RequestInvalidRange {
		t.Errorf("start after the largest object: %v", err)
	}
	sub.Unsubscribe()
	done(t, p.Context())
	if _, err := c.FetchRelative(ctx, sub, 1, FetchOptions{}); !errors.As(err, &e) || e.Code != wire.RequestInvalidJoiningRequestID {
		t.Errorf("without subscription: %v", err)
	}
}
