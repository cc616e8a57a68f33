package pub

import (
	"io"
	"testing"
	"time"

	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/object"
)

// A relay of ours that asks what there is after an outage, and fetches nothing of it, is sent it all the same; what it then does not keep counts
// as sent, so publishing ends well.
func TestBacklogThatTheRelayDoesNotFetch(t *testing.T) {
	for _, c := range []struct {
		name  string
		keeps bool
	}{{"and keeps", true}, {"and does not keep", false}} {
		t.Run(c.name, func(t *testing.T) {
			relay := relaytest.New(t)
			relay.Stop()
			relay.Implementation = "every.channel test"
			relay.Asks = []object.TrackName{{Namespace: append(object.Namespace{mesh.InventoryField}, name.Namespace...), Name: name.Name}}
			relay.Lose = func(_ object.TrackName, o *object.Object) bool { return !c.keeps && o.Group < 15 }
			r, w := io.Pipe()
			result := make(chan error, 1)
			var stats Stats
			go func() {
				s, err := Run(testContext(t), Config{
					Relays: []string{relay.URL()}, TLS: relay.TLS(), RetryStart: time.Minute, Drain: 15 * time.Second,
					edge: time.Millisecond, askPatience: 500 * time.Millisecond,
				}, r)
				stats = s
				result <- err
			}()
			encode(t, w, groups(10, 6)...) // the newest is no backlog
			time.Sleep(20 * time.Millisecond)
			relay.Start()
			want := groups(10, 6)
			if !c.keeps {
				want = groups(15, 1)
			}
			relay.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == len(want) })
			w.Close()
			if err := <-result; err != nil || stats.Dropped+stats.Undelivered+stats.Refused > 0 {
				t.Fatalf("%v, %+v", err, stats)
			}
			wantObjects(t, relay.Objects(name), want)
		})
	}
}
