package sub

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

func encoded[T interface{ Append([]byte) ([]byte, error) }](t testing.TB, v T) []byte {
	t.Helper()
	b, err := v.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// world puts a broadcast and one source of it on a relay: ten minutes of groups around an instant.
func world(t testing.TB, relay *relaytest.Relay, at time.Time) (firstGroup int) {
	t.Helper()
	// The broadcaster's clock runs 10 min behind UTC, which is timeline 0 all the same.
	group := int(at.Add(-10*time.Minute).Unix() / 2)
	firstGroup = group - 300
	list := groups(firstGroup, 301)
	relay.Put(name, list...)
	c := catalog.Catalog{Tracks: []catalog.Track{{Name: name.Name, Packaging: catalog.PackagingM2TS, IsLive: true}}, EC: &catalog.Private{Track: name.Name, Duration: 180000}}
	relay.Put(catalog.Of(broadcast), object.Object{Group: uint64(group), Payload: encoded(t, c)})
	source := catalog.Catalog{Tracks: []catalog.Track{}, EC: &catalog.Private{Broadcast: broadcast.String(), Source: home.String(), Labels: map[string]string{"callsign": "KEC\x1b[2J"}}}
	relay.Put(catalog.Of(home), object.Object{Group: uint64(group), Payload: encoded(t, source)})
	timeline := object.TrackName{Namespace: home, Name: catalog.TrackTimeline}
	for g := firstGroup; g <= group; g++ {
		e := catalog.TimelineEntry{V: catalog.EntryVersion, Group: chunk(g), PTS: uint64(g*180000) & (1<<33 - 1),
			UTC: catalog.TimeOf(time.Unix(int64(2*g), 0).Add(10 * time.Minute)), Track: name}
		relay.Put(timeline, object.Object{Group: chunk(g) >> clock.TagBits, Payload: encoded(t, e)})
	}
	return firstGroup
}

// TestWallTimeOfTwoHomes: the chunk that was on may stand in the timeline of one home alone, whichever is asked first.
func TestWallTimeOfTwoHomes(t *testing.T) {
	at := time.Date(2026, 7, 4, 20, 20, 0, 0, time.UTC)
	first := int(at.Unix() / 2)
	for _, homes := range [][]int{{0, 5}, {5, 0}} { // from which group on they heard it
		relay := relaytest.New(t)
		relay.Put(name, groups(first, 11)...)
		c := catalog.Catalog{Tracks: []catalog.Track{{Name: name.Name, Packaging: catalog.PackagingM2TS, IsLive: true}}, EC: &catalog.Private{Track: name.Name, Duration: 180000}}
		relay.Put(catalog.Of(broadcast), object.Object{Group: uint64(first), Payload: encoded(t, c)})
		for i, joined := range homes {
			source := object.Namespace{"ec", "source", fmt.Sprint("home_", i), "3"}
			c := catalog.Catalog{Tracks: []catalog.Track{}, EC: &catalog.Private{Broadcast: broadcast.String(), Source: source.String()}}
			relay.Put(catalog.Of(source), object.Object{Group: uint64(first), Payload: encoded(t, c)})
			for g := first + joined; g <= first+10; g++ { // every chunk begins a second into its bucket
				e := catalog.TimelineEntry{V: catalog.EntryVersion, Group: chunk(g), PTS: uint64(g*180000+90000) & (1<<33 - 1),
					UTC: catalog.TimeOf(time.Unix(int64(2*g+1), 0)), Track: name}
				relay.Put(object.TrackName{Namespace: source, Name: catalog.TrackTimeline}, object.Object{Group: chunk(g) >> clock.TagBits, Payload: encoded(t, e)})
			}
		}
		conf := config(t, relay)
		conf.Names = []string{broadcast.String()}
		var err error
		if conf.From, err = ParsePoint("2026-07-04T20:20:10.500Z", at); err != nil {
			t.Fatal(err)
		}
		if conf.To, err = ParsePoint("2026-07-04T20:20:11.500Z", at); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := Run(testContext(t), conf, &out); err != nil {
			t.Fatal(err)
		}
		wantObjects(t, decode(t, &out), groups(first+4, 2))
	}
}

func TestWallTime(t *testing.T) {
	relay := relaytest.New(t)
	at := time.Date(2026, 7, 4, 20, 20, 0, 0, time.UTC)
	first := world(t, relay, at)
	for _, test := range []struct {
		from, to string
		group, n int
		part     bool
	}{
		{"2026-07-04T20:15:00Z", "2026-07-04T20:15:03Z", 150, 2, false},
		{"-5m", "-4m59s", 150, 1, false},
		{"20:15", "20:15:07", 150, 4, false},
		{"2026-07-04T20:09:59Z", "2026-07-04T20:10:01Z", 0, 1, true}, // begins before the first group
	} {
		from, to, err := ParseSpan(test.from, test.to, at)
		if err != nil {
			t.Fatal(err)
		}
		c := config(t, relay)
		c.Names, c.From, c.To = []string{broadcast.String()}, from, to
		var out bytes.Buffer
		if _, err := Run(testContext(t), c, &out); !gapped(err, test.part) {
			t.Fatalf("%s: %v", test.from, err)
		}
		wantObjects(t, decode(t, &out), groups(first+test.group, test.n))
	}
}

// Without a timeline the track's name tells the time within half an hour.
func TestWallTimeByName(t *testing.T) {
	relay := relaytest.New(t)
	at := time.Date(2026, 7, 4, 20, 20, 0, 0, time.UTC)
	group := int(at.Unix() / 2)
	relay.Put(name, groups(group-20, 21)...)
	c := config(t, relay)
	c.From, _ = ParsePoint("-10s", at)
	c.To, _ = ParsePoint("-8s", at)
	var out bytes.Buffer
	if _, err := Run(testContext(t), c, &out); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, decode(t, &out), groups(group-5, 2))
}

