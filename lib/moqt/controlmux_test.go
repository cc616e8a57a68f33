package moqt

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// TestControlMessagesKeepTheirOrder: a message about one request is acted on before the next about another is looked at, as if both
// had one reader: an alias or a track that the first gave up is free for the second.
func TestControlMessagesKeepTheirOrder(t *testing.T) {
	subs := make(chan *Subscription, 1)
	h := handlers{subscribe: func(_ context.Context, r *SubscribeRequest) { r.Accept(TrackInfo{}) }}
	h.publish = func(_ context.Context, r *PublishRequest) {
		if sub, err := r.Accept(SubscribeOptions{}); err == nil {
			subs <- sub
		}
	}
	p := attackServer(t, &Config{Handler: h})
	// The name of the same track under the alias of a subscription that ends is allowed, but not while that goes on.
	p.send(&wire.Publish{RequestID: 0, Track: testTrack, TrackAlias: 7})
	p.receive()
	recv(t, subs)
	id := uint64(2)
	for range 100 {
		p.control(append(message(&wire.PublishDone{RequestID: id - 2, StreamCount: 1}), message(&wire.Publish{RequestID: id, Track: testTrack, TrackAlias: 7})...))
		for ok := false; !ok; {
			switch m := p.receive().(type) {
			case *wire.RequestError:
				t.Fatalf("request %d: %s", m.RequestID, m.Reason)
			case *wire.PublishOK:
				ok = true
			}
		}
		recv(t, subs)
		id += 2
	}
	p.send(&wire.PublishDone{RequestID: id - 2})
	other := testTrack
	other.Name = "other"
	p.send(&wire.Subscribe{RequestID: id, Track: other})
	for range 100 {
		p.control(append(message(&wire.Unsubscribe{RequestID: id}), message(&wire.Subscribe{RequestID: id + 2, Track: other})...))
		id += 2
	}
	for {
		switch m := p.receive().(type) {
		case *wire.RequestError: // withdrawn before it was answered, it may be
			if m.Code == wire.RequestDuplicateSubscription {
				t.Fatalf("request %d: %s", m.RequestID, m.Reason)
			}
		case *wire.SubscribeOK:
			if m.RequestID == id {
				return
			}
		}
	}
}

// TestCancelBeforeTheAnswer: draft 16 has nothing to end a request with before it was answered, but for a fetch; the answer is waited for.
func TestCancelBeforeTheAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		ask    func(ctx context.Context, s *Session) error
		now    wire.Message // that is said at once
		answer wire.Message
		then   wire.Message // that is said then
	}{
		"SUBSCRIBE": {
			func(ctx context.Context, s *Session) error {
				_, err := s.Subscribe(ctx, testTrack, SubscribeOptions{})
				return err
			}, nil, &wire.SubscribeOK{TrackAlias: 3}, &wire.Unsubscribe{},
		},
		"PUBLISH": {
			func(ctx context.Context, s *Session) error {
				_, err := s.Publish(ctx, testTrack, PublishOptions{})
				return err
			}, nil, &wire.PublishOK{}, &wire.PublishDone{},
		},
		"PUBLISH_NAMESPACE": {
			func(ctx context.Context, s *Session) error {
				_, err := s.PublishNamespace(ctx, testTrack.Namespace)
				return err
			}, nil, &wire.RequestOK{}, &wire.PublishNamespaceDone{},
		},
		"FETCH": {
			func(ctx context.Context, s *Session) error {
				_, err := s.Fetch(ctx, testTrack, Location{}, Location{Group: 1}, FetchOptions{})
				return err
			}, &wire.FetchCancel{}, &wire.FetchOK{End: Location{Group: 1}}, nil,
		},
		"refused": {
			func(ctx context.Context, s *Session) error {
				_, err := s.Subscribe(ctx, testTrack, SubscribeOptions{})
				return err
			}, nil, &wire.RequestError{}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := attackClient(t, nil)
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				if err := tt.ask(ctx, p.s); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				p.receive() // the request
				if tt.now != nil {
					if m := p.receive(); m.Type() != tt.now.Type() {
						t.Errorf("said %T at once", m)
					}
				}
				p.send(tt.answer)
				if tt.then != nil {
					if m := p.receive(); m.Type() != tt.then.Type() {
						t.Errorf("said %T after the answer", m)
					}
				}
				p.send(&wire.TrackStatus{Subscribe: wire.Subscribe{RequestID: 1, Track: testTrack}})
				if m, ok := p.receive().(*wire.RequestError); !ok || m.RequestID != 1 {
					t.Errorf("next it said %+v", m)
				}
				synctest.Wait()
				if left := p.s.requests.all(); len(left) > 0 {
					t.Errorf("%d requests are left", len(left))
				}
				x := p.s.carrier.(*controlMux)
				x.mu.Lock()
				left := len(x.streams)
				x.mu.Unlock()
				if left > 0 {
					t.Errorf("%d streams are left", left)
				}
				p.send(tt.answer) // a second time
				p.closed(wire.ProtocolViolation)
			})
		})
	}
}

