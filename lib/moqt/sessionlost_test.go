package moqt

import (
	"context"
	"errors"
	"io"
	"testing"

	"every.channel/ec/lib/moqt/wire"
)

// TestRequestsEndWithTheirSession: a connection's end shows at its streams before the session has heard of it. Requests under way still say
// why the session ended, so that whoever made them knows that it was lost: they were not closed on this side, nor cancelled by the peer.
func TestRequestsEndWithTheirSession(t *testing.T) {
	for range 30 {
		arrived := make(chan struct{}, 8)
		waits := func(ctx context.Context) { arrived <- struct{}{}; <-ctx.Done() }
		c, s := dialedPair(t, "moqt", nil, &Config{Handler: handlers{
			trackStatus: func(ctx context.Context, _ *TrackStatusRequest) { waits(ctx) },
			subscribe:   func(ctx context.Context, _ *SubscribeRequest) { waits(ctx) },
			publish:     func(ctx context.Context, _ *PublishRequest) { waits(ctx) },
		}})
		requests := []func(context.Context) error{
			func(ctx context.Context) error { _, err := c.TrackStatus(ctx, testTrack); return err },
			func(ctx context.Context) error { _, err := c.Subscribe(ctx, testTrack, SubscribeOptions{}); return err },
			func(ctx context.Context) error { _, err := c.Publish(ctx, testTrack, PublishOptions{}); return err },
		}
		failed := make(chan error, len(requests))
		for _, ask := range requests {
			go func() { failed <- ask(testContext(t)) }()
			recv(t, arrived)
		}
		s.Close(wire.GoAwayTimeout, "gone")
		for range requests {
			var why *SessionError
			if err := recv(t, failed); !errors.As(err, &why) || why.Code != wire.GoAwayTimeout {
				t.Fatalf("%v (%T)", err, err)
			}
		}
	}
}

// TestLostConnectionEndsNoStream: where a connection breaks without a word, as one does whose program is killed, streams have not come to
// their end, neither between objects nor within one, and the peer broke no rule: otherwise half a group would be taken for the whole one.
func TestLostConnectionEndsNoStream(t *testing.T) {
	for _, scheme := range []string{"unix", "tcp"} {
		t.Run(scheme, func(t *testing.T) {
			ctx := testContext(t)
			h, pubs := accepting(TrackInfo{})
			c, s := qmuxPair(t, scheme, nil, &Config{Handler: h})
			sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p := recv(t, pubs)
			var streams []*SubgroupReader
			for group := range uint64(2) {
				w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: group, EndOfGroup: true})
				if err != nil {
					t.Fatal(err)
				}
				if err := w.WriteObject(0, nil, wire.StatusNormal, []byte("whole")); err != nil {
					t.Fatal(err)
				}
				if group == 1 {
					if err := w.WriteObjectHeader(1, nil, 1000); err != nil {
						t.Fatal(err)
					}
					if _, err := w.Write(make([]byte, 500)); err != nil {
						t.Fatal(err)
					}
				}
				g, err := sub.AcceptSubgroup(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for range group + 1 {
					if _, err := g.Next(); err != nil {
						t.Fatal(err)
					}
				}
				if group == 0 {
					if _, err := io.ReadAll(g); err != nil {
						t.Fatal(err)
					}
				}
				streams = append(streams, g)
			}
			s.conn.Info().Socket.Close()
			_, between := streams[0].Next()
			_, within := io.ReadAll(streams[1])
			for _, err := range []error{between, within, done(t, c.Context())} {
				if err == nil || errors.Is(err, io.EOF) || isViolation(err) {
					t.Errorf("%v (%T)", err, err)
				}
			}
		})
	}
}
