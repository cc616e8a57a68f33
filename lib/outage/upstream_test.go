package outage

import (
	"testing"
	"time"

	"every.channel/ec/lib/pub"
	"every.channel/ec/lib/relay"
)

// A home's relay and its publisher were both away, and nobody there has what was on air meanwhile; the other home's relay has it.
func TestHolesFromUpstream(t *testing.T) {
	t.Parallel()
	a, b := newHome(t), newHome(t)
	on := &broadcast{size: 2000, every: 50 * time.Millisecond}
	other := &broadcast{size: on.size, every: on.every}
	b.publish(other, pub.Config{}, 0)
	stop := a.publish(on, pub.Config{}, 0)
	wait(t, "the first groups", func() bool { return has(a.store, 10) })
	if _, err := stop(); err != nil {
		t.Fatal(err)
	}
	a.off()
	last := on.written.Load()
	wait(t, "groups that only the other home has", func() bool { return has(b.store, last+40) })
	a.on(relay.Upstream{Relay: b.url(), TLS: b.tls})
	again := other.written.Load() + 5
	a.publish(on, pub.Config{}, again)
	healed := wait(t, "the hole to be mended", func() bool {
		return len(on.lacking(t, a.store, video, again)) == 0 && len(on.lacking(t, a.store, manifest, again)) == 0
	})
	t.Logf("%d groups were missing; whole after %v", again-last, healed)
	on.verify(t, a.store)
}
