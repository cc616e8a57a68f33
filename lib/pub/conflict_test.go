package pub

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/object"
)

// other makes other bytes of an object.
func other(o object.Object) object.Object {
	o.Payload = append([]byte("other "), o.Payload...)
	o.Properties = object.Properties{Hash: object.Sum(o.Payload), HasHash: true}.Append(nil)
	return o
}

// A relay that holds another group under the name keeps it. Ours goes out under the source's name, the manifest says so, and
// publishing ends well: whether the relay stops the stream or is asked at the end, and wherever the groups differ.
func TestConflictIsDemoted(t *testing.T) {
	for _, c := range []struct {
		name string
		held func(g []object.Object) []object.Object // of our three parts and the end
	}{
		{"first part", func(g []object.Object) []object.Object { return []object.Object{other(g[0]), g[1], g[2], g[3]} }},
		{"last part", func(g []object.Object) []object.Object { return []object.Object{g[0], g[1], other(g[2]), g[3]} }},
		{"shorter", func(g []object.Object) []object.Object {
			end := g[3]
			end.ID = 2
			return []object.Object{g[0], g[1], end}
		}},
	} {
		for _, tells := range []bool{false, true} {
			if c.name == "shorter" && !tells {
				continue // the relay of this test stores what is behind an end
			}
			t.Run(fmt.Sprintf("%s, relay tells %v", c.name, tells), func(t *testing.T) {
				relay := relaytest.New(t)
				relay.Tells = tells
				chunks := groups(10, 3)
				held := c.held(chunks[4:8])
				relay.Put(name, held...)
				source := object.Namespace{"ec", "source", "here", "3"}
				manifest := object.TrackName{Namespace: source, Name: catalog.TrackManifest}
				ts := object.TrackName{Namespace: source, Name: catalog.TrackTS}

				r, w := io.Pipe()
				type result struct {
					Stats
					error
				}
				done := make(chan result, 1)
				go func() {
					s, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS(), Block: true}, r)
					done <- result{s, err}
				}()
				out := object.NewWriter(w)
				put := func(track object.TrackName, o object.Object) {
					if err := out.WriteObject(track, &o); err != nil {
						t.Error(err)
					}
				}
				for i := range 3 {
					id := chunks[4*i].Group
					for _, o := range chunks[4*i : 4*i+4] {
						put(name, o)
					}
					e := catalog.ManifestEntry{Group: id, Track: name, Scope: catalog.ScopeBroadcast}
					put(manifest, object.Object{Group: id, Payload: encodeEntry(t, e)})
					e.Late, e.Reason = true, catalog.ReasonDamaged
					put(manifest, object.Object{Group: id, ID: 1, Payload: encodeEntry(t, e)})
					put(manifest, object.Object{Group: id, ID: 2, Status: object.EndOfGroup})
				}
				w.Close()
				got := <-done
				if got.error != nil || got.Refused != 1 || got.Demoted != 1 || got.Undelivered != 0 {
					t.Fatalf("%v, %+v", got.error, got.Stats)
				}
				relay.Await(ts, func(tr *relaytest.Track) bool { return tr.Len() >= 4 }) // without confirmation the upload may end before the last one is there
				wantObjects(t, relay.Objects(ts), chunks[4:8])
				var said []catalog.ManifestEntry
				for _, o := range relay.Objects(manifest) {
					if e, err := catalog.ParseManifestEntry(o.Payload); o.Status == object.Normal && err == nil {
						said = append(said, *e)
					}
				}
				n := 0
				for _, e := range said {
					if e.Reason == catalog.ReasonConflict {
						n++
						if e.Group != chunks[4].Group || !e.Track.Equal(ts) || e.Scope != catalog.ScopeSource {
							t.Errorf("manifest says %+v", e)
						}
					}
				}
				if len(said) != 7 || n != 1 {
					t.Errorf("%d entries, %d of a conflict", len(said), n)
				}
				var others []object.Object // how much of the refused group came before it was refused is chance
				for _, o := range relay.Objects(name) {
					if o.Group != chunks[4].Group {
						others = append(others, o)
					}
				}
				wantObjects(t, others, slices.Concat(chunks[:4], chunks[8:]))
			})
		}
	}
}

