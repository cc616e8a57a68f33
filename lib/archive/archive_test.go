package archive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

var (
	video    = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "1", "3"}, Name: "ts_t07"}
	alone    = object.TrackName{Namespace: object.Namespace{"ec", "source", "home", "3"}, Name: "ts"}
	manifest = object.TrackName{Namespace: object.Namespace{"ec", "source", "home", "3"}, Name: catalog.TrackManifest}
)

func open(t *testing.T, dir string, c store.Config) *store.Store {
	t.Helper()
	st, err := store.Open(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// group stores a group of payloads and its end.
func group(t *testing.T, st *store.Store, name object.TrackName, id uint64, payloads ...[]byte) {
	t.Helper()
	tr := st.Track(name)
	for n, p := range payloads {
		o := &object.Object{Group: id, ID: uint64(n), Payload: p, Properties: object.Properties{Hash: object.Sum(p), HasHash: true}.Append(nil)}
		if _, err := tr.Put(o, object.Sum(p)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.Put(&object.Object{Group: id, ID: uint64(len(payloads)), Status: object.EndOfGroup}, object.Sum(nil)); err != nil {
		t.Fatal(err)
	}
}

// filled is a store with five chunks of a broadcast, two of which went out under the source's name, and what the manifest says of them.
func filled(t *testing.T, dir string) {
	t.Helper()
	st := open(t, dir, store.Config{})
	for n := range uint64(5) {
		name, scope := video, catalog.ScopeBroadcast
		if n == 2 || n == 3 {
			name, scope = alone, catalog.ScopeSource
		}
		id := (100 + n) << 16
		group(t, st, name, id, []byte(fmt.Sprint("payload ", n)), make([]byte, 500))
		var lines [][]byte
		entries := []catalog.ManifestEntry{{Group: id, Track: name, Scope: scope, Objects: 2}}
		if n == 3 { // it was promoted at first, says the manifest
			entries = append([]catalog.ManifestEntry{{Group: id, Track: video, Scope: catalog.ScopeBroadcast, Objects: 2}}, entries...)
		}
		for _, e := range entries {
			b, err := e.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, b)
		}
		group(t, st, manifest, 100+n, lines...)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

func file(t *testing.T, dir, ending string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "groups", "*", "*", "*", ending))
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %v, %v", ending, list, err)
	}
	return list[0]
}

// TestHoles: the store's own manifests tell what is missing at the beginning of a track, in its middle, at its end, or all of it; what was not published in
// the track is not missing, nor what retention may have removed.
func TestHoles(t *testing.T) {
	id := func(n uint64) uint64 { return (100 + n) << 16 }
	for what, c := range map[string]struct {
		remove []uint64
		want   map[string][]uint64
	}{
		"nothing":    {nil, map[string][]uint64{}},
		"the newest": {[]uint64{4}, map[string][]uint64{video.String(): {id(4)}}},
		"the oldest": {[]uint64{0}, map[string][]uint64{video.String(): {id(0)}}},
		"the middle": {[]uint64{1, 2}, map[string][]uint64{video.String(): {id(1)}, alone.String(): {id(2)}}},
		"a track":    {[]uint64{0, 1, 4}, map[string][]uint64{video.String(): {id(0), id(1), id(4)}}},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			filled(t, dir)
			for _, n := range c.remove {
				if err := os.Remove(file(t, dir, fmt.Sprint(id(n), ".eco"))); err != nil {
					t.Fatal(err)
				}
			}
			st := open(t, dir, store.Config{})
			list, err := List(st, Order{Holes: true})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]uint64{}
			for _, tr := range list {
				if len(tr.Missing) > 0 {
					got[tr.Name.String()] = tr.Missing
				}
				if len(tr.Incomplete) > 0 {
					t.Errorf("incomplete of %v: %v", tr.Name, tr.Incomplete)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("missing %v", got)
			}
			for name, want := range c.want {
				if !slices.Equal(got[name], want) {
					t.Errorf("missing of %s: %v, want %v", name, got[name], want)
				}
			}
			if list, err := List(st, Order{Holes: true, Name: "ec-source"}); err != nil || len(list) != 2 && len(c.remove) != 2 {
				t.Errorf("of a namespace: %v, %v", list, err)
			}
		})
	}
}

