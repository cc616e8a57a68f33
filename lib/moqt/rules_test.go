package moqt

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// rulePeer is a client played by hand that asks in the way of its draft.
type rulePeer struct {
	*rawPeer
	v       Version
	streams *raw18                    // of drafts with a stream per request
	open    map[uint64]*controlStream // by request id
}

// onRules starts a server of a draft whose handler accepts everything; the track's largest object is 7/3.
func onRules(t *testing.T, v Version, largest *Location) *rulePeer {
	h, _ := accepting(TrackInfo{Largest: &Location{Group: 7, Object: 3}, Current: func() *Location { return largest }})
	h.fetch = func(_ context.Context, r *FetchRequest) {
		if w, err := r.Accept(FetchInfo{End: r.End}); err == nil {
			w.Close()
		}
	}
	h.subscribeNamespace = func(_ context.Context, r *SubscribeNamespaceRequest) { r.Accept() }
	conf := &Config{Handler: h}
	if v == wire.Draft16 {
		return &rulePeer{rawPeer: attackServer(t, conf), v: v}
	}
	p := attackStreams(t, v, true, conf)
	return &rulePeer{&p.rawPeer, v, p, map[uint64]*controlStream{}}
}

// ask sends a request and does not wait for its answer.
func (p *rulePeer) ask(id uint64, m wire.Message) {
	p.t.Helper()
	if p.streams == nil {
		p.send(m)
		return
	}
	p.open[id] = p.streams.request(m)
}

// update sends a REQUEST_UPDATE for a request.
func (p *rulePeer) update(m *wire.RequestUpdate) {
	p.t.Helper()
	if p.streams == nil {
		p.send(m)
		return
	}
	if err := p.open[m.ExistingRequestID].send(m); err != nil {
		p.t.Error(err)
	}
}

// answer is the next answer to a request; nil: the session ended.
func (p *rulePeer) answer(id uint64) wire.Message {
	cs := p.ctrl
	if p.streams != nil {
		cs = p.open[id]
	}
	m, err := cs.receive()
	if err != nil {
		return nil
	}
	return m
}

// refusedWith reports whether m is a REQUEST_ERROR with a code.
func refusedWith(m wire.Message, code RequestCode) bool {
	e, ok := m.(*wire.RequestError)
	return ok && e.Code == code
}

func joinFetch(id, of uint64) *wire.Fetch {
	return &wire.Fetch{RequestID: id, FetchType: wire.FetchRelativeJoining, JoiningRequestID: of}
}

// joins reports whether a draft has a joining FETCH at all.
func joins(v Version) bool { return messageIn(v, joinFetch(2, 0)) != nil }

// toLargest are the parameters with which every draft lets a subscription be joined.
func toLargest(forward bool) wire.Parameters {
	return wire.Parameters{SubscriptionFilter: &Filter{Type: wire.FilterLargestObject}, Forward: &forward}
}

