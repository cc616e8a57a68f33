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
)

func TestFilters(t *testing.T) { everywhere(t, testFilters) }

func testFilters(t *draftT) {
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

func TestSubscribeOptionsArrive(t *testing.T) { everywhere(t, testSubscribeOptionsArrive) }

func testSubscribeOptionsArrive(t *draftT) {
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

func TestPublishBothEnds(t *testing.T) { everywhere(t, testPublishBothEnds) }

func testPublishBothEnds(t *draftT) {
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
	if !t.v.Has(wire.AnswerShapes) {
		recv(t, p.Updates())
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
	recv(t, subs) // the answer may be here before Accept returns, and the end of the test ends the session
}

func TestUpdatePausesAndResumes(t *testing.T) { everywhere(t, testUpdatePausesAndResumes) }

func testUpdatePausesAndResumes(t *draftT) {
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
	everywhere(t, testDuplicateSubscriptionIsRefused)
}

func testDuplicateSubscriptionIsRefused(t *draftT) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, _ := pipePair(t, nil, &Config{Handler: h})
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first := recv(t, pubs)
	var e *RequestError
	second, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	switch {
	case !t.v.Has(wire.OneSubscription):
		if err != nil {
			t.Fatal(err)
		}
		another := recv(t, pubs) // before the end: who accepts what has ended meanwhile gets no publication
		second.Unsubscribe()
		done(t, another.Context())
		if first.Context().Err() != nil {
			t.Error("both ended")
		}
	case !errors.As(err, &e) || e.Code != wire.RequestDuplicateSubscription:
		t.Errorf("second SUBSCRIBE: %v", err)
	}
	sub.Unsubscribe()
	done(t, first.Context())
	if _, err := c.Subscribe(ctx, testTrack, SubscribeOptions{}); err != nil {
		t.Errorf("SUBSCRIBE after UNSUBSCRIBE: %v", err)
	}
}

// TestSubscribeOvertakesTheCancel: with a stream for each request, one that cancels a subscription may come after the SUBSCRIBE that
// follows it. That one waits for it.
func TestSubscribeOvertakesTheCancel(t *testing.T) {
	synctest.Test(t, testSubscribeOvertakesTheCancel)
}

func testSubscribeOvertakesTheCancel(t *testing.T) {
	h, pubs := accepting(TrackInfo{})
	p := attack18(t, true, &Config{Handler: h})
	first := p.request(&wire.Subscribe{RequestID: 0, Track: testTrack})
	if m, err := first.receive(); err != nil {
		t.Fatalf("%T, %v", m, err)
	}
	second := p.request(&wire.Subscribe{RequestID: 2, Track: testTrack})
	third := p.request(&wire.Subscribe{RequestID: 4, Track: testTrack})
	synctest.Wait() // both wait
	first.st.CancelRead(wire.ResetCancelled)
	done(t, recv(t, pubs).Context())
	answers := map[string]int{}
	for _, cs := range []*controlStream{second, third} { // which of them came first is chance
		m, err := cs.receive()
		if e, ok := m.(*wire.RequestError); err != nil || ok && e.Code != wire.RequestDuplicateSubscription {
			t.Fatalf("%+v, %v", m, err)
		}
		answers[fmt.Sprintf("%T", m)]++
	}
	if answers["*wire.SubscribeOK"] != 1 || answers["*wire.RequestError"] != 1 {
		t.Errorf("answers %v", answers)
	}
}

func TestResetReachesTheReader(t *testing.T) { inMemory(t, testResetReachesTheReader) }

func testResetReachesTheReader(t *draftT) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, _ := pipePair(t, nil, &Config{Handler: h}) // which can deliver what was written before a reset; QUIC cannot yet
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

func TestWriterKeepsTheOrder(t *testing.T) { everywhere(t, testWriterKeepsTheOrder) }

func testWriterKeepsTheOrder(t *draftT) {
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

// givesUpAfter is how long a publisher waits for a subscriber that does not read before the subgroup is reset. The subgroup's objects have
// the properties given, the first one an id.
func givesUpAfter(t *testing.T, v Version, track TrackInfo, o SubscribeOptions, id uint64, properties ...[]byte) time.Duration {
	t.Helper()
	h, pubs := accepting(track)
	a, b := Pipe(PipeOptions{Version: v, Window: 1000})
	c, s := NewClient(a, "", "/", nil), NewServer(b, &Config{Handler: h})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- c.Run(ctx) }()
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended; <-ended }()
	if _, err := c.Subscribe(ctx, testTrack, o); err != nil {
		t.Fatal(err)
	}
	w, err := (<-pubs).OpenSubgroup(ctx, SubgroupHeader{HasProperties: true})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for i, p := range properties {
		size := 1
		if i == len(properties)-1 {
			size = 10_000
			w.Published(start)
		}
		if err = w.WriteObject(id+uint64(i), p, wire.StatusNormal, make([]byte, size)); err != nil {
			break
		}
	}
	var reset *StreamResetError
	if !errors.As(err, &reset) || reset.Code != wire.ResetDeliveryTimeout {
		t.Errorf("a subscriber that does not read: %v", err)
	}
	return time.Since(start)
}

// TestTimeoutsOfASubgroup: the first object of a subgroup has timeouts for the subgroup in place of the track's, and the smaller one of
// publisher and subscriber counts (draft-19 §8).
func TestTimeoutsOfASubgroup(t *testing.T) {
	const second = time.Second
	object := func(ms uint64) []byte {
		b, _ := wire.AppendKeyValues(nil, wire.PropertyForm, []wire.KeyValue{{Type: 2, Value: ms}})
		return b
	}
	subgroup := func(ms uint64) []byte {
		b, _ := wire.AppendKeyValues(nil, wire.PropertyForm, []wire.KeyValue{{Type: 6, Value: ms}})
		return b
	}
	for name, c := range map[string]struct {
		track, asked []byte // asked: of SUBSCRIBE, as properties would say it
		id           uint64
		first, next  []byte
		want         time.Duration
	}{
		"smaller than the subscriber's":  {nil, object(3000), 0, object(1000), nil, second},
		"greater than the subscriber's":  {nil, object(3000), 0, object(9000), nil, 3 * second},
		"in place of a smaller one":      {object(1000), nil, 0, object(5000), nil, 5 * second},
		"none in place of the track's":   {object(1000), object(3000), 0, object(0), nil, 3 * second},
		"of the second object":           {object(2000), nil, 0, nil, object(1000), 2 * second},
		"of an object that is not first": {object(2000), nil, 5, object(1000), nil, 2 * second},
		"of the subgroup":                {subgroup(4000), nil, 0, subgroup(1000), nil, second},
		"none for the subgroup":          {subgroup(1000), subgroup(3000), 0, subgroup(0), nil, 3 * second},
		"of the subgroup, by the track":  {subgroup(1000), nil, 0, nil, nil, second},
		"of the subgroup, second object": {subgroup(2000), nil, 0, nil, subgroup(1000), 2 * second},
	} {
		for _, v := range wire.Versions() {
			if !v.Has(wire.ObjectTimeouts) {
				continue
			}
			t.Run(name+"/"+v.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					asked := timeouts{}.instead(wire.ParseSubgroupTimeouts(c.asked))
					o := SubscribeOptions{DeliveryTimeout: asked.object, SubgroupTimeout: asked.subgroup}
					if got := givesUpAfter(t, v, TrackInfo{Properties: c.track}, o, c.id, c.first, c.next); got != c.want {
						t.Errorf("gave up after %v, want %v", got, c.want)
					}
				})
			})
		}
	}
}

