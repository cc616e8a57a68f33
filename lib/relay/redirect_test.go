package relay

import (
	"crypto/tls"
	"testing"

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
