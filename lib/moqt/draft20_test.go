package moqt

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// TestRelativeFetch: a FETCH that starts some groups before the next ends with the largest object, which the handler says.
func TestRelativeFetch(t *testing.T) { onFills(t, testRelativeFetch) }

func testRelativeFetch(t *testing.T, v Version) {
	fetches := make(chan *FetchRequest, 1)
	var status func(r *TrackStatusRequest)
	p := attackStreams(t, v, true, &Config{Handler: handlers{
		trackStatus: func(_ context.Context, r *TrackStatusRequest) { status(r) },
		fetch: func(_ context.Context, r *FetchRequest) {
			fetches <- r
			if w, err := r.Accept(FetchInfo{End: r.End, Properties: []byte{0x0e, 5}}); err == nil {
				w.Close()
			}
		},
	}})
	largest := func(r *TrackStatusRequest) { r.Accept(TrackInfo{Largest: &Location{Group: 7, Object: 3}}) }
	for i, tt := range []struct {
		groups  uint64
		status  func(r *TrackStatusRequest)
		start   Location
		refusal RequestCode
	}{
		{1, largest, Location{Group: 7}, 0},
		{3, largest, Location{Group: 5}, 0},
		{1 << 63, largest, Location{}, 0},
		{0, largest, Location{}, wire.RequestInvalidRange},
		{1, func(r *TrackStatusRequest) { r.Accept(TrackInfo{}) }, Location{}, wire.RequestInvalidRange},
		{1, func(r *TrackStatusRequest) { r.Reject(wire.RequestDoesNotExist, "") }, Location{}, wire.RequestDoesNotExist},
		{1, func(r *TrackStatusRequest) {}, Location{}, wire.RequestInvalidRange},
	} {
		status = tt.status
		m, err := p.request(&wire.Fetch{
			RequestID: uint64(2 * i), FetchType: wire.FetchRelative, Track: testTrack, Groups: tt.groups,
			Parameters: wire.Parameters{IncludeProperties: ptr(false)},
		}).receive()
		if tt.refusal != 0 {
			if !refusedWith(m, tt.refusal) {
				t.Errorf("%d groups: %+v, %v", tt.groups, m, err)
			}
			continue
		}
		ok, is := m.(*wire.FetchOK)
		if r := recv(t, fetches); !is || r.Start != tt.start || ok.End != (Location{Group: 7, Object: 4}) || len(ok.Properties) > 0 {
			t.Errorf("%d groups: from %v, %+v, %v", tt.groups, r.Start, m, err)
		}
	}
	// What has no end and what ends before its start.
	p.request(&wire.Fetch{RequestID: 20, FetchType: wire.FetchStandalone, Track: testTrack, Start: Location{Group: 3}, End: wire.FetchOpenEnd})
	if r := recv(t, fetches); r.Start != (Location{Group: 3}) || r.End != wire.FetchOpenEnd {
		t.Errorf("from %v to %v", r.Start, r.End)
	}
	m, err := p.request(&wire.Fetch{RequestID: 22, FetchType: wire.FetchStandalone, Track: testTrack, Start: Location{Object: 5}, End: Location{Object: 2}}).receive()
	if !refusedWith(m, wire.RequestInvalidRange) {
		t.Errorf("backwards: %+v, %v", m, err)
	}
}

// TestPropertiesLeftOut: who does not want track properties gets none in the answer.
func TestPropertiesLeftOut(t *testing.T) { onFills(t, testPropertiesLeftOut) }

func testPropertiesLeftOut(t *testing.T, v Version) {
	info := TrackInfo{Properties: []byte{0x0e, 5}}
	h, _ := accepting(info)
	h.trackStatus = func(_ context.Context, r *TrackStatusRequest) { r.Accept(info) }
	p := attackStreams(t, v, true, &Config{Handler: h})
	for i, with := range []bool{true, false} {
		params := wire.Parameters{IncludeProperties: &with}
		m, _ := p.request(&wire.Subscribe{RequestID: uint64(4 * i), Track: testTrack, Parameters: params}).receive()
		if ok, is := m.(*wire.SubscribeOK); !is || (len(ok.Properties) > 0) != with {
			t.Errorf("SUBSCRIBE with %v: %+v", with, m)
		}
		m, _ = p.request(&wire.TrackStatus{Subscribe: wire.Subscribe{RequestID: uint64(4*i + 2), Track: testTrack, Parameters: params}}).receive()
		if ok, is := m.(*wire.RequestOK); !is || (len(ok.Properties) > 0) != with {
			t.Errorf("TRACK_STATUS with %v: %+v", with, m)
		}
	}
}

// TestMaxRequestUpdates: no more updates of a request wait for their answer than the peer lets.
func TestMaxRequestUpdates(t *testing.T) { onFills(t, testMaxRequestUpdates) }