// TestHolesOfRetention: what retention may have removed before the store was opened is not missing.
func TestHolesOfRetention(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	if err := os.Remove(file(t, dir, fmt.Sprint(100<<16, ".eco"))); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-48*time.Hour + time.Minute)
	if err := os.Chtimes(file(t, dir, "100.eco"), old, old); err != nil {
		t.Fatal(err)
	}
	for age, want := range map[time.Duration]int{0: 1, 96 * time.Hour: 1, 48 * time.Hour: 0} {
		st := open(t, dir, store.Config{MaxAge: age, ReadOnly: true})
		if h := FindHoles(st)[video.String()]; (h != nil) != (want > 0) || h != nil && len(h.Missing) != want {
			t.Errorf("kept for %v: %v", age, h)
		}
		st.Close()
	}
}

// TestIncomplete: a group of which a part is missing is a hole, unless it is the newest.
func TestIncomplete(t *testing.T) {
	st := open(t, t.TempDir(), store.Config{})
	for _, id := range []uint64{1, 2} {
		if _, err := st.Track(video).Put(&object.Object{Group: id, Payload: []byte("x")}, object.Sum([]byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	if h := FindHoles(st)[video.String()]; h == nil || !slices.Equal(h.Incomplete, []uint64{1}) {
		t.Errorf("%v", h)
	}
}

// TestCheck: a check finds what is damaged, in steps or at once, and a repair mends it.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	path := file(t, dir, fmt.Sprint(101<<16, ".eco"))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	gone := file(t, dir, fmt.Sprint(102<<16, ".eco"))
	if err := errors.Join(os.WriteFile(path, b, 0o644), os.Remove(gone), os.Symlink(gone, gone)); err != nil {
		t.Fatal(err)
	}
	st := open(t, dir, store.Config{})
	for _, most := range []time.Duration{0, time.Nanosecond} {
		all, steps := Checked{}, 0
		for o := (Order{}); ; {
			c, err := Check(context.Background(), st, o, most)
			if err != nil {
				t.Fatal(err)
			}
			all.Add(c)
			steps++
			if o.From = c.Next; o.From == nil || steps > 50 {
				break
			}
			if most > 0 { // at least one group a step
				next, err := Check(context.Background(), st, o, 0)
				if err != nil || next.Groups >= 9 {
					t.Fatalf("%+v, %v", next, err)
				}
				most = time.Hour
			}
		}
		if all.Groups != 9 || len(all.Bad) != 1 || all.Bad[0].Place != (Place{video.String(), 101 << 16}) || all.Bad[0].Objects != 1 {
			t.Errorf("in %d steps: %+v", steps, all)
		}
	}
	if c, err := Check(context.Background(), st, Order{Name: alone.String()}, 0); err != nil || c.Groups != 1 || len(c.Bad) != 0 {
		t.Errorf("of a track: %+v, %v", c, err)
	}
	missing := object.TrackName{Namespace: object.Namespace{"none"}, Name: "none"}.String()
	if _, err := Check(context.Background(), st, Order{Name: missing}, 0); err == nil {
		t.Error("a check of a track that is not there says nothing")
	}
	if c, err := Check(context.Background(), st, Order{Name: missing, From: &Place{missing, 7}}, 0); err != nil || c.Groups != 0 || c.Next != nil {
		t.Errorf("a further step, when nothing is left of the track: %+v, %v", c, err)
	}
	c, err := Check(context.Background(), st, Order{Repair: true}, 0)
	if err != nil || len(c.Bad) != 1 || !c.Bad[0].Mended || c.Bad[0].Objects != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err = Check(context.Background(), st, Order{}, 0); err != nil || len(c.Bad) != 0 {
		t.Errorf("after the repair: %+v, %v", c, err)
	}
}

// TestDelete: a deletion names what goes.
func TestDelete(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	st := open(t, dir, store.Config{})
	for name, code := range map[string]int{"": exit.Usage, "ec--": exit.Unreachable, "ec-nobody": exit.Unreachable, "EC$": exit.Usage, "e-c-": exit.Usage} {
		d, err := Delete(st, Order{Name: name})
		if got, _ := exit.Of(err); got != code || d.Groups != 0 {
			t.Errorf("%q: %+v, %v", name, d, err)
		}
	}
	if d, err := Delete(st, Order{Name: video.String(), Older: 3600}); err != nil || d.Groups != 0 {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := Delete(st, Order{Name: video.String()}); err != nil || d.Groups != 3 || d.Tracks != 1 || d.Bytes < 1500 {
		t.Errorf("%+v, %v", d, err)
	}
	if h := FindHoles(st)[video.String()]; h != nil {
		t.Errorf("what was deleted is missing: %v", h)
	}
	if d, err := Delete(st, Order{Name: "ec-source"}); err != nil || d.Groups != 7 || d.Tracks != 2 || len(st.Tracks()) != 0 {
		t.Errorf("%+v, %v", d, err)
	}
}
