package pub

import (
	"bytes"
	"io"
	"testing"

	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// A relay that wants no objects for a while, from the middle of a group on, gets none, and then all of them.
func TestPause(t *testing.T) {
	for _, v := range wire.Versions() {
		t.Run(v.String(), func(t *testing.T) { testPause(t, v) })
	}
}

func testPause(t *testing.T, v moqt.Version) {
	relay := relaytest.New(t)
	want := groups(10, 6)
	r, w := io.Pipe()
	result := make(chan error, 1)
	ctx := testContext(t)
	go func() {
		_, err := Run(ctx, Config{Relays: []string{relay.URL()}, TLS: relay.TLS(), Versions: []moqt.Version{v}}, r)
		result <- err
	}()
	const from, to = 6, 18 // objects that the relay does not want when they are published
	out := object.NewWriter(w)
	for i := range want {
		switch i {
		case from:
			relay.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == from })
			if n := relay.Forward(ctx, name.String(), false); n != 1 {
				t.Errorf("%d publications", n)
			}
		case to:
			if n := len(relay.Objects(name)); n != from {
				t.Errorf("%d objects came, %d of them to a relay that wanted none", n, n-from)
			}
			relay.Forward(ctx, name.String(), true)
			relay.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == to })
		}
		if err := out.WriteObject(name, &want[i]); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	relay.Await(name, func(tr *relaytest.Track) bool { return tr.Len() >= len(want) })
	wantObjects(t, relay.Objects(name), want)
	relay.Await(name, func(tr *relaytest.Track) bool {
		if tr.Conflicts+tr.Again > 0 {
			t.Errorf("%d objects came twice, %d with another content", tr.Again+tr.Conflicts, tr.Conflicts)
		}
		return true
	})
	if relay.Sessions() != 1 {
		t.Errorf("%d sessions", relay.Sessions())
	}
}

// Objects of a file wait for a relay that does not want them yet.
func TestPausedFile(t *testing.T) {
	relay := relaytest.New(t)
	want := groups(10, 200)
	var in bytes.Buffer
	encode(t, &in, want...)
	result := make(chan error, 1)
	ctx := testContext(t)
	go func() {
		_, err := Run(ctx, Config{Relays: []string{relay.URL()}, TLS: relay.TLS(), Memory: 50_000}, &in)
		result <- err
	}()
	relay.Await(name, func(tr *relaytest.Track) bool { return tr.Len() > 100 })
	relay.Forward(ctx, name.String(), false)
	relay.Forward(ctx, name.String(), true)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	wantObjects(t, relay.Objects(name), want)
}