// A conflict that is found between two groups of the manifest takes no id that the input is about to use, and is told after the
// last one, too.
func TestConflictBetweenGroupsOfTheManifest(t *testing.T) {
	for _, another := range []bool{true, false} {
		ctx := testContext(t)
		s := newSpool(1, time.Hour, 1<<30, true, discard)
		manifest := object.TrackName{Namespace: object.Namespace{"ec", "source", "here", "3"}, Name: catalog.TrackManifest}
		put := func(track object.TrackName, o object.Object) {
			if err := s.add(ctx, &object.Track{Name: track}, &o, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		chunk := groups(10, 1)
		for _, o := range chunk {
			put(name, o)
		}
		e := catalog.ManifestEntry{Group: 10, Track: name, Scope: catalog.ScopeBroadcast}
		put(manifest, object.Object{Group: 10, Payload: encodeEntry(t, e)})
		if err := s.promoted(ctx, manifest, &e); err != nil {
			t.Fatal(err)
		}
		put(manifest, object.Object{Group: 10, ID: 1, Status: object.EndOfGroup})
		if err := s.conflict(ctx, s.tracks[name.String()].group(10)); err != nil {
			t.Fatal(err)
		}
		e.Group = 11
		want := []string{"10/0 ", "11/0 conflict"}
		if another {
			put(manifest, object.Object{Group: 11, Payload: encodeEntry(t, e)})
			put(manifest, object.Object{Group: 11, ID: 1, Status: object.EndOfGroup})
			want = []string{"10/0 ", "11/0 ", "11/1 conflict"}
		}
		s.end()
		var said []string
		for _, g := range s.tracks[manifest.String()].groups {
			for _, o := range g.objects {
				e, err := catalog.ParseManifestEntry(o.Payload)
				if err != nil {
					t.Fatal(err)
				}
				said = append(said, fmt.Sprintf("%d/%d %s", o.Group, o.ID, e.Reason))
			}
			if g.state != whole || g.end.ID != uint64(len(g.objects)) {
				t.Errorf("group %d: state %d, ends at %d", g.id, g.state, g.end.ID)
			}
		}
		if !slices.Equal(said, want) || s.Demoted != 1 {
			t.Errorf("the manifest says %q, want %q", said, want)
		}
		wantObjects(t, s.tracks[(object.TrackName{Namespace: manifest.Namespace, Name: catalog.TrackTS}).String()].groups[0].objects, chunk[:3])
	}
}

// A chunk that the relay refuses while it is made is demoted as soon as it is whole and the manifest has said whose it is, and the
// manifest goes on behind what was added.
func TestConflictWhileLive(t *testing.T) {
	relay := relaytest.New(t)
	relay.Tells = true
	chunks := groups(10, 2)
	relay.Put(name, other(chunks[0]))
	source := object.Namespace{"ec", "source", "here", "3"}
	manifest := object.TrackName{Namespace: source, Name: catalog.TrackManifest}
	ts := object.TrackName{Namespace: source, Name: catalog.TrackTS}
	r, w := io.Pipe()
	seen := &seen{text: "the relay holds another group under this name", c: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS(), Log: slog.New(slog.NewTextHandler(seen, nil))}, r)
		done <- err
	}()
	out := object.NewWriter(w)
	put := func(track object.TrackName, o object.Object) {
		if err := out.WriteObject(track, &o); err != nil {
			t.Fatal(err)
		}
	}
	put(name, chunks[0])
	part := chunks[1]
	for told := false; !told; part.ID++ {
		put(name, part)
		select {
		case <-seen.c:
			told = true
		case <-time.After(time.Millisecond): // the next part
		}
	}
	put(name, object.Object{Group: 10, ID: part.ID, Status: object.EndOfGroup})
	e := catalog.ManifestEntry{Group: 10, Track: name, Scope: catalog.ScopeBroadcast}
	put(manifest, object.Object{Group: 10, Payload: encodeEntry(t, e)})
	relay.Await(ts, func(tr *relaytest.Track) bool { return tr.Len() == int(part.ID)+1 })
	relay.Await(manifest, func(tr *relaytest.Track) bool { return tr.Len() == 2 })
	e.Late = true
	put(manifest, object.Object{Group: 10, ID: 1, Payload: encodeEntry(t, e)})
	put(manifest, object.Object{Group: 10, ID: 2, Status: object.EndOfGroup})
	w.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, o := range relay.Objects(manifest) {
		if e, err := catalog.ParseManifestEntry(o.Payload); err == nil {
			said = append(said, fmt.Sprintf("%d %s %v", o.ID, e.Reason, e.Late))
		}
	}
	if want := []string{"0  false", "1 conflict false", "2  true"}; !slices.Equal(said, want) {
		t.Errorf("the manifest says %q, want %q", said, want)
	}
}

// seen waits for a line of the log.
type seen struct {
	text string
	c    chan struct{}
}

func (s *seen) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(s.text)) {
		close(s.c)
	}
	return len(b), nil
}

func encodeEntry(t *testing.T, e catalog.ManifestEntry) []byte {
	b, err := e.Append(nil)
	if err != nil {
		t.Error(err)
	}
	return b
}
