package outage

import (
	"testing"
	"time"

	"every.channel/ec/lib/loopback"
)

// A home is killed while the relay is away, and another one is started on its spool: the relay gets what the first one had.
func TestSpoolOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	addr := loopback.Address(t)
	relay, home := newProcess(t, "relay", addr), newProcess(t, "publisher", addr)
	relay.relay()
	relay.kill()
	b := &broadcast{size: 4000, every: 40 * time.Millisecond}
	b.begin()
	home.pin = relay.pin
	home.publisher(b)
	wait(t, "groups in the spool", func() bool { return whole(home.dir) > 30 })
	home.kill()
	all := snapshot(relay, []*process{home})
	home.publisher(b)
	relay.relay()
	t.Logf("all of it is there after %v", wait(t, "the groups of the first run", all))
	home.end()
	relay.end()
	compare(t, b, relay.dir, home.dir)
}
