package moqt

import (
	"context"
	"testing"

	"every.channel/ec/lib/moqt/wire"
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
