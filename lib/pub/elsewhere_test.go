package pub

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"testing"
	"time"

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

// A relay wants a track published at another one in the middle of a group, and then, there, anew: that one gets everything.
func TestGoAwayOfTheTrack(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	want := groups(10, 6)
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := Run(testContext(t), Config{Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})), Relays: []string{a.URL()}, TLS: &tls.Config{InsecureSkipVerify: true}}, r)
		result <- err
	}()
	out := object.NewWriter(w)
	for i := range want {
		switch i {
		case 6:
			a.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == i })
			if n := a.GoAway(name.String(), b.URL(), 0); n != 1 {
				t.Errorf("%d publications", n)
			}
			b.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == i })
		case 14:
			b.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == i })
			if n := b.GoAway(name.String(), "", 0); n != 1 {
				t.Errorf("%d publications", n)
			}
			b.Await(name, func(tr *relaytest.Track) bool { return tr.Again > 0 }) // the spool comes again
		}
		if err := out.WriteObject(name, &want[i]); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	wantObjects(t, b.Objects(name), want)
	b.Await(name, func(tr *relaytest.Track) bool { return tr.Conflicts == 0 })
	if a.Sessions() != 1 || b.Sessions() != 1 {
		t.Errorf("%d and %d sessions", a.Sessions(), b.Sessions())
	}
}

// A relay wants a namespace published at another one: that one may then subscribe to its tracks.
func TestGoAwayOfTheNamespace(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	b.Wants = []object.TrackName{name} // it subscribes at whoever comes
	b.Stop()
	b.Start()
	want := groups(10, 6)
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := Run(testContext(t), Config{Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})), Relays: []string{a.URL()}, TLS: &tls.Config{InsecureSkipVerify: true}}, r)
		result <- err
	}()
	out := object.NewWriter(w)
	for i := range want {
		if i == 6 {
			for a.GoAway(name.Namespace.String(), b.URL(), 10*time.Second) == 0 {
				time.Sleep(time.Millisecond)
			}
			b.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == i })
		}
		if err := out.WriteObject(name, &want[i]); err != nil {
			t.Fatal(err)
		}
	}
	b.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == len(want) })
	w.Close()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	wantObjects(t, a.Objects(name), want)
	wantObjects(t, b.Objects(name), want)
}
