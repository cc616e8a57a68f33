package relay

import (
	"crypto/tls"
	"testing"
	"time"

	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// An upstream sends every request of an edge to another relay: the edge gets past and live objects from there.
func TestUpstreamRedirects(t *testing.T) {
	origin := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	front := relaytest.New(t)
	front.Redirect = func(string, object.TrackName) *moqt.Redirect { return &moqt.Redirect{URI: "moqt://" + origin.addr} }
	e := edge(t, Upstream{Relay: front.URL(), TLS: &tls.Config{InsecureSkipVerify: true}})
	p := origin.publisher(t, ts)
	p.group(1)
	p.group(2)
	origin.stored(t, 2*(parts+1))
	e.knows(t, ts.Namespace)
	v := e.viewer(t, ts, from(1))
	v.whole(2)
	for g := range uint64(5) {
		p.group(3 + g)
	}
	v.whole(7)
	if got := e.fetchAll(t, ts, moqt.Location{}); len(got) == 0 {
		t.Error("nothing was fetched")
	}
}

// An upstream wants a track of an edge read at another relay in the middle of a group, then ends the subscription there; later
// it wants the list of namespaces asked for there, too. Viewers see nothing of it.
func TestUpstreamSendsAway(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	put := func(r *relaytest.Relay, group uint64, ids ...uint64) {
		for _, id := range ids {
			r.Put(ts, *part(group, id))
		}
	}
	var all []uint64
	for id := range uint64(parts + 1) {
		all = append(all, id)
	}
	put(a, 1, all...)
	put(b, 1, all...)
	e := edge(t, Upstream{Relay: a.URL(), TLS: &tls.Config{InsecureSkipVerify: true}})
	e.knows(t, ts.Namespace)
	v := e.viewer(t, ts, from(1))
	v.whole(1)
	put(a, 2, 0, 1)
	put(b, 2, 0, 1)
	e.stored(t, parts+3)
	wait(t, "the subscription", func() bool { return a.GoAway(ts.String(), b.URL(), 10*time.Second) > 0 })
	wait(t, "the subscription there", func() bool { return b.Requests(ts.String()) > 0 })
	for id := uint64(2); id <= parts; id++ {
		put(b, 2, id)
	}
	for g := uint64(3); g < 6; g++ {
		put(b, g, all...)
	}
	v.whole(5)

	other := ts
	other.Namespace = object.Namespace{"ec", "atsc", "1", "2"}
	b.Announce(other.Namespace)
	wait(t, "the list", func() bool { return a.GoAway("", b.URL(), 0) > 0 })
	e.knows(t, other.Namespace)
}
