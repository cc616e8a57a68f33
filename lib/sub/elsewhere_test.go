package sub

import (
	"crypto/tls"
	"testing"

	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// A relay sends every request to another one, which has the track under another name: what was asked for comes, under the
// name that was asked for.
func TestRedirect(t *testing.T) {
	front, relay := relaytest.New(t), relaytest.New(t)
	other := object.TrackName{Namespace: object.Namespace{"ec", "elsewhere"}, Name: "ts"}
	front.Redirect = func(verb string, n object.TrackName) *moqt.Redirect {
		return &moqt.Redirect{URI: relay.URL(), Track: other}
	}
	all := groups(10, 20)
	relay.Put(other, all[:4*10+2]...)
	c := config(t, front)
	c.TLS = &tls.Config{InsecureSkipVerify: true}
	c.From, c.To = point(t, "first"), point(t, "28")
	rd := start(t, testContext(t), c)
	rd.until(20, 1)
	relay.Put(other, all[4*10+2:]...)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(10, 19))
	if front.Sessions() != 1 || relay.Sessions() != 1 {
		t.Errorf("%d and %d sessions", front.Sessions(), relay.Sessions())
	}
}
