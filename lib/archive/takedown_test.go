package archive

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// aired is a store with four minutes of a broadcast and what its receiver tells of it.
type aired struct {
	st   *store.Store
	dir  string
	wall clock.Wall
	t0   time.Time
}

const airedGroups = 120 // of 2 s

func airing(t *testing.T) *aired {
	t.Helper()
	a := &aired{dir: t.TempDir(), t0: time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)}
	var err error
	if a.st, err = store.Open(a.dir, store.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.st.Close() })
	// The broadcast's clock is 5 h and 40 min ahead, of which the name of the track says 6 h.
	x := clock.TicksAt(a.t0.Add(6*time.Hour - 20*time.Minute))
	a.wall = clock.Wall{Grid: usualGrid, X: x, UTC: a.t0}
	put := func(track object.TrackName, group uint64, payload []byte) {
		t.Helper()
		o := object.Object{Group: group, Payload: payload, Properties: object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)}
		tr := a.st.Track(track)
		_, err := tr.Put(&o, object.Sum(payload))
		if err == nil {
			_, err = tr.Put(&object.Object{Group: group, ID: 1, Status: object.EndOfGroup}, object.Sum(nil))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	entry := func(v interface{ Append([]byte) ([]byte, error) }) []byte {
		t.Helper()
		b, err := v.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for i := range airedGroups {
		at := a.t0.Add(time.Duration(i) * 2 * time.Second)
		b := a.wall.Bucket(at)
		group, payload := clock.GroupID(b, uint16(i)), []byte(at.String())
		put(video, group, payload)
		put(home("timeline"), uint64(b), entry(catalog.TimelineEntry{V: 1, Group: group, PTS: uint64((x + clock.TicksOf(time.Duration(i)*2*time.Second)).PTS()), UTC: catalog.TimeOf(at), Track: video}))
		sum := object.Sum(payload)
		put(home("manifest"), uint64(b), entry(catalog.ManifestEntry{V: 1, Group: group, Track: video, Scope: catalog.ScopeBroadcast, Objects: 1, Hash: object.Sum(sum[:])}))
	}
	c := catalog.Catalog{Version: catalog.MSFVersion, EC: &catalog.Private{Broadcast: video.Namespace.String(), Source: home("").Namespace.String(), Duration: uint64(usualGrid)}}
	put(home("catalog"), 1, entry(c))
	put(object.TrackName{Namespace: object.Namespace{"other"}, Name: "t"}, 1, []byte("other"))
	return a
}

// at is the group of the broadcast at a time.
func (a *aired) at(since time.Duration) uint64 {
	return clock.GroupID(a.wall.Bucket(a.t0.Add(since)), 0)
}

func home(track string) object.TrackName {
	return object.TrackName{Namespace: object.Namespace{"ec", "source", "roof", "3"}, Name: track}
}

func (a *aired) open(t *testing.T) *Takedowns {
	t.Helper()
	ts, err := OpenTakedowns(a.dir, a.st)
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

func groups(st *store.Store, name object.TrackName) int {
	return st.Track(name).Count(0, object.MaxVarint)
}

// TestTakedownOfATime: of a broadcast and its receiver the groups of that time go, and no others.
func TestTakedownOfATime(t *testing.T) {
	a := airing(t)
	ts := a.open(t)
	from, to := a.t0.Add(time.Minute), a.t0.Add(2*time.Minute)
	d, err := ts.Add(Terms{Names: []string{video.Namespace.String()}, From: &from, To: &to, Note: "a minute too long"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Names) != 2 || d.Names[1] != home("").Namespace.String() {
		t.Errorf("names: %v", d.Names)
	}
	for _, name := range []object.TrackName{video, home("timeline"), home("manifest")} {
		t.Run(name.Name, func(t *testing.T) {
			const asked = 30 // groups in a minute
			if gone := airedGroups - groups(a.st, name); gone < asked || gone > asked+before+after+1 {
				t.Errorf("%d groups are gone", gone)
			}
		})
	}
	tr := a.st.Track(video)
	for since, gone := range map[time.Duration]bool{50 * time.Second: false, time.Minute: true, 90 * time.Second: true, 2*time.Minute - time.Second: true, 2*time.Minute + 5*time.Second: false} {
		if tr.Withheld(a.at(since)) != gone {
			t.Errorf("after %v: withheld %v", since, !gone)
		}
	}
	if other := (object.TrackName{Namespace: object.Namespace{"other"}, Name: "t"}); groups(a.st, other) != 1 || ts.Whole(other) != "" || ts.Whole(video) != "" {
		t.Error("another track, or all of this one")
	}
	// of what comes from elsewhere and is not here, the name tells as much as it can
	again := video
	again.Namespace = object.Namespace{"ec", "atsc", "1", "1"}
	if _, err := ts.Add(Terms{Names: []string{again.String()}, From: &from, To: &to}, time.Now()); err != nil {
		t.Fatal(err)
	}
	tr = a.st.Track(again)
	for since, gone := range map[time.Duration]bool{-55 * time.Minute: false, time.Minute: true, 90 * time.Second: true, 55 * time.Minute: false} {
		if tr.Withheld(a.at(since)) != gone {
			t.Errorf("by the name, after %v: withheld %v", since, !gone)
		}
	}
	unknown := object.TrackName{Namespace: object.Namespace{"ec", "source", "attic", "3"}, Name: "ts"}
	if _, err := ts.Add(Terms{Names: []string{"ec-source-attic"}, From: &from}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if !a.st.Track(unknown).Withheld(0) {
		t.Error("a track of which nothing tells the time is served")
	}

	// after a start it is the same, and lifted nothing is missing
	if err := a.st.Close(); err != nil {
		t.Fatal(err)
	}
	if a.st, err = store.Open(a.dir, store.Config{}); err != nil {
		t.Fatal(err)
	}
	ts = a.open(t)
	if !a.st.Track(video).Withheld(a.at(90 * time.Second)) {
		t.Error("not withheld after a start")
	}
	if l, err := ts.Lift(d.ID); err != nil || l.Note != d.Note {
		t.Errorf("%+v, %v", l, err)
	}
	if n := groups(a.st, video); n != airedGroups {
		t.Errorf("%d groups", n)
	}
	if _, err := ts.Lift(d.ID); err == nil {
		t.Error("lifted twice")
	}
}

// TestTakedownOfAHash: a chunk goes by the hash that manifests have of it, and every group with a payload by the hash of that, once it is looked at.
func TestTakedownOfAHash(t *testing.T) {
	a := airing(t)
	ts := a.open(t)
	one := []byte(a.t0.Add(100 * 2 * time.Second).String())
	sum := object.Sum(one)
	chunk := object.Sum(sum[:])
	d, err := ts.Add(Terms{Hash: hex.EncodeToString(chunk[:])}, time.Now())
	if err != nil || len(d.Ranges) != 1 {
		t.Fatal(d, err)
	}
	if n := groups(a.st, video); n != airedGroups-1 {
		t.Errorf("%d groups", n)
	}
	if _, err := ts.Lift(d.ID); err != nil || groups(a.st, video) != airedGroups {
		t.Error(groups(a.st, video), err)
	}
	if d, err = ts.Add(Terms{Hash: hex.EncodeToString(sum[:])}, time.Now()); err != nil {
		t.Fatal(err)
	}
	tr, group := a.st.Track(video), clock.GroupID(a.wall.Bucket(a.t0.Add(200*time.Second)), 100)
	r, err := tr.Open(group, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, store.ErrWithheld) {
		t.Errorf("a payload that is taken down: %v", err)
	}
	r.Close()
	if id, err := ts.Note(<-ts.Found()); id != d.ID || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	elsewhere := a.st.Track(object.TrackName{Namespace: object.Namespace{"x"}, Name: "y"})
	if _, err := elsewhere.Put(&object.Object{Group: 7, Payload: one}, sum); !errors.Is(err, store.ErrWithheld) {
		t.Errorf("under another name: %v", err)
	}
	if list, _ := ts.List(); len(list) != 1 || len(list[0].Ranges) != 1 || elsewhere.Withheld(7) {
		t.Errorf("%+v", list)
	}
	if a.open(t); !a.st.Track(video).Withheld(group) {
		t.Error("not noted")
	}
}

// TestTakedownTerms: what makes no sense is refused; a file that cannot be read is an error of the start.
func TestTakedownTerms(t *testing.T) {
	a := airing(t)
	ts := a.open(t)
	now := time.Now()
	for what, terms := range map[string]Terms{
		"nothing": {}, "an empty name": {Names: []string{""}}, "no name": {Names: []string{"ec.zz"}}, "no hash": {Hash: "12"},
		"an empty range": {Names: []string{"ec"}, From: &now, To: &now}, "a hash and a name": {Names: []string{"ec"}, Hash: hex.EncodeToString(make([]byte, 32))},
		"two lines": {Names: []string{"ec"}, Note: "a\nb"}, "many names": {Names: make([]string, maxTakedownNames+1)},
	} {
		if _, err := ts.Add(terms, now); err == nil {
			t.Errorf("%s was taken down", what)
		}
	}
	if groups(a.st, video) != airedGroups {
		t.Error("something was taken down")
	}
	for text, ok := range map[string]bool{"garbage\n": false, `{"v":2,"id":"x","names":["ec"]}`: false, `{"v":1,"id":"x","names":["ec"]}`: true, `{"v":1,"id":"x"}`: false} {
		if err := os.WriteFile(filepath.Join(a.dir, TakedownsFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenTakedowns(a.dir, a.st); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
		if err := CheckTakedowns(a.dir); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	os.Chmod(filepath.Join(a.dir, TakedownsFile), 0o644)
	if err := CheckTakedowns(a.dir); err == nil {
		t.Error("others may read it")
	}
}
