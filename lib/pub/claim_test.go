package pub

import (
	"io"
	"testing"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/object"
)

// A chunk whose start is not certain goes out under the broadcast's name if the relay holds its first part there, sent by
// another home whose chunk was damaged after it: together they are whole.
func TestUnsureChunkCompletesAnothers(t *testing.T) {
	relay := relaytest.New(t)
	ns := object.Namespace{"ec", "atsc", "2065", "3"}
	broadcast := object.TrackName{Namespace: ns, Name: "ts_t13"}
	source := object.TrackName{Namespace: object.Namespace{"ec", "source", "here", "3"}, Name: "ts"}
	chunks := groups(10, 3)
	other := groups(12, 1)
	other[0].Payload = []byte("starts elsewhere")
	other[0].Properties = object.Properties{Hash: object.Sum(other[0].Payload), HasHash: true}.Append(nil)
	relay.Put(broadcast, chunks[0], chunks[1]) // of group 10 the last part is missing
	relay.Put(broadcast, other[0])             // group 12 starts otherwise

	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, r)
		result <- err
	}()
	out := object.NewWriter(w)
	for g, reason := range []string{catalog.ReasonUnsure, catalog.ReasonFirst, catalog.ReasonUnsure} {
		for i := range 4 {
			if err := out.WriteObject(source, &chunks[4*g+i]); err != nil {
				t.Error(err)
			}
		}
		id := chunks[4*g].Group
		e := catalog.ManifestEntry{Group: id, Track: source, Scope: catalog.ScopeSource, Reason: reason, Candidates: []object.TrackName{broadcast}}
		b, err := e.Append(nil)
		if err != nil {
			t.Error(err)
		}
		if err := out.WriteObject(object.TrackName{Namespace: source.Namespace, Name: catalog.TrackManifest}, &object.Object{Group: id, Payload: b}); err != nil {
			t.Error(err)
		}
	}
	relay.Await(broadcast, func(tr *relaytest.Track) bool { return tr.Len() >= 5 }) // 10 whole, 12 as it was
	relay.Put(broadcast, chunks[4])                                                 // group 11 comes late from the other home
	relay.Await(broadcast, func(tr *relaytest.Track) bool { return tr.Len() >= 9 })
	w.Close()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	want := append(append([]object.Object{}, chunks[:8]...), other[0])
	wantObjects(t, relay.Objects(broadcast), want)
	wantObjects(t, relay.Objects(source), chunks)
}

// A chunk between two timelines goes out under the broadcast's name as soon as the relay is seen to hold one of
// its source's chunks under that name, with equal bytes; not before, and not with other bytes.
func TestEdge(t *testing.T) {
	for _, c := range []struct {
		name  string
		equal bool
	}{{"the relay holds equal bytes", true}, {"the relay holds other bytes", false}} {
		t.Run(c.name, func(t *testing.T) {
			relay := relaytest.New(t)
			ns := object.Namespace{"ec", "atsc", "2065", "3"}
			candidates := []object.TrackName{{Namespace: ns, Name: "ts_t12"}, {Namespace: ns, Name: "ts_t13"}}
			source := object.TrackName{Namespace: object.Namespace{"ec", "source", "here", "3"}, Name: "ts"}
			manifest := object.TrackName{Namespace: source.Namespace, Name: catalog.TrackManifest}
			chunks := groups(10, 4)
			held := chunks[4:8] // group 11
			if !c.equal {
				held = groups(11, 1)
				held[0].Payload = []byte("another broadcast")
				held[0].Properties = object.Properties{Hash: object.Sum(held[0].Payload), HasHash: true}.Append(nil)
			}
			relay.Put(candidates[1], held...)

			r, w := io.Pipe()
			result := make(chan error, 1)
			go func() {
				_, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, r)
				result <- err
			}()
			out := object.NewWriter(w)
			write := func(g int) {
				for i := range 4 {
					if err := out.WriteObject(source, &chunks[4*g+i]); err != nil {
						t.Error(err)
					}
				}
				id := chunks[4*g].Group
				e := catalog.ManifestEntry{Group: id, Track: source, Scope: catalog.ScopeSource, Reason: catalog.ReasonEdge, Candidates: candidates}
				b, err := e.Append(nil)
				if err != nil {
					t.Error(err)
				}
				if err := out.WriteObject(manifest, &object.Object{Group: id, Payload: b}); err != nil {
					t.Error(err)
				}
			}
			write(0)
			write(1)
			if c.equal { // the one before it waited; both must arrive before the rest is written
				relay.Await(candidates[1], func(tr *relaytest.Track) bool { return tr.Len() >= 8 })
			}
			write(2)
			write(3)
			if c.equal {
				relay.Await(candidates[1], func(tr *relaytest.Track) bool { return tr.Len() >= 16 })
			}
			w.Close()
			if err := <-result; err != nil {
				t.Fatal(err)
			}
			wantObjects(t, relay.Objects(source), chunks)
			if c.equal {
				wantObjects(t, relay.Objects(candidates[1]), chunks)
			} else {
				wantObjects(t, relay.Objects(candidates[1]), held)
			}
			if n := len(relay.Objects(candidates[0])); n != 0 {
				t.Errorf("%d objects on the other timeline", n)
			}
		})
	}
}
