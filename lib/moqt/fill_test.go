package moqt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// onFills runs a test with every draft that has fills.
func onFills(t *testing.T, test func(t *testing.T, v Version)) {
	some := false
	for _, v := range wire.Versions() {
		if v.Has(wire.Fills) {
			some = true
			t.Run(v.String(), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { test(t, v) }) })
		}
	}
	if !some {
		t.Fatal("no draft has fills")
	}
}

// filling is a server whose track's largest object is 7/3; what it is asked to fetch comes out.
func filling(t *testing.T, v Version) (*raw18, <-chan *Publication, <-chan *FetchRequest) {
	fetches := make(chan *FetchRequest, 16)
	h, pubs := accepting(TrackInfo{Largest: &Location{Group: 7, Object: 3}})
	h.fetch = func(ctx context.Context, r *FetchRequest) {
		fetches <- r
		<-ctx.Done()
	}
	h.subscribeNamespace = func(_ context.Context, r *SubscribeNamespaceRequest) { r.Accept() }
	return attackStreams(t, v, true, &Config{Handler: h}), pubs, fetches
}

func filled(f Filter) *wire.Parameters { return &wire.Parameters{SubscriptionFilter: &f} }

// fillStream takes the next stream of a fill and its id.
func (p *raw18) fillStream() (ReceiveStream, uint64) {
	p.t.Helper()
	st, err := p.conn.AcceptUniStream(testContext(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	var b []byte
	for {
		var one [1]byte
		n, err := st.Read(one[:])
		b = append(b, one[:n]...)
		if id, n, perr := wire.ParseFetchHeader(b, p.v); perr == nil && n == len(b) {
			return st, id
		}
		if err != nil {
			p.t.Fatalf("%x, %v", b, err)
		}
	}
}

// TestFillRanges: what is filled is chosen by the rules of FETCH, and ends with the largest object; nothing is no stream.
func TestFillRanges(t *testing.T) { onFills(t, testFillRanges) }

func testFillRanges(t *testing.T, v Version) {
	p, pubs, fetches := filling(t, v)
	id := uint64(0)
	for _, tt := range []struct {
		fill       *wire.Parameters
		filter     *Filter
		paused     bool
		start, end Location // zero end: none
	}{
		{fill: filled(Filter{Type: wire.FilterRelativeStart, Groups: 1}), start: Location{Group: 7}, end: Location{Group: 7, Object: 4}},
		{fill: filled(Filter{Type: wire.FilterRelativeStart, Groups: 3}), start: Location{Group: 5}, end: Location{Group: 7, Object: 4}},
		{fill: filled(Filter{Type: wire.FilterRelativeStart, Groups: 300}), end: Location{Group: 7, Object: 4}},
		{fill: filled(Filter{}), filter: &Filter{Type: wire.FilterLargestObject}, end: Location{Group: 7, Object: 4}},
		{fill: filled(Filter{Type: wire.FilterAbsoluteRange, Start: Location{Group: 2, Object: 1}, EndGroup: 3}), start: Location{Group: 2, Object: 1}, end: Location{Group: 3}},
		{fill: filled(Filter{Type: wire.FilterObjectRange, Start: Location{Group: 2}, EndGroup: 2, EndObject: 0}), start: Location{Group: 2}, end: Location{Group: 2, Object: 1}},
		{fill: filled(Filter{Type: wire.FilterAbsoluteRange, Start: Location{Group: 7, Object: 3}, EndGroup: 9}), start: Location{Group: 7, Object: 3}, end: Location{Group: 7, Object: 4}},
		{fill: &wire.Parameters{}, filter: &Filter{Type: wire.FilterAbsoluteStart, Start: Location{Group: 6}}, start: Location{Group: 6}, end: Location{Group: 7, Object: 4}},
		{fill: &wire.Parameters{}, end: Location{Group: 7, Object: 4}},
		{fill: &wire.Parameters{}, filter: &Filter{Type: wire.FilterLargestObject}},
		{fill: filled(Filter{Type: wire.FilterNextGroupStart})},
		{fill: filled(Filter{Type: wire.FilterAbsoluteStart, Start: Location{Group: 8}})},
		{fill: filled(Filter{Type: wire.FilterObjectRange, Start: Location{Group: 2, Object: 5}, EndGroup: 2, EndObject: 4})},
		{fill: filled(Filter{}), paused: true},
		{},
	} {
		m := &wire.Subscribe{RequestID: id, Track: testTrack, Parameters: wire.Parameters{Fill: tt.fill, SubscriptionFilter: tt.filter}}
		if tt.paused {
			m.Parameters.Forward = new(bool)
		}
		cs := p.request(m)
		if m, err := cs.receive(); err != nil {
			t.Fatalf("%T, %v", m, err)
		}
		pub := recv(t, pubs)
		synctest.Wait()
		select {
		case r := <-fetches:
			if r.Start != tt.start || r.End != tt.end || r.Joining != pub || !r.Track.Equal(testTrack) {
				t.Errorf("%+v: from %v to %v", tt, r.Start, r.End)
			}
			r.Reject(wire.RequestInternalError, "")
			p.fillStream()
		default:
			if tt.end != (Location{}) {
				t.Errorf("%+v was not asked for", tt)
			}
		}
		cs.st.CancelRead(wire.ResetCancelled)
		done(t, pub.Context())
		id += 2
	}
}

// TestFill: a fill has the id of what asked for it and what its subscription has, PUBLISH_DONE waits for it and counts its stream.
func TestFill(t *testing.T) { onFills(t, testFill) }

func testFill(t *testing.T, v Version) {
	p, pubs, fetches := filling(t, v)
	fill := filled(Filter{Type: wire.FilterRelativeStart, Groups: 2})
	cs := p.request(&wire.Subscribe{RequestID: 0, Track: testTrack, Parameters: wire.Parameters{
		Fill: fill, SubscriberPriority: ptr(uint8(9)), GroupOrder: wire.GroupOrderDescending,
		Tokens: []Token{{AliasType: wire.TokenUseValue, Type: 1, Value: []byte("t")}},
	}})
	cs.receive()
	pub, first := recv(t, pubs), recv(t, fetches)
	if first.Priority != 9 || first.GroupOrder != wire.GroupOrderDescending || first.FillTimeout != nil || len(first.Tokens) != 1 {
		t.Errorf("%+v", first)
	}
	fill.SubscriberPriority, fill.GroupOrder, fill.FillTimeout = ptr(uint8(1)), wire.GroupOrderAscending, ptr(uint64(250))
	cs.send(&wire.RequestUpdate{RequestID: 2, Parameters: wire.Parameters{Fill: fill}})
	if m, err := cs.receive(); err != nil || m.(*wire.RequestOK).Parameters.LargestObject.Group != 7 {
		t.Fatalf("%+v, %v", m, err)
	}
	second := recv(t, fetches)
	if second.Priority != 1 || second.GroupOrder != wire.GroupOrderAscending || second.FillTimeout == nil || len(second.Tokens) != 1 {
		t.Errorf("%+v", second)
	}
	w, err := second.Accept(FetchInfo{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Accept(FetchInfo{}); err != ErrAnswered {
		t.Errorf("answered twice: %v", err)
	}
	if err := pub.Done(wire.DoneTrackEnded, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteObject(FetchObject{Group: 7, ID: 3}, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	st, id := p.fillStream()
	if err := w.Close(); err != nil || id != 2 {
		t.Errorf("id %d, %v", id, err)
	}
	if b, err := io.ReadAll(st); err != nil || !bytes.HasSuffix(b, []byte("\x02hi")) {
		t.Errorf("%q, %v", b, err)
	}
	// The other one is refused: its stream is reset behind the header.
	first.Reject(wire.RequestExcessiveLoad, "")
	st, id = p.fillStream()
	var reset *StreamResetError
	if _, err := st.Read(make([]byte, 1)); !errors.As(err, &reset) || reset.Code != ResetCode(wire.ResetExcessiveLoad.Wire(v)) || id != 0 {
		t.Errorf("id %d, %v", id, err)
	}
	m, err := cs.receive()
	if d, is := m.(*wire.PublishDone); err != nil || !is || d.StreamCount != 2 || d.Code != wire.DoneTrackEnded {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestFillEndsWithItsSubscription: who cancels a subscription wants no more of its fills.
func TestFillEndsWithItsSubscription(t *testing.T) { onFills(t, testFillEndsWithItsSubscription) }

func testFillEndsWithItsSubscription(t *testing.T, v Version) {
	p, _, fetches := filling(t, v)
	cs := p.request(&wire.Subscribe{RequestID: 0, Track: testTrack, Parameters: wire.Parameters{Fill: filled(Filter{})}})
	w, err := recv(t, fetches).Accept(FetchInfo{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteObject(FetchObject{Group: 1}, nil); err != nil {
		t.Fatal(err)
	}
	st, _ := p.fillStream()
	cs.st.CancelRead(wire.ResetCancelled)
	var reset *StreamResetError
	if _, err := io.ReadAll(st); !errors.As(err, &reset) {
		t.Errorf("%v", err)
	}
	done(t, w.Context())
	w.Reset(wire.ResetCancelled)
	p.stillAlive(2)
	if n := len(p.s.fills); n != 0 {
		t.Errorf("%d fills are left", n)
	}
}

// TestFetchesAreFills: what a joining FETCH does in other drafts, an update with the same range does.
func TestFetchesAreFills(t *testing.T) { onFills(t, testFetchesAreFills) }

func testFetchesAreFills(t *testing.T, v Version) {
	ctx := testContext(t)
	p := attackStreams(t, v, false, nil)
	subscribed := make(chan *Subscription, 1)
	go func() {
		sub, err := p.s.Subscribe(ctx, testTrack, SubscribeOptions{NoForward: true})
		if err != nil {
			t.Error(err)
		}
		subscribed <- sub
	}()
	cs, _ := p.accept()
	cs.send(&wire.SubscribeOK{TrackAlias: 7, Parameters: wire.Parameters{LargestObject: &Location{Group: 5}}})
	sub := recv(t, subscribed)
	var e *RequestError
	if _, err := p.s.FetchRelative(ctx, sub, 1, FetchOptions{}); !errors.As(err, &e) || e.Code != wire.RequestInvalidRange {
		t.Errorf("paused: %v", err)
	}
	update := func(do func(), ok wire.Parameters) wire.Parameters {
		t.Helper()
		go do()
		m, err := cs.receive()
		if err != nil {
			t.Fatal(err)
		}
		cs.send(&wire.RequestOK{Parameters: ok})
		return m.(*wire.RequestUpdate).Parameters
	}
	resumed := make(chan error, 1)
	update(func() { resumed <- sub.Update(ctx, UpdateOptions{Forward: ptr(true)}) }, wire.Parameters{LargestObject: &Location{Group: 9, Object: 2}})
	if err := recv(t, resumed); err != nil {
		t.Fatal(err)
	}
	if _, err := p.s.FetchAbsolute(ctx, sub, 10, FetchOptions{}); !errors.As(err, &e) || e.Code != wire.RequestInvalidRange {
		t.Errorf("after the largest object: %v", err)
	}
	got := make(chan *FetchReader, 1)
	fetch := func() {
		f, err := p.s.FetchRelative(ctx, sub, 2, FetchOptions{Priority: ptr(uint8(1))})
		if err != nil {
			t.Error(err)
		}
		got <- f
	}
	asked := update(fetch, wire.Parameters{LargestObject: &Location{Group: 12}})
	want := Filter{Type: wire.FilterObjectRange, Start: Location{Group: 7}, EndGroup: 9, EndObject: 2}
	if asked.Fill == nil || *asked.Fill.SubscriptionFilter != want || *asked.Fill.SubscriberPriority != 1 {
		t.Fatalf("%+v", asked.Fill)
	}
	f := recv(t, got)
	var write wire.FetchState
	b, _ := write.Append(wire.AppendFetchHeader(nil, v, 4), v, wire.FetchObject{Group: 7, ID: 1, Length: 2})
	p.stream(append(b, "hi"...)).Close()
	o, err := f.Next()
	if payload, _ := io.ReadAll(f); err != nil || o.Group != 7 || o.ID != 1 || string(payload) != "hi" {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := f.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if info, err := f.Info(ctx); err != nil || info.End != (Location{Group: 9, Object: 3}) {
		t.Errorf("%+v, %v", info, err)
	}
	// One whose stream never comes ends with the subscription, one that is cancelled before it comes refuses it.
	update(fetch, wire.Parameters{})
	left := recv(t, got)
	update(fetch, wire.Parameters{})
	cancelled := recv(t, got)
	cancelled.Cancel()
	w := p.stream(wire.AppendFetchHeader(nil, v, 8))
	done(t, w.Context())
	cs.send(&wire.PublishDone{StreamCount: 2, Code: wire.DoneTrackEnded})
	var over *DoneError
	if _, err := left.Next(); !errors.As(err, &over) {
		t.Errorf("without a stream: %v", err)
	}
	if _, err := p.s.FetchRelative(ctx, sub, 1, FetchOptions{}); !errors.As(err, &e) || e.Code != wire.RequestInvalidJoiningRequestID {
		t.Errorf("after the end: %v", err)
	}
	p.stream(wire.AppendFetchHeader(nil, v, 100))
	p.closed(wire.ProtocolViolation)
}

// TestTracksBeginAsAsked: a PUBLISH that SUBSCRIBE_TRACKS asked for begins as that says, fill included.
func TestTracksBeginAsAsked(t *testing.T) { onFills(t, testTracksBeginAsAsked) }

func testTracksBeginAsAsked(t *testing.T, v Version) {
	fetches := make(chan *FetchRequest, 1)
	p := attackStreams(t, v, true, &Config{Handler: handlers{
		subscribeNamespace: func(_ context.Context, r *SubscribeNamespaceRequest) { r.Accept() },
		fetch: func(ctx context.Context, r *FetchRequest) {
			fetches <- r
			<-ctx.Done()
		},
	}})
	filter := Filter{Type: wire.FilterLargestObject}
	p.request(&wire.SubscribeTracks{RequestID: 0, Prefix: testTrack.Namespace[:1], Parameters: wire.Parameters{
		SubscriberPriority: ptr(uint8(3)), SubscriptionFilter: &filter, Fill: filled(Filter{Type: wire.FilterRelativeStart, Groups: 1}),
		GroupOrder: wire.GroupOrderDescending, DeliveryTimeout: 100, IncludeProperties: ptr(false),
	}}).receive()
	published := make(chan *Publication, 2)
	publish := func(track object.TrackName) wire.Parameters {
		go func() {
			pub, err := p.s.Publish(testContext(t), track, PublishOptions{Largest: &Location{Group: 4, Object: 1}, Properties: []byte{0x0e, 5}})
			if err != nil {
				t.Error(err)
			}
			published <- pub
		}()
		cs, m := p.accept()
		cs.send(&wire.RequestOK{})
		if asked := m.(*wire.Publish); track.Equal(testTrack) == (len(asked.Properties) > 0) {
			t.Errorf("properties %x", asked.Properties)
		}
		return m.(*wire.Publish).Parameters
	}
	told := publish(testTrack)
	if told.SubscriberPriority == nil || *told.SubscriberPriority != 3 || *told.SubscriptionFilter != filter || told.GroupOrder != wire.GroupOrderDescending || told.Fill != nil {
		t.Errorf("%+v", told)
	}
	s := recv(t, published).State()
	if s.Priority != 3 || s.Start != (Location{Group: 4, Object: 2}) || s.DeliveryTimeout != 100*1e6 {
		t.Errorf("%+v", s)
	}
	r := recv(t, fetches)
	r.Reject(wire.RequestInternalError, "")
	if _, id := p.fillStream(); id != 1 || r.Start != (Location{Group: 4}) {
		t.Errorf("fill %d from %v", id, r.Start)
	}
	other := object.TrackName{Namespace: object.Namespace{"other"}, Name: "x"}
	if told := publish(other); told.SubscriberPriority != nil || told.SubscriptionFilter != nil {
		t.Errorf("another's: %+v", told)
	}
	recv(t, published)
}

// TestTracksReshaped: an update of SUBSCRIBE_TRACKS is for what is published from then on.
func TestTracksReshaped(t *testing.T) { onFills(t, testTracksReshaped) }

func testTracksReshaped(t *testing.T, v Version) {
	p, _, _ := filling(t, v)
	cs := p.request(&wire.SubscribeTracks{RequestID: 0, Parameters: wire.Parameters{Forward: new(bool), SubscriberPriority: ptr(uint8(3))}})
	cs.receive()
	told := func() wire.Parameters {
		go p.s.Publish(testContext(t), testTrack, PublishOptions{NoForward: true})
		cs, m := p.accept()
		cs.send(&wire.RequestError{Code: wire.RequestUninterested})
		return m.(*wire.Publish).Parameters
	}
	if p := told(); p.Forward == nil || *p.Forward || *p.SubscriberPriority != 3 {
		t.Errorf("%+v", p)
	}
	cs.send(&wire.RequestUpdate{RequestID: 2, Parameters: wire.Parameters{Forward: ptr(true), DeliveryTimeout: 7}})
	if m, err := cs.receive(); m.Type() != (*wire.RequestOK)(nil).Type() {
		t.Fatalf("%+v, %v", m, err)
	}
	if p := told(); !*p.Forward || *p.SubscriberPriority != 3 || p.DeliveryTimeout != 7 {
		t.Errorf("after the update: %+v", p)
	}
	cs.send(&wire.RequestUpdate{RequestID: 4, Parameters: wire.Parameters{RangeFilters: []wire.KeyValue{{Type: 0x29, Bytes: []byte{0, 3}}}}})
	if m, err := cs.receive(); !refusedWith(m, wire.RequestInvalidFilter) {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestSubscribeFills: what a SUBSCRIBE of ours asks for beside what comes is read from the subscription, and nothing is to be read where
// there is nothing, or no such thing.
func TestSubscribeFills(t *testing.T) { everywhere(t, testSubscribeFills) }

func testSubscribeFills(t *draftT) {
	ctx := testContext(t)
	var largest atomic.Pointer[Location]
	h, _ := accepting(TrackInfo{})
	pubs := make(chan *Publication, 1)
	h.subscribe = func(_ context.Context, r *SubscribeRequest) {
		p, err := r.Accept(TrackInfo{Largest: largest.Load()})
		if err != nil {
			t.Error(err)
		}
		pubs <- p
	}
	var refuse atomic.Bool
	h.fetch = func(_ context.Context, r *FetchRequest) {
		if refuse.Load() {
			r.Reject(wire.RequestNotSupported, "")
			return
		}
		w, err := r.Accept(FetchInfo{End: r.End})
		if err != nil {
			t.Error(err)
			return
		}
		for at := r.Start; at.Less(r.End); at.Object++ {
			if at.Object > 9 {
				at = Location{Group: at.Group + 1}
			}
			w.WriteObject(FetchObject{Group: at.Group, ID: at.Object}, []byte(at.String()))
		}
		w.Close()
	}
	c, _ := pipePair(t, nil, &Config{Handler: h})
	subscribe := func() (*Subscription, *Publication) {
		sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{Fill: 2})
		if err != nil {
			t.Fatal(err)
		}
		return sub, recv(t, pubs)
	}
	sub, pub := subscribe()
	if sub.Fill() != nil {
		t.Error("a fill of nothing")
	}
	sub.Unsubscribe()
	done(t, pub.Context())

	largest.Store(&Location{Group: 7, Object: 3})
	sub, pub = subscribe()
	fill := sub.Fill()
	if fill == nil {
		if t.v.Has(wire.Fills) {
			t.Error("no fill")
		}
		return
	}
	if info, err := fill.Info(ctx); err != nil || info.End != (Location{Group: 7, Object: 4}) {
		t.Errorf("%+v, %v", info, err)
	}
	n := 0
	for {
		o, err := fill.Next()
		if err == io.EOF {
			break
		}
		b, _ := io.ReadAll(fill)
		if at := (Location{Group: o.Group, Object: o.ID}); err != nil || string(b) != at.String() || at.Less(Location{Group: 6}) {
			t.Fatalf("%v: %q, %v", at, b, err)
		}
		n++
	}
	if n != 10+4 {
		t.Errorf("%d objects", n)
	}
	pub.Done(wire.DoneTrackEnded, "") // whose count of streams has that of the fill
	if _, err := sub.AcceptSubgroup(ctx); !errors.Is(err, io.EOF) {
		t.Errorf("the subscription ends with %v", err)
	}

	refuse.Store(true)
	sub, pub = subscribe()
	var reset *StreamResetError
	if _, err := sub.Fill().Next(); !errors.As(err, &reset) {
		t.Errorf("refused: %v", err)
	}
	sub.Unsubscribe()
	done(t, pub.Context())
	sub, pub = subscribe()
	sub.Fill().Cancel()
	sub.Unsubscribe()
	done(t, pub.Context())
}
