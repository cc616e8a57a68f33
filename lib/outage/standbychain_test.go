package outage

import (
	"testing"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/pub"
	"every.channel/ec/lib/relay"
)

// The first home publishes at one relay, its standby at another, and each relay is the other's upstream. While the first home sends, nothing
// of the video comes to the second relay. When the first home is gone, a viewer at the first relay gets the standby's objects through both.
func TestStandbyAtAnotherRelay(t *testing.T) {
	t.Parallel()
	a, b := newHome(t), newHome(t)
	a.off()
	b.off()
	a.on(relay.Upstream{Relay: b.url(), TLS: b.tls})
	b.on(relay.Upstream{Relay: a.url(), TLS: a.tls})
	on := &broadcast{size: 4000, every: 400 * time.Millisecond}
	on.begin()
	stop := a.publish(on, pub.Config{}, 1)
	wait(t, "the first groups", func() bool { return has(a.store, 3) })
	b.publish(on, pub.Config{Standby: true}, on.now()+1)
	wait(t, "the standby's manifest", func() bool { return len(b.store.Track(manifest).Groups(0, object.MaxVarint)) > 5 })
	if n := len(b.store.Track(video).Groups(0, object.MaxVarint)); n > 0 {
		t.Errorf("%d groups of the video came to the standby's relay", n)
	}
	v := watch(t, on, a)
	from := on.now() + 2
	wait(t, "the viewer's first groups", func() bool { return v.whole(from, from+3) && on.now() > from+4 })
	from = on.now()
	if _, err := stop(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(8 * on.every)
	to := on.now()
	wait(t, "what was on air meanwhile", func() bool { return v.whole(from, to) })
	late, _ := v.longest(from, to)
	t.Logf("the latest part came after %v; a part takes %v", late, on.every/parts)
	if v.bad > 0 {
		t.Errorf("%d parts are not what was published", v.bad)
	}
	on.verify(t, a.store)
}
