package pub

import (
	"bytes"
	"crypto/tls"
	"testing"

	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// A relay sends a publisher to another one, which gets everything and confirms it.
func TestRedirect(t *testing.T) {
	front, relay := relaytest.New(t), relaytest.New(t)
	front.Redirect = func(string, object.TrackName) *moqt.Redirect { return &moqt.Redirect{URI: relay.URL()} }
	want := groups(10, 20)
	var in bytes.Buffer
	encode(t, &in, want...)
	if _, err := Run(testContext(t), Config{Relays: []string{front.URL()}, TLS: &tls.Config{InsecureSkipVerify: true}}, &in); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, relay.Objects(name), want)
	if n := len(front.Objects(name)); n != 0 || front.Sessions() != 1 {
		t.Errorf("the relay that sent us on has %d objects after %d sessions", n, front.Sessions())
	}
}

// A relay that takes the tracks itself may have the namespace published elsewhere.
func TestRedirectOfTheNamespace(t *testing.T) {
	front, relay := relaytest.New(t), relaytest.New(t)
	front.Redirect = func(verb string, _ object.TrackName) *moqt.Redirect {
		if verb != "announce" {
			return nil
		}
		return &moqt.Redirect{URI: relay.URL()}
	}
	relay.Wants = []object.TrackName{name} // which subscribes at whoever comes
	relay.Stop()
	relay.Start()
	want := groups(10, 20)
	var in bytes.Buffer
	encode(t, &in, want...)
	if _, err := Run(testContext(t), Config{Relays: []string{front.URL()}, TLS: &tls.Config{InsecureSkipVerify: true}}, &in); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, front.Objects(name), want)
	if relay.Sessions() != 1 {
		t.Errorf("%d sessions where the namespace was to be published", relay.Sessions())
	}
}
