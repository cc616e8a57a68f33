package catalog

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

var update = flag.Bool("update", false, "renew golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(append(got, '\n'), want) {
		t.Errorf("%s (%v): edit docs/format/catalog.md and run with -update\ngot  %s\nwant %s", name, err, got, want)
	}
}

func sample() Catalog {
	timeline := -6
	return Catalog{
		Tracks: []Track{{
			Name: "ts_t07", Packaging: PackagingM2TS, IsLive: true, Role: "video", MimeType: "video/mp2t",
			Codec: "avc1.64001f,mp4a.40.2", Width: 1280, Height: 720, Framerate: 25, Bitrate: 4_000_000,
			InitData: []byte("PAT and PMT"), M2TSPacketSize: 188, M2TSProgramNumber: 3, M2TSPMTPID: 0x30,
			M2TSPCRPID: 0x31, M2TSSIPIDs: []int{0x1ffb}, M2TSRandomAccess: true,
		}},
		EC: &Private{Track: "ts_t07", Timeline: &timeline, Duration: 180000, Part: 18000,
			Streams: []Stream{{PID: 0x31, Type: 0x1b, Codec: "avc1.64001f"}, {PID: 0x34, Type: 0x0f, Lang: "eng"}},
			Labels:  map[string]string{"service": "A <b> & c", "channel": "5.1"}},
	}
}

func TestCatalogGolden(t *testing.T) {
	c := sample()
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "catalog.json", b)
	if bytes.Contains(b, []byte("generatedAt")) {
		t.Error("the bytes depend on when they were made")
	}
	got, err := Parse(b)
	c.Version = MSFVersion
	if err != nil || !reflect.DeepEqual(*got, c) {
		t.Errorf("got %+v, %v", got, err)
	}
	for range 20 {
		if again, _ := got.Encode(); !bytes.Equal(again, b) {
			t.Fatal("encoding is not deterministic")
		}
	}
}

