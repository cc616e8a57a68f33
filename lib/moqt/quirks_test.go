package moqt

import (
	"context"
	"encoding/hex"
	"testing"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// TestLargestForMoqNet: @moq/net is not told the largest object in draft 18, where it could not read it; others are, and it is
// in draft 16. Where the subscription starts does not change.
func TestLargestForMoqNet(t *testing.T) { inMemory(t, testLargestForMoqNet) }

func testLargestForMoqNet(t *draftT) {
	largest := Location{Group: 4, Object: 7}
	for _, name := range []string{moqNetJS, "another"} {
		started := make(chan *Publication, 1)
		c, _ := pipePair(t, &Config{Implementation: name}, &Config{Handler: handlers{
			subscribe: func(_ context.Context, r *SubscribeRequest) {
				if p, err := r.Accept(TrackInfo{Largest: &largest}); err == nil {
					started <- p
				}
			},
			trackStatus: func(_ context.Context, r *TrackStatusRequest) { r.Accept(TrackInfo{Largest: &largest}) },
		}})
		ctx := testContext(t)
		sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{Filter: Filter{Type: wire.FilterLargestObject}})
		if err != nil {
			t.Fatal(err)
		}
		status, err := c.TrackStatus(ctx, testTrack)
		if err != nil {
			t.Fatal(err)
		}
		told := name != moqNetJS || t.v == wire.Draft16
		for what, got := range map[string]*Location{"SUBSCRIBE_OK": sub.Info().Largest, "TRACK_STATUS": status.Largest} {
			if (got != nil) != told || told && *got != largest {
				t.Errorf("%s to %s: largest %v", what, name, got)
			}
		}
		if start := recv(t, started).State().Start; start != (Location{Group: 4, Object: 8}) {
			t.Errorf("starts at %v", start)
		}
	}
}

// TestWidePriority: @moq/net 0.2.8 writes a priority as a variable-length integer, and is served; any other peer that does so closes the
// session. The bytes are what 0.2.8 writes.
func TestWidePriority(t *testing.T) {
	const subscribe = "03" + "0014" + "0002026563016101760410011080fe0101020102"
	b, err := hex.DecodeString(subscribe)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{moqNetJS, "another"} {
		started := make(chan *Publication, 1)
		p := attackAs(t, &wire.Setup{Parameters: wire.SetupParameters{Implementation: &name}}, wire.Draft18, true, &Config{Handler: handlers{
			subscribe: func(_ context.Context, r *SubscribeRequest) {
				p, err := r.Accept(TrackInfo{})
				if err != nil {
					t.Error(err)
				}
				started <- p
			},
		}})
		cs := p.request()
		if _, err := cs.st.Write(b); err != nil {
			t.Fatal(err)
		}
		if name != moqNetJS {
			p.closed(wire.ProtocolViolation)
			continue
		}
		if m, err := cs.receive(); err != nil || m.Type() != (*wire.SubscribeOK)(nil).Type() {
			t.Fatalf("%T %+v, %v", m, m, err)
		}
		st := recv(t, started).State()
		if st.Priority != 254 || st.GroupOrder != wire.GroupOrderDescending || st.Filter.Type != wire.FilterLargestObject {
			t.Errorf("%+v", st)
		}
	}
}

// TestLenientIDs: a client of draft 18 that counts its requests 1, 2, 3, as MediaMTX does, is served by a lenient server, and its
// joining fetch finds its subscription; any other closes the session.
func TestLenientIDs(t *testing.T) {
	largest := Location{Group: 4, Object: 7}
	conf := func() *Config {
		return &Config{Handler: handlers{
			subscribe: func(_ context.Context, r *SubscribeRequest) { r.Accept(TrackInfo{Largest: &largest}) },
			fetch: func(_ context.Context, r *FetchRequest) {
				if r.Joining == nil || !r.Track.Equal(testTrack) {
					t.Errorf("fetch of %v", r.Track)
				}
				r.Reject(wire.RequestNotSupported, "seen")
			},
		}}
	}
	subscribe := func(id uint64, name string) wire.Message {
		return &wire.Subscribe{RequestID: id, Track: object.TrackName{Namespace: testTrack.Namespace, Name: name},
			Parameters: wire.Parameters{SubscriptionFilter: &wire.Filter{Type: wire.FilterLargestObject}}}
	}
	lenient := conf()
	lenient.Lenient = true
	p := attack18(t, true, lenient)
	for id, name := range map[uint64]string{1: testTrack.Name, 2: "another", 1 << 61: "a third"} {
		m, err := p.request(subscribe(id, name)).receive()
		ok, is := m.(*wire.SubscribeOK)
		if err != nil || !is {
			t.Fatalf("request %d: %T, %v", id, m, err)
		}
		if l := ok.Parameters.LargestObject; l != nil {
			t.Errorf("a peer without a name is told the largest object, %v", l)
		}
	}
	m, err := p.request(&wire.Fetch{RequestID: 3, FetchType: wire.FetchRelativeJoining, JoiningRequestID: 1}).receive()
	if e, is := m.(*wire.RequestError); err != nil || !is || e.Code != wire.RequestNotSupported {
		t.Errorf("joining fetch: %+v, %v", m, err)
	}

	p = attack18(t, true, conf())
	p.request(subscribe(1, testTrack.Name))
	p.closed(wire.InvalidRequestID)
}

// TestLenientControlStream: a lenient session outlives the peer's control stream.
func TestLenientControlStream(t *testing.T) {
	p := attack18(t, true, &Config{Lenient: true, Handler: handlers{
		subscribe: func(_ context.Context, r *SubscribeRequest) { r.Accept(TrackInfo{}) },
	}})
	p.out.Close()
	m, err := p.request(&wire.Subscribe{Track: testTrack}).receive()
	if _, is := m.(*wire.SubscribeOK); err != nil || !is {
		t.Errorf("%T, %v", m, err)
	}
}
