package relay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay/live"
	"every.channel/ec/lib/store"
)

// Who asks for a track whose publisher is being accepted waits until the track has that publisher, or does not get any.
func TestAskedWhilePublisherArrives(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		r := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		found := make(chan *track, 1)
		ask := func(ctx context.Context) {
			go func() { found <- r.find(ctx, ts, nil) }()
			synctest.Wait()
		}
		one, other := r.arrives(ts), r.arrives(ts)
		ask(t.Context())
		one() // was given up
		synctest.Wait()
		select {
		case <-found:
			t.Fatal("answered while a publisher was being accepted")
		default:
		}
		want := r.track(ts)
		src := &live.Source{Name: "home"}
		want.Attach(src, nil)
		other()
		if got := <-found; got != want {
			t.Errorf("found %v", got)
		}
		want.Detach(src, false)
		if len(r.arriving) != 0 {
			t.Errorf("%d still arriving", len(r.arriving))
		}

		late := object.TrackName{Namespace: ts.Namespace, Name: "late"}
		gone := r.arrives(late)
		defer gone()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { found <- r.find(ctx, late, nil) }()
		if got := <-found; got != nil {
			t.Errorf("found %v of a track whose publisher never came", got)
		}
	})
}
