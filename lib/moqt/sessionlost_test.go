package moqt

import (
	"context"
	"errors"
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
