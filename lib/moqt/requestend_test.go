package moqt

import (
	"context"
	"errors"
	"testing"

	"every.channel/ec/lib/moqt/wire"
)

// deaf is the stream of a request whose peer says nothing more.
type deaf struct{ over chan struct{} }

func (d *deaf) send(wire.Message) error { return nil }
func (d *deaf) close()                  { close(d.over) }
func (d *deaf) cancel(*RequestError) error {
	close(d.over)
	return nil
}
func (d *deaf) next(context.Context) (wire.Message, error) {
	<-d.over
	return nil, ErrClosed
}

// TestAnsweredWhileWithdrawn: a request whose handler accepts it at the very moment at which the peer withdraws it is over once both are
// done. It was left open then, with its stream and its reader, until the end of the session.
func TestAnsweredWhileWithdrawn(t *testing.T) {
	_, b := Pipe(PipeOptions{Version: wire.Draft18})
	s := NewServer(b, nil)
	r := s.newRequest(&wire.SubscribeNamespace{}, false, nobody{})
	st := &deaf{over: make(chan struct{})}
	r.st = st
	s.requests.add(r)
	answer := func() { r.answer(&wire.RequestOK{RequestID: r.id}) }
	stop, answered := r.stop, false
	r.stop = func(cause error) { // the handler is as fast as it may be
		if !answered && r.mu.TryLock() {
			r.mu.Unlock()
			answered = true
			answer()
		}
		stop(cause)
	}
	r.leave(canceled)
	if !answered {
		answered = true
		answer()
	}
	if left := s.requests.all(); len(left) > 0 {
		t.Errorf("%d requests are left", len(left))
	}
	select {
	case <-st.over:
	default:
		t.Error("its stream is left open")
	}
}

// TestPublishAcceptedWhileWithdrawn: a handler may accept a track while its publisher ends it. The race detector sees whether both touch
// the same.
func TestPublishAcceptedWhileWithdrawn(t *testing.T) {
	inMemory(t, func(t *draftT) {
		if !t.v.Has(wire.TracksApart) {
			t.Skip("a publisher cannot end what was not answered")
		}
		came, handled := make(chan struct{}), make(chan struct{})
		c, _ := pipePair(t, nil, &Config{Handler: handlers{publish: func(_ context.Context, r *PublishRequest) {
			came <- struct{}{}
			<-r.in.ctx.Done()
			r.Accept(SubscribeOptions{Filter: Filter{Type: wire.FilterLargestObject}})
			handled <- struct{}{}
		}}})
		for range 20 {
			ctx, cancel := context.WithCancel(testContext(t))
			go func() {
				<-came
				cancel()
			}()
			c.Publish(ctx, testTrack, PublishOptions{})
			recv(t, handled)
		}
	})
}

// TestRequestStopped: a peer may refuse a request by ending both halves of its stream. Whichever is seen first, the request is refused by the
// peer, and not closed on this side.
func TestRequestStopped(t *testing.T) {
	for _, stop := range []bool{false, true} {
		p := attack18(t, false, nil)
		got := make(chan error, 1)
		go func() {
			_, err := p.s.TrackStatus(testContext(t), testTrack)
			got <- err
		}()
		st, err := p.conn.AcceptStream(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if stop {
			st.CancelRead(wire.ResetCancelled)
		} else {
			st.CancelWrite(wire.ResetCancelled)
		}
		if err := recv(t, got); !errors.As(err, new(*RequestError)) {
			t.Errorf("STOP_SENDING first %v: %v, want a refusal", stop, err)
		}
	}
}