func TestList(t *testing.T) {
	relay := relaytest.New(t)
	world(t, relay, time.Unix(10_000_000, 0))
	var out bytes.Buffer
	c := config(t, relay)
	if err := List(testContext(t), c, nil, false, &out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"ec-atsc-2065-3--ts_t13", fmt.Sprintf("%d…%d", chunk(4999400), chunk(4999700)), "m2ts", "current, KEC[2J\n", "KEC[2J, receives ec-atsc-2065-3", "ec-source-home-3--timeline"} {
		if !bytes.Contains(out.Bytes(), []byte(line)) {
			t.Errorf("%q is missing in\n%s", line, &out)
		}
	}
	out.Reset()
	if err := List(testContext(t), c, broadcast, true, &out); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`{"v":1,"namespace":"ec-atsc-2065-3","track":"ts_t13","current":true,"packaging":"m2ts","first_group":%d,"last_group":%d,"from":"1970-04-26T17:36:38.64Z","to":"1970-04-26T17:46:38.64Z"}
{"v":1,"namespace":"ec-atsc-2065-3","track":"catalog","first_group":4999700,"last_group":4999700}
`, chunk(4999400), chunk(4999700)); out.String() != want {
		t.Errorf("got  %s\nwant %s", &out, want)
	}
}

// TestNothingFromThen: what a relay has not, because its store begins later or has a hole, is said with the time of what comes instead,
// and ends with 65; where there is nothing at all, with 69. Config.Nearest takes what comes instead.
func TestNothingFromThen(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 7, 4, 20, 20, 0, 0, time.UTC)
	relay := relaytest.New(t)
	world(t, relay, at.Add(-time.Hour)) // 19:10 to 19:20
	world(t, relay, at)                 // 20:10 to 20:20
	for _, test := range []struct {
		from, to string
		next     time.Time // of what comes later than asked; zero: nothing is said
		n, code  int
	}{
		{"-70m", "-69m59s", time.Time{}, 1, 0},
		{"-3h", "-69m59s", at.Add(-70 * time.Minute), 1, 65},
		{"-30m", "-9m59s", at.Add(-10 * time.Minute), 1, 65},
		{"-3h", "-2h", at.Add(-70*time.Minute - time.Second), 0, 69},
		{"-30m", "-29m", at.Add(-10*time.Minute - time.Second), 0, 69},
		{"+1h", "+2h", at.Add(-time.Second), 0, 69},
	} {
		from, err := ParsePoint(test.from, at)
		to, errTo := ParsePoint(test.to, at)
		if err != nil || errTo != nil {
			t.Fatal(err, errTo)
		}
		var out, log bytes.Buffer
		c := config(t, relay)
		c.Names, c.From, c.To, c.Log = []string{broadcast.String()}, from, to, slog.New(slog.NewTextHandler(&log, nil))
		s, err := Run(testContext(t), c, &out)
		code, _ := exit.Of(err)
		if s.Groups != int64(test.n) || err == nil && test.code != 0 || err != nil && code != test.code {
			t.Errorf("%s to %s: %+v, %v", test.from, test.to, s, err)
		}
		said := strings.Contains(log.String(), "nothing from then")
		switch {
		case test.code == 69:
			if !strings.Contains(err.Error(), "nearest is group ") || !strings.Contains(err.Error(), test.next.Format("(2006-01-02T15:04:05Z)")) {
				t.Errorf("%s to %s: %v", test.from, test.to, err)
			}
		case said == test.next.IsZero(), said && !strings.Contains(log.String(), "next="+test.next.Format("2006-01-02T15:04")):
			t.Errorf("%s to %s: %s", test.from, test.to, &log)
		}
		if c.Nearest = true; to.time.After(at) {
			continue // that would be read until then
		}
		if s, err := Run(testContext(t), c, io.Discard); err != nil || s.Objects != 3 || s.MissingGroups > 0 {
			t.Errorf("%s to %s, nearest: %+v, %v", test.from, test.to, s, err)
		}
	}
}

