package moqt

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// read takes the objects of a subgroup stream, ids and payloads.
func (p *raw18) read() (h wire.SubgroupHeader, objects []string) {
	p.t.Helper()
	st, err := p.conn.AcceptUniStream(testContext(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := io.ReadAll(st)
	if err != nil {
		p.t.Fatal(err)
	}
	h, n, err := wire.ParseSubgroupHeader(b, p.v)
	if err != nil {
		p.t.Fatal(err)
	}
	var prev *uint64
	for b = b[n:]; len(b) > 0; b = b[n:] {
		o, m, err := wire.ParseSubgroupObject(b, p.v, prev, h.HasProperties, 100)
		if err != nil || m == 0 {
			p.t.Fatal(err)
		}
		n = m + int(o.Length)
		objects = append(objects, string(rune('0'+o.ID))+string(b[m:n]))
		prev = &o.ID
	}
	return h, objects
}

// TestRangeFiltersHoldBack: what does not pass the filters of a subscription is written and goes nowhere, whatever way it is written.
func TestRangeFiltersHoldBack(t *testing.T) { onFills(t, testRangeFiltersHoldBack) }

func testRangeFiltersHoldBack(t *testing.T, v Version) {
	p, pubs, fetches := filling(t, v)
	odd := []wire.KeyValue{{Type: 0x26, Bytes: []byte{0, 1, 0, 2, 0}}} // objects 1 and 3
	cs := p.request(&wire.Subscribe{RequestID: 0, Track: testTrack, Parameters: wire.Parameters{RangeFilters: odd}})
	if m, err := cs.receive(); m.Type() != (*wire.SubscribeOK)(nil).Type() {
		t.Fatalf("%+v, %v", m, err)
	}
	pub := recv(t, pubs)
	write := func(group uint64) {
		t.Helper()
		w, err := pub.OpenSubgroup(testContext(t), SubgroupHeader{Group: group, SubgroupFromFirst: true, FirstObject: true})
		if err != nil {
			t.Fatal(err)
		}
		for id := range uint64(5) {
			if id&1 == 0 {
				err = w.WriteObject(id, nil, wire.StatusNormal, []byte("ab"))
			} else if err = w.WriteObjectHeader(id, nil, 2); err == nil {
				_, err = w.Write([]byte("ab"))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.WriteObjectHeader(5, nil, 3); err != nil {
			t.Fatal(err)
		}
		if n, err := w.Write([]byte("abc")); n != 3 || err != nil {
			t.Error(n, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(8)
	if h, got := p.read(); len(got) != 2 || got[0] != "1ab" || got[1] != "3ab" || h.FirstObject || h.Subgroup != 0 {
		t.Errorf("%q in %+v", got, h)
	}
	if l := pub.Largest(); *l != (Location{Group: 8, Object: 5}) {
		t.Errorf("largest %v", l)
	}
	// The end of a location filter inside a group, in an update that takes the range filter away.
	cs.send(&wire.RequestUpdate{RequestID: 2, Parameters: wire.Parameters{
		RangeFilters: []wire.KeyValue{{Type: 0x26}}, SubscriptionFilter: &Filter{Type: wire.FilterObjectRange, Start: Location{Group: 8}, EndGroup: 9, EndObject: 2},
	}})
	if m, err := cs.receive(); m.Type() != (*wire.RequestOK)(nil).Type() {
		t.Fatalf("%+v, %v", m, err)
	}
	if s := pub.State(); !s.Wants(Location{Group: 9, Object: 2}) || s.Wants(Location{Group: 9, Object: 3}) {
		t.Errorf("%+v", s)
	}
	write(9)
	if h, got := p.read(); len(got) != 3 || got[2] != "2ab" || !h.FirstObject {
		t.Errorf("%q in %+v", got, h)
	}
	for id := range uint64(4) {
		if err := pub.SendDatagram(Datagram{Group: 9, ID: 4 - id, Payload: []byte("d")}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := p.conn.ReceiveDatagram(testContext(t))
	if d, derr := wire.ParseDatagram(b, v); err != nil || derr != nil || d.ID != 2 {
		t.Errorf("datagram %+v, %v", d, err)
	}
	// In fetches, too.
	p.request(&wire.Fetch{RequestID: 4, FetchType: wire.FetchStandalone, Track: testTrack, End: wire.FetchOpenEnd, Parameters: wire.Parameters{RangeFilters: odd}})
	w, err := recv(t, fetches).Accept(FetchInfo{End: Location{Group: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for id := range uint64(3) {
		if err := errors.Join(w.WriteObject(FetchObject{Group: 0, ID: 2 * id}, []byte("ab")), w.WriteObjectHeader(FetchObject{Group: 0, ID: 2*id + 1, Size: 1})); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("c")); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	st, _ := p.fillStream()
	var state wire.FetchState
	var ids []uint64
	b, err = io.ReadAll(st)
	for len(b) > 0 && err == nil {
		var o wire.FetchObject
		var n int
		if o, n, err = wire.ParseFetchObject(b, v, 0); err == nil {
			err = state.Resolve(v, &o)
		}
		ids, b = append(ids, o.ID), b[n+int(o.Length):]
	}
	if err != nil || len(ids) != 2 || ids[0] != 1 || ids[1] != 3 {
		t.Errorf("fetched %v, %v", ids, err)
	}
}

// TestBoundsDoNotWrap: after the largest integer there is nothing (draft-20 §5.1.2).
func TestBoundsDoNotWrap(t *testing.T) {
	for _, tt := range []struct {
		filter wire.FilterType
		want   Location
	}{
		{wire.FilterNextGroupStart, Location{Group: openEnd.Group}},
		{wire.FilterRelativeStart, Location{Group: openEnd.Group}},
		{wire.FilterLargestObject, openEnd},
	} {
		if start, last := bounds(Filter{Type: tt.filter}, &openEnd); start != tt.want || last != openEnd {
			t.Errorf("%v: from %v to %v", Filter{Type: tt.filter}, start, last)
		}
	}
}

// TestFetchObjectsDoNotAllocate: without filters an object of a fetch costs no memory of its own.
func TestFetchObjectsDoNotAllocate(t *testing.T) {
	w := &FetchWriter{}
	w.s = &Session{v: wire.Versions()[0]}
	o := FetchObject{Group: 1, Size: 1}
	if n := testing.AllocsPerRun(100, func() {
		o.ID++
		w.left = 0
		if err := w.begin(o); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestRangeFiltersRefused: wrong filters refuse their request, and in an update end the subscription.
func TestRangeFiltersRefused(t *testing.T) { onFills(t, testRangeFiltersRefused) }

func testRangeFiltersRefused(t *testing.T, v Version) {
	p, pubs, _ := filling(t, v)
	wrong := wire.Parameters{RangeFilters: []wire.KeyValue{{Type: 0x28, Bytes: []byte{0, 3, 1}}}}
	many := wire.Parameters{RangeFilters: []wire.KeyValue{{Type: 0x25, Bytes: make([]byte, 2*maxFilterRanges+1)}}}
	tracks := wire.Parameters{RangeFilters: []wire.KeyValue{{Type: 0x29, Bytes: []byte{0, 3, 1}}}}
	for id, m := range []wire.Message{
		&wire.Subscribe{RequestID: 0, Track: testTrack, Parameters: wrong},
		&wire.Fetch{RequestID: 2, FetchType: wire.FetchStandalone, Track: testTrack, End: wire.FetchOpenEnd, Parameters: wrong},
		&wire.SubscribeTracks{RequestID: 4, Parameters: tracks},
		&wire.Subscribe{RequestID: 6, Track: testTrack, Parameters: wire.Parameters{Fill: &wrong}},
	} {
		if m, err := p.request(m).receive(); !refusedWith(m, wire.RequestInvalidFilter) {
			t.Errorf("%d: %+v, %v", id, m, err)
		}
	}
	cs := p.request(&wire.Subscribe{RequestID: 8, Track: testTrack, Parameters: many})
	cs.receive()
	pub := recv(t, pubs)
	cs.send(&wire.RequestUpdate{RequestID: 10, Parameters: wire.Parameters{RangeFilters: []wire.KeyValue{{Type: 0x26, Bytes: []byte{0, 1}}}}})
	if m, err := cs.receive(); !refusedWith(m, wire.RequestInvalidFilter) {
		t.Errorf("one range too many: %+v, %v", m, err)
	}
	if m, err := cs.receive(); err != nil || m.(*wire.PublishDone).Code != wire.DoneUpdateFailed {
		t.Errorf("%+v, %v", m, err)
	}
	done(t, pub.Context())
	// A track that does not pass is not published.
	p.request(&wire.SubscribeTracks{RequestID: 12, Prefix: object.Namespace{"only"}, Parameters: wire.Parameters{RangeFilters: []wire.KeyValue{{Type: 0x29, Bytes: []byte{0, 4, 1, 0}}}}})
	synctest.Wait()
	var e *RequestError
	only := object.TrackName{Namespace: object.Namespace{"only"}, Name: "x"}
	if _, err := p.s.Publish(testContext(t), only, PublishOptions{}); !errors.As(err, &e) || e.Code != wire.RequestUninterested {
		t.Errorf("filtered track: %v", err)
	}
}
