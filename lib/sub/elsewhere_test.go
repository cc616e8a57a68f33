package sub

import (
	"crypto/tls"
	"testing"
	"time"

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
	c.From, c.To = point(t, "first"), at(28)
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

// A relay wants the track read from another one while it is being read, and then ends the subscription: nothing is missing. Then
// that one wants it subscribed to anew, on the same session.
func TestGoAwayOfTheTrack(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	all := groups(10, 20)
	a.Put(name, all[:4*5+2]...)
	b.Put(name, all[:4*5+2]...)
	c := config(t, a)
	c.TLS = &tls.Config{InsecureSkipVerify: true}
	c.From, c.To = point(t, "first"), at(28)
	rd := start(t, testContext(t), c)
	rd.until(15, 1)
	for a.GoAway(name.String(), b.URL(), 10*time.Second) == 0 { // until it has subscribed
		time.Sleep(time.Millisecond)
	}
	b.Put(name, all[4*5+2:4*10+2]...) // what comes from now on, a does not have
	rd.until(20, 1)
	for b.GoAway(name.String(), "", 0) == 0 {
		time.Sleep(time.Millisecond)
	}
	b.Put(name, all[4*10+2:]...)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(10, 19))
	if a.Sessions() != 1 || b.Sessions() != 1 || rd.stats.Sessions != 1 {
		t.Errorf("%d and %d sessions, %+v", a.Sessions(), b.Sessions(), rd.stats)
	}
}
