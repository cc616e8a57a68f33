package sub

import (
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// both is the configuration for reading from two relays.
func both(t *testing.T, a, b *relaytest.Relay) Config {
	c := config(t, a)
	c.Relays = []string{a.URL(), b.URL()}
	c.TLS.VerifyConnection = nil
	return c
}

// Of two relays one dies in the middle of a group, and later comes back while the other one dies: everything arrives, in
// order and once, and nothing had to be healed.
func TestTwoRelays(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	all := groups(10, 12)
	put := func(from, to int, relays ...*relaytest.Relay) {
		for _, r := range relays {
			r.Put(name, all[from:to]...)
		}
	}
	put(0, 2, a, b)
	c := both(t, a, b)
	c.To = at(20)
	rd := start(t, testContext(t), c)
	rd.until(10, 1)
	put(2, 9, a)
	put(2, 8, b)
	rd.until(12, 0)
	a.Stop()
	put(8, 14, b)
	rd.until(13, 1)
	put(9, 16, a) // what it missed, as a restarted relay that others publish to
	sessions := a.Sessions()
	a.Start()
	for a.Sessions() == sessions {
		time.Sleep(time.Millisecond) // polls a counter
	}
	put(14, 21, b)
	put(16, 21, a)
	rd.until(15, 0)
	b.Stop()
	put(21, len(all), a)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(10, 11))
	if rd.stats.MissingObjects+rd.stats.MissingGroups > 0 || rd.stats.Sessions < 3 {
		t.Errorf("stats %+v", rd.stats)
	}
}

// A relay that is not there, or does not know the track, is no obstacle; nor one that does not want us.
func TestOtherRelayFails(t *testing.T) {
	for what, prepare := range map[string]func(*relaytest.Relay){
		"not there": func(r *relaytest.Relay) { r.Stop() },
		"unknown":   func(*relaytest.Relay) {},
		"refused": func(r *relaytest.Relay) {
			r.Put(name, groups(10, 1)...)
			r.Refuse = func(string, object.TrackName) (wire.RequestCode, bool) { return wire.RequestUnauthorized, true }
		},
	} {
		t.Run(what, func(t *testing.T) {
			a, b := relaytest.New(t), relaytest.New(t)
			prepare(a)
			b.Put(name, groups(10, 5)...)
			c := both(t, a, b)
			c.From, c.To = point(t, "first"), at(13)
			rd := start(t, testContext(t), c)
			if err := rd.rest(); err != nil {
				t.Fatal(err)
			}
			wantObjects(t, rd.got, groups(10, 4))
		})
	}
}

// When no relay is left, the exit code is that of the first.
func TestBothRelaysFail(t *testing.T) {
	t.Parallel()
	a, b := relaytest.New(t), relaytest.New(t)
	a.Stop()
	_, err := Run(testContext(t), both(t, a, b), io.Discard)
	var coder interface{ ExitCode() int }
	if !errors.As(err, &coder) || coder.ExitCode() != 69 {
		t.Errorf("error %v", err)
	}
}

// One relay is asked first what a name means, and never answers: another one does.
func TestSilentRelayIsNoObstacle(t *testing.T) {
	silent, relay := relaytest.New(t), relaytest.New(t)
	asked, over := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(over) })
	var once sync.Once
	silent.Redirect = func(verb string, _ object.TrackName) *moqt.Redirect {
		if verb == "status" {
			once.Do(func() { close(asked) })
			<-over
		}
		return nil
	}
	relay.Redirect = func(verb string, _ object.TrackName) *moqt.Redirect {
		if verb == "status" {
			<-asked
		}
		return nil
	}
	silent.Put(name, groups(10, 5)...)
	relay.Put(name, groups(10, 5)...)
	c := both(t, silent, relay)
	c.From, c.To = point(t, "first"), at(13)
	rd := start(t, testContext(t), c)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(10, 4))
}