func TestUnknownFieldsAreKept(t *testing.T) {
	const in = `{"version":1,"zeta":[1, 2],"supportsDeltaUpdates":true,"tracks":[{"name":"v","packaging":"loc","isLive":false,` +
		`"eventType":"x","ec":{"y":null}}],"initDataList":[{"id":"a","type":"inline","data":"AAEC","q":1}]}`
	c, err := Parse([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Encode()
	const want = `{"version":"1","tracks":[{"name":"v","packaging":"loc","isLive":false,"ec":{"y":null},"eventType":"x"}],` +
		`"initDataList":[{"id":"a","type":"inline","data":"AAEC","q":1}],"supportsDeltaUpdates":true,"zeta":[1,2]}`
	if err != nil || string(b) != want {
		t.Errorf("got  %s, %v\nwant %s", b, err, want)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"", "[]", "{}", `{"tracks":1}`, "\x47", `{"version":"draft-01","tracks":[`, strings.Repeat(" ", MaxBytes) + `{"tracks":[]}`} {
		if c, err := Parse([]byte(s)); !errors.Is(err, ErrCatalog) {
			t.Errorf("%.40q: %v, %v", s, c, err)
		}
	}
}

func TestCurrentTrack(t *testing.T) {
	c := sample()
	c.Tracks = append(c.Tracks, Track{Name: "ts_t08", Packaging: PackagingM2TS}, Track{Name: "hd", Packaging: PackagingCMAF, InitRef: "i"})
	c.InitData = []InitData{{ID: "i", Data: []byte("moov")}}
	if got := c.TS(); got == nil || got.Name != "ts_t07" {
		t.Errorf("current track is %+v", got)
	}
	c.EC = nil
	if got := c.TS(); got == nil || got.Name != "ts_t08" {
		t.Errorf("without private fields: %+v", got)
	}
	if got := (&Catalog{}).TS(); got != nil {
		t.Errorf("none: %+v", got)
	}
	if string(c.Init(&c.Tracks[0])) != "PAT and PMT" || string(c.Init(&c.Tracks[2])) != "moov" || c.Init(&Track{InitRef: "x"}) != nil {
		t.Error("Init is wrong")
	}
}

func TestTSTrack(t *testing.T) {
	for _, c := range []struct {
		name     string
		timeline int
		ok       bool
	}{{"ts_t00", -13, true}, {"ts_t13", 0, true}, {"ts_t26", 13, true}, {"ts_t27", 14, false}, {"ts", 0, false}, {"ts_t1", 0, false}, {"ts_t1x", 0, false}} {
		if got, _, ok := TSTrack(c.name); ok != c.ok || ok && got != c.timeline {
			t.Errorf("%s: %d, %v", c.name, got, ok)
		}
	}
}

var track = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}

func TestManifestGolden(t *testing.T) {
	utc := TimeOf(time.Date(2026, 11, 23, 2, 0, 0, 120_999_999, time.UTC))
	entries := []ManifestEntry{
		{V: 1, Group: 980000000, Track: track, Scope: ScopeBroadcast, Objects: 10, Bytes: 1880000,
			Hash: HashParts([]object.Hash{object.Sum([]byte("a")), object.Sum([]byte("b"))}), PTS: 1<<33 - 1, UTC: &utc},
		{V: 1, Group: 7, Track: object.TrackName{Namespace: object.Namespace{"ec", "source", "roof.1", "3"}, Name: "ts"},
			Scope: ScopeSource, Reason: ReasonDamaged, Damage: &Damage{TEI: 1, Continuity: 2, Scrambled: 3, Sync: 4, PSI: 5}, Late: true},
	}
	var all []byte
	for i, e := range entries {
		if i > 0 {
			all = append(all, '\n')
		}
		start := len(all)
		var err error
		if all, err = e.Append(all); err != nil {
			t.Fatal(err)
		}
		got, err := ParseManifestEntry(all[start:])
		if err != nil || !reflect.DeepEqual(*got, e) {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	golden(t, "manifest.jsonl", all)
}

func TestTimelineGolden(t *testing.T) {
	e := TimelineEntry{V: 1, Group: 980000000, PTS: 90000, UTC: TimeOf(time.Unix(1795485600, 0)), Track: track}
	b, err := e.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "timeline.jsonl", b)
	got, err := ParseTimelineEntry(b)
	if err != nil || !reflect.DeepEqual(*got, e) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestEntriesRefuse(t *testing.T) {
	for _, s := range []string{"", "{}", `{"v":2}`, `{"v":1,"track":"nope"}`, `{"v":1,"group":-1}`, `{"v":1,"hash":"00"}`, strings.Repeat(" ", MaxEntryBytes) + `{"v":1}`} {
		if e, err := ParseManifestEntry([]byte(s)); !errors.Is(err, ErrEntry) {
			t.Errorf("manifest %.40q: %v, %v", s, e, err)
		}
	}
	if e, err := ParseTimelineEntry([]byte(`{"v":1,"utc":"yesterday"}`)); !errors.Is(err, ErrEntry) {
		t.Errorf("timeline: %v, %v", e, err)
	}
}

func FuzzParse(f *testing.F) {
	b, _ := sample().Encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			return
		}
		once, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, _ := again.Encode(); !bytes.Equal(once, twice) {
			t.Fatalf("%s became %s", once, twice)
		}
	})
}

func TestFor(t *testing.T) {
	ns := object.Namespace{"ec", "atsc", "2065", "3"}
	for track, want := range map[string]string{
		"ts_t13": "catalog", "ts_t00": "catalog", "ts_ref1_t13": "catalog_ref1", "ts_d4000_p200_ref1_t07": "catalog_d4000_p200_ref1",
		"ts": "catalog", "ts_unsynced": "catalog", "ts_e1": "catalog", "manifest": "catalog", "tsx_t13": "catalog",
	} {
		if got := For(object.TrackName{Namespace: ns, Name: track}); got.Name != want || !got.Namespace.Equal(ns) {
			t.Errorf("%s: %v, want %s", track, got, want)
		}
	}
}