// keepsRule finds out, for each rule, whether a session of a draft keeps it.
var keepsRule = map[wire.Rule]func(t *testing.T, v Version) bool{
	wire.JoinLargestObject: func(t *testing.T, v Version) bool {
		if !joins(v) {
			return false
		}
		p := onRules(t, v, nil)
		p.ask(0, &wire.Subscribe{RequestID: 0, Track: testTrack})
		p.answer(0)
		p.ask(2, joinFetch(2, 0))
		m := p.answer(2)
		if m == nil {
			p.closed(wire.ProtocolViolation)
		}
		return m == nil
	},
	wire.JoinWaits: func(t *testing.T, v Version) bool {
		if !joins(v) {
			return false
		}
		p := onRules(t, v, nil)
		p.ask(2, joinFetch(2, 0))
		synctest.Wait()
		p.ask(0, &wire.Subscribe{RequestID: 0, Track: testTrack, Parameters: toLargest(true)})
		ok, is := p.answer(2).(*wire.FetchOK)
		return is && ok.End == Location{Group: 7, Object: 4}
	},
	wire.JoinForwarding: func(t *testing.T, v Version) bool {
		if !joins(v) {
			return false
		}
		p := onRules(t, v, nil)
		p.ask(0, &wire.Subscribe{RequestID: 0, Track: testTrack, Parameters: toLargest(false)})
		p.answer(0)
		p.ask(2, joinFetch(2, 0))
		return refusedWith(p.answer(2), wire.RequestInvalidRange)
	},
	wire.JoinPublished: func(t *testing.T, v Version) bool {
		if !joins(v) {
			return false
		}
		p := onRules(t, v, nil)
		go p.s.Publish(testContext(t), testTrack, PublishOptions{Largest: &Location{Group: 7, Object: 3}})
		if p.streams == nil {
			p.answer(1)
			p.send(&wire.PublishOK{RequestID: 1, Parameters: toLargest(true)})
		} else {
			cs, _ := p.streams.accept()
			cs.send(&wire.RequestOK{Parameters: toLargest(true)})
		}
		synctest.Wait()
		p.ask(0, joinFetch(0, 1))
		_, ok := p.answer(0).(*wire.FetchOK)
		return ok
	},
	wire.JoinResumed: func(t *testing.T, v Version) bool {
		if !joins(v) {
			return false
		}
		p := onRules(t, v, &Location{Group: 9, Object: 1})
		p.ask(0, &wire.Subscribe{RequestID: 0, Track: testTrack, Parameters: toLargest(false)})
		p.answer(0)
		p.update(&wire.RequestUpdate{RequestID: 2, ExistingRequestID: 0, Parameters: wire.Parameters{Forward: ptr(true)}})
		if ok, is := p.answer(0).(*wire.RequestOK); !is || ok.Parameters.LargestObject == nil || *ok.Parameters.LargestObject != (Location{Group: 9, Object: 1}) {
			t.Errorf("answer to the update: %+v", ok)
		}
		p.ask(4, joinFetch(4, 0))
		ok, is := p.answer(4).(*wire.FetchOK)
		return is && ok.End == Location{Group: 9, Object: 2}
	},
	wire.GoAwayNamesRequest: func(t *testing.T, v Version) bool {
		p := onRules(t, v, nil)
		if err := p.s.GoAway(""); err != nil {
			t.Fatal(err)
		}
		cs := p.ctrl
		if p.streams != nil {
			cs = newControlStream(duplex{nil, p.streams.in}, v)
		}
		m, err := cs.receive()
		if err != nil {
			t.Fatal(err)
		}
		return m.(*wire.GoAway).RequestID != nil
	},
	wire.ListingUpdates: func(t *testing.T, v Version) bool {
		p := onRules(t, v, nil)
		st, err := p.conn.OpenStream(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		cs := newControlStream(st, v)
		for i, m := range []wire.Message{&wire.SubscribeNamespace{}, &wire.RequestUpdate{RequestID: 2}} {
			cs.send(m)
			if m, err := cs.receive(); err != nil && i > 0 {
				p.closed(wire.ProtocolViolation)
				return false
			} else if _, ok := m.(*wire.RequestOK); !ok {
				t.Fatalf("%T, %v", m, err)
			}
		}
		return true
	},
	wire.TracksApart: func(t *testing.T, v Version) bool {
		p := onRules(t, v, nil)
		go p.s.SubscribeNamespace(testContext(t), nil, SubscribeNamespaceOptions{Publish: true, NoListing: true})
		st, err := p.conn.AcceptStream(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		cs := newControlStream(st, v)
		m, err := cs.receive()
		if err != nil {
			t.Fatal(err)
		}
		cs.send(&wire.RequestOK{RequestID: *requestID(m)})
		_, apart := m.(*wire.SubscribeTracks)
		return apart
	},
	wire.OneSubscription: func(t *testing.T, v Version) bool {
		p := onRules(t, v, nil)
		p.ask(0, &wire.Subscribe{RequestID: 0, Track: testTrack})
		p.answer(0)
		p.ask(2, &wire.Subscribe{RequestID: 2, Track: testTrack})
		return refusedWith(p.answer(2), wire.RequestDuplicateSubscription)
	},
	wire.AnswerShapes: func(t *testing.T, v Version) bool {
		p := onRules(t, v, nil)
		h := p.s.cfg.Handler.(handlers)
		h.publish = func(_ context.Context, r *PublishRequest) { r.Accept(SubscribeOptions{Priority: ptr(uint8(3))}) }
		p.s.cfg.Handler = h
		p.ask(0, &wire.Publish{RequestID: 0, Track: testTrack})
		var said wire.Parameters
		switch m := p.answer(0).(type) {
		case *wire.PublishOK:
			said = m.Parameters
		case *wire.RequestOK:
			said = m.Parameters
		}
		if said.SubscriberPriority != nil {
			return *said.SubscriberPriority == 3
		}
		if m, is := p.answer(0).(*wire.RequestUpdate); !is || *m.Parameters.SubscriberPriority != 3 {
			t.Errorf("%+v after the answer", m)
		}
		return false
	},
	wire.Fills: func(t *testing.T, v Version) bool {
		p := onRules(t, v, nil)
		fill := &wire.Parameters{SubscriptionFilter: &Filter{Type: wire.FilterAbsoluteStart, Start: Location{Group: 7}}}
		m := &wire.Subscribe{RequestID: 0, Track: testTrack, Parameters: wire.Parameters{Fill: fill}}
		if p.streams == nil || messageIn(v, m) == nil {
			return false
		}
		p.ask(0, m)
		p.answer(0)
		st, err := p.conn.AcceptUniStream(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(st)
		return err == nil && bytes.Equal(b, wire.AppendFetchHeader(nil, v, 0))
	},
	wire.FINEnds: func(t *testing.T, v Version) bool {
		p := onRules(t, v, nil)
		left := make(chan context.Context, 1)
		h := p.s.cfg.Handler.(handlers)
		h.subscribeNamespace = func(ctx context.Context, r *SubscribeNamespaceRequest) { r.Accept(); left <- ctx }
		p.s.cfg.Handler = h
		st, err := p.conn.OpenStream(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		cs := newControlStream(st, v)
		cs.send(&wire.SubscribeNamespace{})
		cs.receive()
		st.Close()
		synctest.Wait()
		return recv(t, left).Err() != nil
	},
	wire.ObjectTimeouts: func(t *testing.T, v Version) bool {
		return givesUpAfter(t, v, TrackInfo{}, SubscribeOptions{DeliveryTimeout: 3 * time.Second}, 0, []byte{0x02, 0x43, 0xe8}) == time.Second
	},
	wire.OwnStreams: func(t *testing.T, v Version) bool {
		p := onRules(t, v, nil)
		go p.s.TrackStatus(testContext(t), testTrack)
		ctx, cancel := context.WithTimeout(testContext(t), time.Second)
		defer cancel()
		_, err := p.conn.AcceptStream(ctx)
		return err == nil
	},
	wire.SessionTracks: func(t *testing.T, v Version) bool {
		p := onRules(t, v, nil)
		p.ask(0, &wire.Subscribe{RequestID: 0, Track: object.TrackName{Namespace: object.Namespace{".session"}, Name: "x"}})
		return refusedWith(p.answer(0), wire.RequestDoesNotExist)
	},
}

// TestRulesOfEachDraft: each draft's sessions keep its rules and not those of another.
func TestRulesOfEachDraft(t *testing.T) {
	for _, r := range wire.Rules() {
		keeps := keepsRule[r]
		if keeps == nil {
			t.Fatalf("nothing shows rule %d", r)
		}
		for _, v := range wire.Versions() {
			synctest.Test(t, func(t *testing.T) {
				if got := keeps(t, v); got != v.Has(r) {
					t.Errorf("rule %d in %v: kept %v, the draft has it %v", r, v, got, v.Has(r))
				}
			})
		}
	}
}

// A joining FETCH waits for the update that resumes its subscription too, and for neither longer than for a subscription.
func TestJoiningFetchOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := onRules(t, wire.Draft18, nil)
		p.ask(0, &wire.Subscribe{RequestID: 0, Track: testTrack, Parameters: toLargest(false)})
		p.answer(0)
		p.ask(4, joinFetch(4, 0))
		synctest.Wait()
		p.update(&wire.RequestUpdate{RequestID: 2, Parameters: wire.Parameters{Forward: ptr(true)}})
		if m := p.answer(4); m.Type() != (*wire.FetchOK)(nil).Type() {
			t.Errorf("%+v after the update", m)
		}
		p.ask(8, joinFetch(8, 6)) // a SUBSCRIBE that never comes
		if m := p.answer(8); !refusedWith(m, wire.RequestInvalidJoiningRequestID) {
			t.Errorf("%+v without a subscription", m)
		}
		p.ask(10, joinFetch(10, 8)) // a FETCH
		if m := p.answer(10); !refusedWith(m, wire.RequestInvalidJoiningRequestID) {
			t.Errorf("%+v for what is no subscription", m)
		}
	})
}
