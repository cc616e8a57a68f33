package pub

import (
	"io"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// A standby sends its manifest, and media only while the relay asks for them; what leaves the memory meanwhile is no loss.
func TestStandby(t *testing.T) {
	for _, v := range wire.Versions() {
		t.Run(v.String(), func(t *testing.T) { testStandby(t, v) })
	}
}

func testStandby(t *testing.T, v moqt.Version) {
	relay := relaytest.New(t)
	relay.Rests = true
	r, w := io.Pipe()
	ctx := testContext(t)
	type result struct {
		Stats
		error
	}
	over := make(chan result, 1)
	go func() {
		s, err := Run(ctx, Config{Relays: []string{relay.URL()}, TLS: relay.TLS(), Versions: []moqt.Version{v}, Standby: true, Memory: 60_000, Drain: 10 * time.Second}, r)
		over <- result{s, err}
	}()
	home := object.Namespace{"ec", "source", "home", "3"}
	told, own := object.TrackName{Namespace: home, Name: catalog.TrackManifest}, object.TrackName{Namespace: home, Name: catalog.TrackTS}
	out, all := object.NewWriter(w), groups(10, 12)
	write := func(from, to int) { // groups, each with an entry of the manifest, and one of the source's own
		for g := from; g < to; g++ {
			for i := range 4 {
				o := all[(g-10)*4+i]
				for _, n := range []object.TrackName{name, told, own} {
					if err := out.WriteObject(n, &o); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
	sent := func(n object.TrackName, groups int) {
		relay.Await(n, func(tr *relaytest.Track) bool { return tr.Len() >= 4*groups })
	}
	write(10, 16)
	sent(told, 6)
	if n := len(relay.Objects(name)) + len(relay.Objects(own)); n > 0 {
		t.Fatalf("%d objects came that nobody asked for", n)
	}
	if n := relay.Requests(own.String()); n > 0 {
		t.Error("the source's own media were offered")
	}
	if n := relay.Forward(ctx, name.String(), true); n != 1 {
		t.Fatalf("%d publications", n)
	}
	write(16, 18)
	relay.Await(name, func(tr *relaytest.Track) bool { return tr.Has(moqt.Location{Group: 17, Object: 2}) })
	relay.Forward(ctx, name.String(), false)
	write(18, 22)
	sent(told, 12)
	w.Close()
	s := <-over
	if s.error != nil || s.Dropped+s.Undelivered > 0 {
		t.Errorf("%+v, %v", s.Stats, s.error)
	}
	for _, o := range relay.Objects(name) {
		if o.Group >= 18 {
			t.Errorf("object %d/%d came after the relay asked for no more", o.Group, o.ID)
		}
	}
}

func TestWhatRests(t *testing.T) {
	for track, want := range map[string]bool{
		"catalog": false, "catalog2": false, "catalog2_d1000_p200": false, "ts2_t13": true, "catalog_d1000_p200": false, "manifest": false, "timeline": false, "si": false, "health": false,
		"ts_t13": true, "ts_d1000_p200_t13": true, "ts": true, "ts_unsynced": true, "catalogue": true, "": true,
	} {
		if rests(object.TrackName{Namespace: name.Namespace, Name: track}) != want {
			t.Errorf("%q", track)
		}
	}
}