// TestSubgroupDeliveryTimeout: what is left of a subgroup some time after its end was published is not sent.
func TestSubgroupDeliveryTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, pubs := accepting(TrackInfo{Properties: []byte{0x06, 0x43, 0xe8}}) // the track's own: 1 s
		a, b := Pipe(PipeOptions{Version: wire.Draft18, Window: 1000})
		c, s := NewClient(a, "", "/", nil), NewServer(b, &Config{Handler: h})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 2)
		go func() { ended <- c.Run(ctx) }()
		go func() { ended <- s.Run(ctx) }()
		sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{SubgroupTimeout: 3 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		p := <-pubs
		w, err := p.OpenSubgroup(ctx, SubgroupHeader{})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteObject(0, nil, wire.StatusNormal, make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // the timeout has not begun
		published := time.Now()
		w.Published(published)
		var reset *StreamResetError
		if err := w.WriteObject(1, nil, wire.StatusNormal, make([]byte, 10_000)); !errors.As(err, &reset) || reset.Code != wire.ResetDeliveryTimeout {
			t.Errorf("write to a subscriber that does not read: %v", err)
		}
		if waited := time.Since(published); waited != time.Second {
			t.Errorf("gave up after %v, want the smaller of both timeouts", waited)
		}
		none := time.Duration(0)
		if err := sub.Update(ctx, UpdateOptions{SubgroupTimeout: &none}); err != nil {
			t.Fatal(err)
		}
		if got := p.State().SubgroupTimeout; got != time.Second {
			t.Errorf("the track's timeout became %v", got)
		}
		cancel()
		<-ended
		<-ended
	})
}

func TestPublishPendingRefusesSubscribe(t *testing.T) {
	everywhere(t, testPublishPendingRefusesSubscribe)
}

func testPublishPendingRefusesSubscribe(t *draftT) {
	ctx := testContext(t)
	h, _ := accepting(TrackInfo{})
	arrived, answer := make(chan struct{}), make(chan struct{})
	c, s := pipePair(t, &Config{Handler: handlers{publish: func(_ context.Context, r *PublishRequest) {
		close(arrived)
		<-answer
		r.Accept(SubscribeOptions{})
	}}}, &Config{Handler: h})
	published := make(chan error, 1)
	go func() {
		_, err := s.Publish(ctx, testTrack, PublishOptions{})
		published <- err
	}()
	recv(t, arrived)
	var e *RequestError
	_, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if one := errors.As(err, &e) && e.Code == wire.RequestDuplicateSubscription; one != t.v.Has(wire.OneSubscription) {
		t.Errorf("SUBSCRIBE while PUBLISH is pending: %v", err)
	}
	close(answer)
	if err := recv(t, published); err != nil {
		t.Error(err)
	}
}