// TestControlGoesOnWhileAnswersWait: a peer that sends updates and reads no answers does not keep what it says next from being heard.
func TestControlGoesOnWhileAnswersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const updates = 50
		h, pubs := accepting(TrackInfo{})
		a, b := Pipe(PipeOptions{Version: wire.Draft16, Window: 100})
		s := NewServer(b, &Config{Handler: h})
		p := &rawPeer{t: t, conn: a, s: s, end: run(t, s)}
		st, err := a.OpenStream(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		p.ctrl = newControlStream(st, wire.Draft16)
		p.send(&wire.ClientSetup{Parameters: wire.SetupParameters{MaxRequestID: ptr(uint64(100)), Path: ptr("/")}})
		p.receive()
		p.send(&wire.Subscribe{RequestID: 0, Track: testTrack})
		p.receive()
		recv(t, pubs)
		for i := range uint64(updates) {
			p.send(&wire.RequestUpdate{RequestID: 2 + 2*i, ExistingRequestID: 0})
		}
		p.send(&wire.GoAway{})
		recv(t, s.GoingAway())
		for i := range uint64(updates) {
			if m, ok := p.receive().(*wire.RequestOK); !ok || m.RequestID != 2+2*i {
				t.Fatalf("answer %d: %+v", i, m)
			}
		}
	})
}

// TestPublishDoneIsNotPiledUp: a publisher that updates its track, reads no answers and says over and over that the track is done fills no
// memory with that.
func TestPublishDoneIsNotPiledUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := handlers{publish: func(ctx context.Context, r *PublishRequest) { r.Accept(SubscribeOptions{}) }}
		a, b := Pipe(PipeOptions{Version: wire.Draft16, Window: 100})
		s := NewServer(b, &Config{Handler: h})
		p := &rawPeer{t: t, conn: a, s: s, end: run(t, s)}
		st, err := a.OpenStream(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		p.ctrl = newControlStream(st, wire.Draft16)
		p.send(&wire.ClientSetup{Parameters: wire.SetupParameters{MaxRequestID: ptr(uint64(100)), Path: ptr("/")}})
		p.receive()
		p.send(&wire.Publish{RequestID: 0, Track: testTrack, TrackAlias: 7})
		p.receive()
		for i := range uint64(50) { // more answers than there is room for
			p.send(&wire.RequestUpdate{RequestID: 2 + 2*i, ExistingRequestID: 0})
		}
		for range 100 {
			p.send(&wire.PublishDone{RequestID: 0, StreamCount: 1})
		}
		p.closed(wire.ProtocolViolation)
	})
}

// TestWithdrawnRequestHoldsNothingUp: a request that was withdrawn, and whose handler takes its time, does not keep later messages from
// being heard.
func TestWithdrawnRequestHoldsNothingUp(t *testing.T) {
	answer := make(chan struct{})
	withdrawn := make(chan struct{})
	p := attackServer(t, &Config{Handler: handlers{subscribe: func(ctx context.Context, r *SubscribeRequest) {
		<-ctx.Done()
		close(withdrawn)
		<-answer
	}}})
	p.control(append(message(&wire.Subscribe{RequestID: 0, Track: testTrack}), message(&wire.Unsubscribe{RequestID: 0})...))
	recv(t, withdrawn)
	p.alive(2)
	close(answer)
	if m, ok := p.receive().(*wire.RequestError); !ok || m.RequestID != 0 {
		t.Errorf("in the end it said %+v", m)
	}
}