// TestVariantThatIsOn: of a broadcast that has variants only, the first one is read that is on, not one that is only stored.
func TestVariantThatIsOn(t *testing.T) {
	relay := relaytest.New(t)
	for i, v := range []struct {
		track string
		chunk int
	}{{"ts_ref1_t13", 100}, {"ts_ref2_t13", 5000}, {"ts_ref3_t13", 5001}} {
		from := append(slices.Clone(home), fmt.Sprint(i))
		source := catalog.Catalog{Tracks: []catalog.Track{}, EC: &catalog.Private{Broadcast: broadcast.String(), Source: from.String(), BroadcastTrack: v.track}}
		relay.Put(catalog.Of(from), object.Object{Group: 1, Payload: encoded(t, source)})
		relay.Put(object.TrackName{Namespace: broadcast, Name: v.track}, groups(v.chunk, 2)...)
	}
	c := config(t, relay)
	c.Names, c.From, c.To = []string{broadcast.String()}, point(t, "first"), point(t, "now")
	rd := start(t, testContext(t), c)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	if len(rd.got) == 0 || rd.got[0].Group != chunk(5000) {
		t.Errorf("got %d objects, the first of group %d, want %d", len(rd.got), rd.got[0].Group, chunk(5000))
	}
}

// TestListOfMirror: a relay that has a broadcast and its rendition and no source that tells of them lists all, with what their catalogs say.
func TestListOfMirror(t *testing.T) {
	relay := relaytest.New(t)
	relay.Stop()
	relay.Implementation = "every.channel/9"
	relay.Start()
	put := func(track string, payload []byte) {
		relay.Put(object.TrackName{Namespace: broadcast, Name: track}, object.Object{Group: chunk(4999700), Payload: payload})
		relay.Announce(append(object.Namespace{".ec-routes", "track", "0123456789abcdef", "=" + track}, broadcast...))
	}
	put("ts_t13", []byte("x"))
	put("ts_ref1_t13", []byte("x"))
	put("odd", []byte("x"))
	catalogOf := func(track, codec string) []byte {
		return encoded(t, catalog.Catalog{Tracks: []catalog.Track{{Name: track, Packaging: catalog.PackagingM2TS, Codec: codec, IsLive: true}}, EC: &catalog.Private{Track: track, Duration: 180000}})
	}
	put("catalog", catalogOf("ts_t13", "mp2v"))
	put("catalog_ref1", catalogOf("ts_ref1_t13", "avc1"))
	var out bytes.Buffer
	if err := List(testContext(t), config(t, relay), broadcast, true, &out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`"track":"ts_t13","current":true,"packaging":"m2ts","codec":"mp2v"`, `"track":"ts_ref1_t13","packaging":"m2ts","codec":"avc1"`,
		`"track":"catalog_ref1"`, `"track":"catalog"`, `"track":"odd"`,
	} {
		if strings.Count(out.String(), line) != 1 {
			t.Errorf("%s is not there once in\n%s", line, &out)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 5 {
		t.Errorf("%d lines:\n%s", n, &out)
	}
}

// TestListOfNothing: an empty list says on the side that it is one.
func TestListOfNothing(t *testing.T) {
	var out, log bytes.Buffer
	c := config(t, relaytest.New(t))
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := List(testContext(t), c, broadcast, true, &out); err != nil || out.Len() > 0 {
		t.Errorf("%q, %v", &out, err)
	}
	if !strings.Contains(log.String(), "nothing there") || !strings.Contains(log.String(), broadcast.String()) {
		t.Errorf("said %q", &log)
	}
}

func TestParsePoint(t *testing.T) {
	at := time.Date(2026, 7, 4, 20, 20, 0, 0, time.FixedZone("", 2*3600))
	for text, want := range map[string]Point{
		"":                     {},
		"first":                {kind: first},
		"now":                  {kind: now, time: at},
		"892345678":            {kind: atGroup, group: 892345678},
		"2026-07-04T18:15:00Z": {kind: atTime, time: at.Add(-5 * time.Minute).UTC()},
		"20:15":                {kind: atTime, time: at.Add(-5 * time.Minute)},
		"20:25":                {kind: atTime, time: at.Add(5*time.Minute - 24*time.Hour)},
		"20:19:30":             {kind: atTime, time: at.Add(-30 * time.Second)},
		"-5m":                  {kind: atTime, time: at.Add(-5 * time.Minute)},
		"+1h":                  {kind: atTime, time: at.Add(time.Hour)},
	} {
		got, err := ParsePoint(text, at)
		if err != nil || got.kind != want.kind || got.group != want.group || !got.time.Equal(want.time) {
			t.Errorf("ParsePoint(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"later", "5m", "-", "25:00", "2026-07-04", "-3", "1e9"} {
		if p, err := ParsePoint(text, at); !errors.Is(err, ErrPoint) {
			t.Errorf("ParsePoint(%q) = %+v, %v", text, p, err)
		}
	}
}

// TestParseSpan: a time of day before the beginning is on the next day, and no other time before the beginning is one to end at.
func TestParseSpan(t *testing.T) {
	at := time.Date(2026, 7, 4, 20, 20, 0, 0, time.UTC)
	for _, c := range []struct{ from, to, want string }{
		{"20:00", "20:10", "2026-07-04T20:10:00Z"},
		{"23:50", "00:10", "2026-07-04T00:10:00Z"},
		{"19:20", "00:20", "2026-07-05T00:20:00Z"},
		{"2026-07-04T19:20:00Z", "00:20", "2026-07-05T00:20:00Z"},
		{"now", "00:20", "2026-07-05T00:20:00Z"},
		{"", "00:20", "2026-07-05T00:20:00Z"},
		{"", "20:45", "2026-07-04T20:45:00Z"},
		{"", "-8m", "2026-07-04T20:12:00Z"},
		{"-5m", "-5m", "2026-07-04T20:15:00Z"},
	} {
		_, to, err := ParseSpan(c.from, c.to, at)
		if err != nil || to.time.UTC().Format(time.RFC3339) != c.want {
			t.Errorf("%s to %s: %v, %v, want %s", c.from, c.to, to.time, err, c.want)
		}
	}
	for _, c := range [][2]string{
		{"2026-07-04T08:00:00Z", "2026-07-04T07:55:00Z"}, {"-1m", "-2m"}, {"now", "-8m"}, {"+5m", "now"}, {"20", "19"},
		{"58431942781029", "58431942740611"}, {"2026-07-06T00:00:00Z", "00:20"}, {"20:15", "-1h"},
	} {
		if _, to, err := ParseSpan(c[0], c[1], at); !errors.Is(err, ErrPoint) {
			t.Errorf("%s to %s: %v, %v", c[0], c[1], to.time, err)
		}
	}
}

// TestListNamesWhatItLacks: a catalog that the relay has and does not give costs its own lines. The list comes all the same, names that
// catalog, and the end is 65. A question that is not answered is not waited for without end.
func TestListNamesWhatItLacks(t *testing.T) {
	t.Parallel()
	relay := relaytest.New(t)
	at := time.Unix(10_000_000, 0)
	world(t, relay, at)
	group := uint64(at.Add(-10*time.Minute).Unix() / 2)
	relay.Silent = func(start moqt.Location) bool { return start.Group > 0 && start.Group <= group }
	for _, allow := range []bool{false, true} {
		t.Run(fmt.Sprintf("gaps allowed %v", allow), func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			c := config(t, relay)
			c.AllowGaps = allow
			err := List(testContext(t), c, home, true, &out)
			code, _ := exit.Of(err)
			lost := fmt.Sprintf("group %d of %v", group, catalog.Of(home))
			if !allow && (code != exit.BadData || !strings.Contains(err.Error(), lost)) || allow && err != nil {
				t.Error(err)
			}
			if !strings.Contains(out.String(), `"track":"timeline"`) || !strings.Contains(out.String(), `"track":"catalog"`) {
				t.Errorf("listed %s", &out)
			}
		})
	}
}
