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
