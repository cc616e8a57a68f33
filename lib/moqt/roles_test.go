package moqt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// pipePair connects two sessions in memory and runs both.
func pipePair(t testing.TB, client, server *Config) (c, s *Session) {
	t.Helper()
	a, b := Pipe(PipeOptions{Version: wire.Draft16})
	c, s = NewClient(a, "relay", "/", client), NewServer(b, server)
	run(t, c)
	run(t, s)
	return c, s
}

func ptr[T any](v T) *T { return &v }

// accepting returns a handler that accepts subscriptions and hands the publications out.
func accepting(info TrackInfo) (handlers, <-chan *Publication) {
	pubs := make(chan *Publication, 16)
	return handlers{subscribe: func(_ context.Context, r *SubscribeRequest) {
		if p, err := r.Accept(info); err == nil {
			pubs <- p
		}
	}}, pubs
}

func recv[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func done(t testing.TB, ctx context.Context) error {
	t.Helper()
	recv(t, ctx.Done())
	return context.Cause(ctx)
}

func writeObject(t testing.TB, p *Publication, group, id uint64, payload string) {
	t.Helper()
	w, err := p.OpenSubgroup(testContext(t), SubgroupHeader{Group: group})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteObject(id, nil, wire.StatusNormal, []byte(payload)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func readObject(t testing.TB, sub *Subscription) (SubgroupHeader, ObjectHeader, string) {
	t.Helper()
	g, err := sub.AcceptSubgroup(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	o, err := g.Next()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(g)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Next(); err != io.EOF {
		t.Fatalf("after the object: %v", err)
	}
	return g.Header(), o, string(b)
}

func TestRequestsNobodyHandlesAreNotSupported(t *testing.T) {
	ctx := testContext(t)
	c, _ := pipePair(t, nil, nil)
	for name, request := range map[string]func() error{
		"SUBSCRIBE": func() error { _, err := c.Subscribe(ctx, testTrack, SubscribeOptions{}); return err },
		"FETCH": func() error {
			_, err := c.Fetch(ctx, testTrack, Location{}, Location{Group: 1}, FetchOptions{})
			return err
		},
		"TRACK_STATUS":        func() error { _, err := c.TrackStatus(ctx, testTrack); return err },
		"PUBLISH":             func() error { _, err := c.Publish(ctx, testTrack, PublishOptions{}); return err },
		"PUBLISH_NAMESPACE":   func() error { _, err := c.PublishNamespace(ctx, testTrack.Namespace); return err },
		"SUBSCRIBE_NAMESPACE": func() error { _, err := c.SubscribeNamespace(ctx, nil, SubscribeNamespaceOptions{}); return err },
	} {
		var e *RequestError
		if err := request(); !errors.As(err, &e) || e.Code != wire.RequestNotSupported {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHandlerThatDoesNotAnswer(t *testing.T) {
	ctx := testContext(t)
	c, _ := pipePair(t, nil, &Config{Handler: handlers{
		subscribe: func(context.Context, *SubscribeRequest) {},
		publish:   func(context.Context, *PublishRequest) {},
	}})
	var e *RequestError
	if _, err := c.Subscribe(ctx, testTrack, SubscribeOptions{}); !errors.As(err, &e) || e.Code != wire.RequestInternalError {
		t.Errorf("SUBSCRIBE: %v", err)
	}
	if _, err := c.Publish(ctx, testTrack, PublishOptions{}); !errors.As(err, &e) || e.Code != wire.RequestInternalError {
		t.Errorf("PUBLISH: %v", err)
	}
}

func TestFilters(t *testing.T) {
	largest := &Location{Group: 4, Object: 7}
	for _, tt := range []struct {
		filter   Filter
		largest  *Location
		start    Location
		endGroup uint64
	}{
		{Filter{}, largest, Location{}, math.MaxUint64},
		{Filter{Type: wire.FilterLargestObject}, largest, Location{Group: 4, Object: 8}, math.MaxUint64},
		{Filter{Type: wire.FilterLargestObject}, nil, Location{}, math.MaxUint64},
		{Filter{Type: wire.FilterNextGroupStart}, largest, Location{Group: 5}, math.MaxUint64},
		{Filter{Type: wire.FilterNextGroupStart}, nil, Location{}, math.MaxUint64},
		{Filter{Type: wire.FilterAbsoluteStart, Start: Location{Group: 2, Object: 1}}, largest, Location{Group: 2, Object: 1}, math.MaxUint64},
		{Filter{Type: wire.FilterAbsoluteRange, Start: Location{Group: 2}, EndGroup: 3}, largest, Location{Group: 2}, 3},
	} {
		t.Run(fmt.Sprint(tt.filter, tt.largest), func(t *testing.T) {
			h, pubs := accepting(TrackInfo{Largest: tt.largest})
			c, _ := pipePair(t, nil, &Config{Handler: h})
			sub, err := c.Subscribe(testContext(t), testTrack, SubscribeOptions{Filter: tt.filter})
			if err != nil {
				t.Fatal(err)
			}
			st := recv(t, pubs).State()
			if st.Start != tt.start || st.EndGroup != tt.endGroup {
				t.Errorf("from %v to group %d", st.Start, st.EndGroup)
			}
			if !st.Wants(tt.start) || tt.start.Object > 0 && st.Wants(Location{Group: tt.start.Group, Object: tt.start.Object - 1}) {
				t.Error("Wants disagrees")
			}
			if got := sub.Info().Largest; (got == nil) != (tt.largest == nil) || got != nil && *got != *tt.largest {
				t.Errorf("largest %v", got)
			}
		})
	}
}

func TestSubscribeOptionsArrive(t *testing.T) {
	asked := make(chan *SubscribeRequest, 1)
	c, _ := pipePair(t, nil, &Config{Handler: handlers{subscribe: func(_ context.Context, r *SubscribeRequest) {
		asked <- r
		r.Accept(TrackInfo{Expires: 3 * time.Second, Properties: []byte{0x0e, 9, 0x14, 2}}) // priority 9, group order descending
	}}})
	sub, err := c.Subscribe(testContext(t), testTrack, SubscribeOptions{
		Priority: ptr(uint8(3)), DeliveryTimeout: 1500 * time.Microsecond, NewGroup: ptr(uint64(0)), NoForward: true,
		Tokens: []Token{{AliasType: wire.TokenUseValue, Type: 7, Value: []byte("let me in")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := recv(t, asked)
	if s := r.State; s.Forward || s.Priority != 3 || s.DeliveryTimeout != 2*time.Millisecond || s.NewGroup == nil || *s.NewGroup != 0 {
		t.Errorf("state %+v", s)
	}
	if len(r.Tokens) != 1 || r.Tokens[0].Type != 7 || string(r.Tokens[0].Value) != "let me in" {
		t.Errorf("tokens %v", r.Tokens)
	}
	if sub.GroupOrder() != wire.GroupOrderDescending || sub.Info().Expires != 3*time.Second || !bytes.Equal(sub.Info().Properties, []byte{0x0e, 9, 0x14, 2}) {
		t.Errorf("subscription %+v, %v", sub.Info(), sub.GroupOrder())
	}
}

func TestPublishBothEnds(t *testing.T) {
	ctx := testContext(t)
	subs := make(chan *Subscription, 1)
	// The server publishes to the client: request ids of both parities.
	c, s := pipePair(t, &Config{Handler: handlers{publish: func(_ context.Context, r *PublishRequest) {
		if !r.Forward || r.Info.Largest == nil || *r.Info.Largest != (Location{Group: 9}) {
			t.Errorf("PUBLISH %+v", r)
		}
		sub, err := r.Accept(SubscribeOptions{Priority: ptr(uint8(1))})
		if err != nil {
			t.Error(err)
		}
		subs <- sub
	}}}, nil)
	_ = c
	p, err := s.Publish(ctx, testTrack, PublishOptions{Largest: &Location{Group: 9}})
	if err != nil {
		t.Fatal(err)
	}
	if p.State().Priority != 1 {
		t.Errorf("state %+v", p.State())
	}
	sub := recv(t, subs)
	writeObject(t, p, 10, 0, "hello")
	if h, o, b := readObject(t, sub); h.Group != 10 || o.ID != 0 || b != "hello" {
		t.Errorf("%+v %+v %q", h, o, b)
	}
	if err := p.SendDatagram(Datagram{Group: 11, ID: 4, Payload: []byte("dgram"), Properties: []byte{0x3c, 1}}); err != nil {
		t.Fatal(err)
	}
	d, err := sub.AcceptDatagram(ctx)
	if err != nil || d.Group != 11 || d.ID != 4 || string(d.Payload) != "dgram" || !bytes.Equal(d.Properties, []byte{0x3c, 1}) {
		t.Errorf("datagram %+v, %v", d, err)
	}
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if err := done(t, p.Context()); err != ErrClosed {
		t.Errorf("publication ended with %v", err)
	}
	if _, err := p.OpenSubgroup(ctx, SubgroupHeader{}); err != ErrClosed {
		t.Errorf("subgroup after unsubscribe: %v", err)
	}
	// The same track may be published again.
	if _, err := s.Publish(ctx, testTrack, PublishOptions{Largest: &Location{Group: 9}}); err != nil {
		t.Error(err)
	}
}

func TestUpdatePausesAndResumes(t *testing.T) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, _ := pipePair(t, nil, &Config{Handler: h})
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	if err := sub.Update(ctx, UpdateOptions{Forward: ptr(false), Priority: ptr(uint8(5))}); err != nil {
		t.Fatal(err)
	}
	recv(t, p.Updates())
	if s := p.State(); s.Forward || s.Priority != 5 {
		t.Errorf("state %+v", s)
	}
	if _, err := p.OpenSubgroup(ctx, SubgroupHeader{}); err != ErrNoForward {
		t.Errorf("while paused: %v", err)
	}
	if err := sub.Update(ctx, UpdateOptions{Forward: ptr(true), Filter: &Filter{Type: wire.FilterAbsoluteRange, EndGroup: 7}}); err != nil {
		t.Fatal(err)
	}
	recv(t, p.Updates())
	if s := p.State(); !s.Forward || s.EndGroup != 7 || s.Priority != 5 {
		t.Errorf("state %+v", s)
	}
	writeObject(t, p, 1, 1, "again")
	if _, _, b := readObject(t, sub); b != "again" {
		t.Errorf("%q", b)
	}
	if err := p.Done(wire.DoneTrackEnded, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.AcceptSubgroup(ctx); !errors.Is(err, io.EOF) {
		t.Errorf("after PUBLISH_DONE: %v", err)
	}
	var e *RequestError
	if err := sub.Update(ctx, UpdateOptions{Forward: ptr(false)}); !errors.As(err, &e) {
		t.Errorf("update after the end: %v", err)
	}
}

func TestDuplicateSubscriptionIsRefused(t *testing.T) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, _ := pipePair(t, nil, &Config{Handler: h})
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var e *RequestError
	if _, err := c.Subscribe(ctx, testTrack, SubscribeOptions{}); !errors.As(err, &e) || e.Code != wire.RequestDuplicateSubscription {
		t.Errorf("second SUBSCRIBE: %v", err)
	}
	sub.Unsubscribe()
	done(t, recv(t, pubs).Context())
	if _, err := c.Subscribe(ctx, testTrack, SubscribeOptions{}); err != nil {
		t.Errorf("SUBSCRIBE after UNSUBSCRIBE: %v", err)
	}
}

func TestResetReachesTheReader(t *testing.T) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, s := quicPair(t, nil, &Config{Handler: h})
	_ = s
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteObjectHeader(0, nil, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 500)); err != nil {
		t.Fatal(err)
	}
	g, err := sub.AcceptSubgroup(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := g.Next(); err != nil || o.Size != 1000 {
		t.Fatalf("%+v, %v", o, err)
	}
	if n, err := io.ReadFull(g, make([]byte, 500)); err != nil {
		t.Fatal(n, err) // the object arrives before it is complete
	}
	w.Reset(wire.ResetDeliveryTimeout)
	var reset *StreamResetError
	if _, err := io.ReadAll(g); !errors.As(err, &reset) || reset.Code != wire.ResetDeliveryTimeout || !reset.Remote {
		t.Errorf("read: %v", err)
	}
	if _, err := g.Next(); !errors.As(err, &reset) {
		t.Errorf("next: %v", err)
	}
	// A subgroup given up before its first object is still told of, so that the count of streams is right.
	if w, err = p.OpenSubgroup(ctx, SubgroupHeader{Group: 4}); err != nil {
		t.Fatal(err)
	}
	w.Reset(wire.ResetCancelled)
	if g, err = sub.AcceptSubgroup(ctx); err != nil || g.Header().Group != 4 {
		t.Fatal(err)
	}
	if _, err := g.Next(); !errors.As(err, &reset) || reset.Code != wire.ResetCancelled {
		t.Errorf("next: %v", err)
	}
	// And the other way round: STOP_SENDING ends the writer.
	if w, err = p.OpenSubgroup(ctx, SubgroupHeader{Group: 5}); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteObjectHeader(0, nil, 1<<30); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if g, err = sub.AcceptSubgroup(ctx); err != nil {
		t.Fatal(err)
	}
	g.Cancel(wire.ResetCancelled)
	done(t, w.Context())
	if _, err := w.Write([]byte("x")); !errors.As(err, &reset) || !reset.Remote {
		t.Errorf("write after STOP_SENDING: %v", err)
	}
	w.Reset(wire.ResetCancelled)
	if err := p.Done(wire.DoneGoingAway, "bye"); err != nil {
		t.Fatal(err)
	}
	var de *DoneError
	if _, err := sub.AcceptSubgroup(ctx); !errors.As(err, &de) || de.Code != wire.DoneGoingAway || errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}
}

func TestWriterKeepsTheOrder(t *testing.T) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, _ := pipePair(t, nil, &Config{Handler: h})
	if _, err := c.Subscribe(ctx, testTrack, SubscribeOptions{}); err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	w, err := p.OpenSubgroup(ctx, SubgroupHeader{})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"properties without HasProperties": w.WriteObject(0, []byte{0x3c, 1}, wire.StatusNormal, nil),
		"status with payload":              w.WriteObject(0, nil, wire.StatusEndOfGroup, []byte("x")),
		"id over 2^62":                     w.WriteObject(1<<63, nil, wire.StatusNormal, nil),
	} {
		if !errors.Is(err, wire.ErrValue) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.WriteObject(5, nil, wire.StatusNormal, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteObject(5, nil, wire.StatusNormal, nil); !errors.Is(err, ErrOrder) {
		t.Errorf("same id twice: %v", err)
	}
	if err := w.WriteObjectHeader(6, nil, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("four")); !errors.Is(err, ErrOrder) {
		t.Errorf("more than announced: %v", err)
	}
	if _, err := w.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteObject(7, nil, wire.StatusNormal, nil); !errors.Is(err, ErrOrder) {
		t.Errorf("next object before the end of this one: %v", err)
	}
	if err := w.Close(); !errors.Is(err, ErrOrder) {
		t.Errorf("closed inside an object: %v", err)
	}
}

func TestNamespaces(t *testing.T) {
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

func TestTrackStatus(t *testing.T) {
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

func TestFetch(t *testing.T) {
	ctx := testContext(t)
	big := bytes.Repeat([]byte("0123456789"), 30_000)
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
		if err := errors.Join(err, w.Close()); err != nil {
			t.Error(err)
		}
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
}

func TestFetchRefusedAndCancelled(t *testing.T) {
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

func TestJoiningFetch(t *testing.T) {
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

func TestGoAway(t *testing.T) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, s := pipePair(t, nil, &Config{Handler: h})
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.GoAway("moqt://elsewhere/"); err != nil {
		t.Fatal(err)
	}
	recv(t, c.GoingAway())
	if c.GoAwayURI() != "moqt://elsewhere/" {
		t.Errorf("URI %q", c.GoAwayURI())
	}
	if _, err := c.TrackStatus(ctx, testTrack); err != ErrGoingAway {
		t.Errorf("request after GOAWAY: %v", err)
	}
	writeObject(t, recv(t, pubs), 1, 1, "still served")
	if _, _, b := readObject(t, sub); b != "still served" {
		t.Errorf("%q", b)
	}
	if err := c.GoAway("moqt://nowhere/"); err == nil {
		t.Error("a client must not name a URI")
	}
	if err := c.GoAway(""); err != nil {
		t.Error(err)
	}
	recv(t, s.GoingAway())
}

func TestRequestCredit(t *testing.T) {
	ctx := testContext(t)
	c, _ := pipePair(t, nil, &Config{MaxRequests: 3, Handler: handlers{trackStatus: func(_ context.Context, r *TrackStatusRequest) { r.Accept(TrackInfo{}) }}})
	for i := range 100 { // many more than the window: MAX_REQUEST_ID keeps step
		if _, err := c.TrackStatus(ctx, testTrack); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
}

func TestRequestsWaitForCredit(t *testing.T) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, _ := pipePair(t, nil, &Config{MaxRequests: 2, Handler: h})
	track := func(i int) object.TrackName {
		return object.TrackName{Namespace: testTrack.Namespace, Name: fmt.Sprint(i)}
	}
	first, err := c.Subscribe(ctx, track(0), SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(ctx, track(1), SubscribeOptions{}); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := c.Subscribe(short, track(2), SubscribeOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("third of two requests: %v", err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := c.Subscribe(ctx, track(3), SubscribeOptions{})
		waiting <- err
	}()
	first.Unsubscribe()
	done(t, recv(t, pubs).Context())
	if err := recv(t, waiting); err != nil {
		t.Error(err)
	}
}

func TestAuthorize(t *testing.T) {
	ctx := testContext(t)
	conf := &Config{Authorize: func(_ context.Context, p PeerInfo) error {
		if len(p.Tokens) == 1 && string(p.Tokens[0].Value) == "open sesame" && p.Path == "/cave" {
			return nil
		}
		return errors.New("who are you")
	}}
	for _, tt := range []struct {
		token string
		want  SessionCode
	}{{"open sesame", wire.NoError}, {"barley", wire.Unauthorized}} {
		a, b := Pipe(PipeOptions{Version: wire.Draft16})
		c := NewClient(a, "mountain", "/cave", &Config{Tokens: []Token{{AliasType: wire.TokenUseValue, Value: []byte(tt.token)}}})
		s := NewServer(b, conf)
		run(t, s)
		err := c.Handshake(ctx)
		var se *SessionError
		if tt.want == wire.NoError && err != nil || tt.want != wire.NoError && (!errors.As(err, &se) || se.Code != tt.want || !se.Remote) {
			t.Errorf("token %q: %v", tt.token, err)
		}
		run(t, c)
	}
}

func TestTokenAliases(t *testing.T) {
	ctx := testContext(t)
	seen := make(chan []Token, 1)
	c, _ := pipePair(t, nil, &Config{Handler: handlers{trackStatus: func(_ context.Context, r *TrackStatusRequest) {
		seen <- r.Tokens
		r.Accept(TrackInfo{})
	}}})
	value := Token{AliasType: wire.TokenUseValue, Type: 1, Value: []byte("secret")}
	for _, tt := range []struct{ send, want []Token }{
		{[]Token{{AliasType: wire.TokenRegister, Alias: 5, Type: 1, Value: []byte("secret")}}, []Token{value}},
		{[]Token{{AliasType: wire.TokenUseAlias, Alias: 5}}, []Token{value}},
		{[]Token{{AliasType: wire.TokenDelete, Alias: 5}}, nil},
		{[]Token{{AliasType: wire.TokenRegister, Alias: 5, Type: 1, Value: []byte("secret")}}, []Token{value}},
	} {
		if _, err := c.TrackStatus(ctx, testTrack, tt.send...); err != nil {
			t.Fatal(err)
		}
		if got := recv(t, seen); fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%v resolved to %v", tt.send, got)
		}
	}
	var e *RequestError
	if _, err := c.TrackStatus(ctx, testTrack, value, value); !errors.As(err, &e) || e.Code != wire.RequestMalformedAuthToken {
		t.Errorf("the same token twice: %v", err)
	}
}

func TestCloseReachesThePeer(t *testing.T) {
	h, pubs := accepting(TrackInfo{})
	a, b := Pipe(PipeOptions{Version: wire.Draft16})
	c, s := NewClient(a, "", "/", nil), NewServer(b, &Config{Handler: h})
	cEnd, sEnd := run(t, c), run(t, s)
	sub, err := c.Subscribe(testContext(t), testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	s.Close(wire.InternalError, "out of coffee")
	var se *SessionError
	if err := recv(t, cEnd); !errors.As(err, &se) || !se.Remote || se.Code != wire.InternalError || se.Reason != "out of coffee" {
		t.Errorf("client ends with %v", err)
	}
	if err := recv(t, sEnd); !errors.As(err, &se) || se.Remote {
		t.Errorf("server ends with %v", err)
	}
	if _, err := sub.AcceptSubgroup(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("subscription ends with %v", err)
	}
	if err := done(t, p.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("publication ends with %v", err)
	}
	if _, err := c.Subscribe(context.Background(), testTrack, SubscribeOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("request on a closed session: %v", err)
	}
}

func TestDeliveryTimeoutResetsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, pubs := accepting(TrackInfo{Properties: []byte{0x02, 0x43, 0xe8}}) // the track's own: 1 s
		a, b := Pipe(PipeOptions{Version: wire.Draft16, Window: 1000})
		c, s := NewClient(a, "", "/", nil), NewServer(b, &Config{Handler: h})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 2)
		go func() { ended <- c.Run(ctx) }()
		go func() { ended <- s.Run(ctx) }()
		sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{DeliveryTimeout: 3 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		p := <-pubs
		w, err := p.OpenSubgroup(ctx, SubgroupHeader{})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var reset *StreamResetError
		if err := w.WriteObject(0, nil, wire.StatusNormal, make([]byte, 10_000)); !errors.As(err, &reset) || reset.Code != wire.ResetDeliveryTimeout {
			t.Errorf("write to a subscriber that does not read: %v", err)
		}
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("gave up after %v, want the smaller of both timeouts", waited)
		}
		g, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = g.Next(); err == nil {
			_, err = io.ReadAll(g)
		}
		if !errors.As(err, &reset) || !reset.Remote || reset.Code != wire.ResetDeliveryTimeout {
			t.Errorf("reader got %v", err)
		}
		cancel()
		<-ended
		<-ended
	})
}

func TestPublishPendingRefusesSubscribe(t *testing.T) {
	ctx := testContext(t)
	h, _ := accepting(TrackInfo{})
	answer := make(chan struct{})
	c, s := pipePair(t, &Config{Handler: handlers{publish: func(_ context.Context, r *PublishRequest) {
		<-answer
		r.Accept(SubscribeOptions{})
	}}}, &Config{Handler: h})
	published := make(chan error, 1)
	go func() {
		_, err := s.Publish(ctx, testTrack, PublishOptions{})
		published <- err
	}()
	for { // until PUBLISH was sent
		s.mu.Lock()
		n := len(s.pubs)
		s.mu.Unlock()
		if n > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	var e *RequestError
	if _, err := c.Subscribe(ctx, testTrack, SubscribeOptions{}); !errors.As(err, &e) || e.Code != wire.RequestDuplicateSubscription {
		t.Errorf("SUBSCRIBE while PUBLISH is pending: %v", err)
	}
	close(answer)
	if err := recv(t, published); err != nil {
		t.Error(err)
	}
}