func testMaxRequestUpdates(t *testing.T, v Version) {
	a, b := Pipe(PipeOptions{Version: v})
	s := NewClient(b, "relay", "/", nil)
	p := &raw18{rawPeer: rawPeer{t: t, conn: a, s: s, end: run(t, s)}, v: v}
	p.stream(messageIn(v, &wire.Setup{Parameters: wire.SetupParameters{MaxRequestUpdates: ptr(uint64(2))}}))
	recv(t, s.ready)
	subscribed := make(chan *Subscription, 1)
	go func() {
		sub, err := s.Subscribe(testContext(t), testTrack, SubscribeOptions{})
		if err != nil {
			t.Error(err)
		}
		subscribed <- sub
	}()
	cs, _ := p.accept()
	cs.send(&wire.SubscribeOK{TrackAlias: 7})
	sub := recv(t, subscribed)
	updated := make(chan error, 5)
	for i := range uint8(5) {
		go func() { updated <- sub.Update(testContext(t), UpdateOptions{Priority: &i}) }()
	}
	came, waiting := make(chan wire.Message, 5), 0
	go func() {
		for {
			m, err := cs.receive()
			if err != nil {
				return
			}
			came <- m
		}
	}()
	for range 5 {
		synctest.Wait()
		waiting += len(came)
		for len(came) > 0 {
			<-came
		}
		if waiting > 2 || waiting == 0 {
			t.Fatalf("%d updates without an answer", waiting)
		}
		cs.send(&wire.RequestOK{})
		waiting--
		if err := recv(t, updated); err != nil {
			t.Error(err)
		}
	}
}

// TestStateNotify: what a publisher says of a subscription is taken, and from nobody else or of anything else.
func TestStateNotify(t *testing.T) { onFills(t, testStateNotify) }

func testStateNotify(t *testing.T, v Version) {
	notify := &wire.PublishStateNotify{Parameters: wire.Parameters{LargestObject: &Location{Group: 9}}}
	p := attackStreams(t, v, false, nil)
	got := make(chan *Subscription, 1)
	go func() {
		sub, err := p.s.Subscribe(testContext(t), testTrack, SubscribeOptions{})
		if err != nil {
			t.Error(err)
		}
		got <- sub
	}()
	cs, _ := p.accept()
	cs.send(&wire.SubscribeOK{TrackAlias: 7})
	cs.send(notify)
	cs.send(notify)
	cs.send(&wire.PublishDone{Code: wire.DoneTrackEnded})
	var over *DoneError
	if _, err := recv(t, got).AcceptSubgroup(testContext(t)); !errors.As(err, &over) {
		t.Errorf("%v", err)
	}
	go p.s.Fetch(testContext(t), testTrack, Location{}, Location{Group: 1}, FetchOptions{})
	cs, _ = p.accept()
	cs.send(notify)
	p.closed(wire.ProtocolViolation)

	p, _, _ = filling(t, v)
	p.request(&wire.Subscribe{RequestID: 0, Track: testTrack}, notify)
	p.closed(wire.ProtocolViolation)
}

// TestSharedAlias: two subscriptions to a track may have one alias; a group goes to the one that it passes the filter of.
func TestSharedAlias(t *testing.T) { onFills(t, testSharedAlias) }

func testSharedAlias(t *testing.T, v Version) {
	p := attackStreams(t, v, false, nil)
	subscribe := func(track object.TrackName, filter Filter) *Subscription {
		got := make(chan *Subscription, 1)
		go func() {
			sub, err := p.s.Subscribe(testContext(t), track, SubscribeOptions{Filter: filter})
			if err != nil && track.Equal(testTrack) {
				t.Error(err)
			}
			got <- sub
		}()
		cs, _ := p.accept()
		cs.send(&wire.SubscribeOK{TrackAlias: 7})
		return recv(t, got)
	}
	old := subscribe(testTrack, Filter{Type: wire.FilterAbsoluteRange, EndGroup: 4})
	all := subscribe(testTrack, Filter{Type: wire.FilterAbsoluteStart, Start: Location{Group: 5}})
	for group, sub := range map[uint64]*Subscription{3: old, 5: all} {
		b := wire.SubgroupHeader{TrackAlias: 7, Group: group}.Append(nil, v)
		p.stream(append(wire.AppendSubgroupObject(b, v, nil, false, wire.SubgroupObject{Length: 2}), "hi"...)).Close()
		if h, _, _ := readObject(t, sub); h.Group != group {
			t.Errorf("group %d came for %d", h.Group, group)
		}
	}
	old.Unsubscribe()
	p.stream(wire.SubgroupHeader{TrackAlias: 7, Group: 3}.Append(nil, v)).Close() // goes to the one that is left
	if g, err := all.AcceptSubgroup(testContext(t)); err != nil || g.Header().Group != 3 {
		t.Errorf("%v", err)
	}
	subscribe(object.TrackName{Namespace: testTrack.Namespace, Name: "another"}, Filter{})
	p.closed(wire.DuplicateTrackAlias)
}
