package sub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	broadcast = object.Namespace{"ec", "atsc", "2065", "3"}
	home      = object.Namespace{"ec", "source", "home", "3"}
	name      = object.TrackName{Namespace: broadcast, Name: "ts_t13"}
)

// chunk is the group id of a chunk that begins so many times two seconds after the start of a clock (docs/format/chunk.md, "Name").
func chunk(n int) uint64 {
	return clock.GroupID(clock.Grid(180000).Of(clock.Ticks(n)*180000), uint16(n*40503))
}

// groups makes groups of three objects and their ends, two seconds of media each.
func groups(first, n int) (list []object.Object) {
	for g := first; g < first+n; g++ {
		for id := range 3 {
			payload := bytes.Repeat([]byte(fmt.Sprintf("%d/%d ", g, id)), 1000)
			prop := object.Properties{Hash: object.Sum(payload), HasHash: true, PTS: uint64(g*180000+id*60000) & (1<<33 - 1), HasPTS: true, Duration: 60000, HasDuration: true}
			list = append(list, object.Object{Group: chunk(g), ID: uint64(id), Priority: 100, Properties: prop.Append(nil), Payload: payload})
		}
		list = append(list, object.Object{Group: chunk(g), ID: 3, Status: object.EndOfGroup})
	}
	return list
}

// without leaves out what drop says.
func without(list []object.Object, drop func(o object.Object) bool) []object.Object {
	return slices.DeleteFunc(slices.Clone(list), drop)
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func decode(t testing.TB, r io.Reader) (list []object.Object) {
	t.Helper()
	in := object.NewReader(r)
	for {
		rec, err := in.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.IsTrack {
			continue
		}
		if !rec.Track.Name.Equal(name) {
			t.Fatalf("object of %v", rec.Track.Name)
		}
		o := rec.Object
		o.Properties, o.Payload = bytes.Clone(o.Properties), bytes.Clone(o.Payload)
		list = append(list, o)
	}
}

func wantObjects(t testing.TB, got, want []object.Object) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i].Group != want[i].Group || got[i].ID != want[i].ID || got[i].Status != want[i].Status || got[i].Priority != want[i].Priority ||
			!bytes.Equal(got[i].Payload, want[i].Payload) || !bytes.Equal(got[i].Properties, want[i].Properties) {
			t.Fatalf("object %d is %d/%d %v, priority %d, %d bytes; want %d/%d %v, priority %d, %d bytes", i, got[i].Group, got[i].ID, got[i].Status, got[i].Priority, len(got[i].Payload),
				want[i].Group, want[i].ID, want[i].Status, want[i].Priority, len(want[i].Payload))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d objects, want %d", len(got), len(want))
	}
}

func config(t testing.TB, r *relaytest.Relay) Config {
	return Config{Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})), Relays: []string{r.URL()}, TLS: r.TLS(), Names: []string{name.String()}, Reorder: 300 * time.Millisecond}
}

func at(n int) Point { return Point{kind: atGroup, group: chunk(n) >> clock.TagBits} }

func point(t testing.TB, s string) Point {
	p, err := ParsePoint(s, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reading runs in the background; its output can be waited for.
type reading struct {
	t      *testing.T
	r      *io.PipeReader
	got    []object.Object
	in     *object.Reader
	result chan error
	stats  Stats
}

func start(t *testing.T, ctx context.Context, c Config) *reading {
	r, w := io.Pipe()
	rd := &reading{t: t, r: r, in: object.NewReader(r), result: make(chan error, 1)}
	go func() {
		var err error
		rd.stats, err = Run(ctx, c, w)
		w.CloseWithError(io.EOF)
		rd.result <- err
	}()
	return rd
}

// until reads up to an object.
func (rd *reading) until(n int, id uint64) {
	rd.t.Helper()
	rd.untilGroup(chunk(n), id)
}

func (rd *reading) untilGroup(group, id uint64) {
	rd.t.Helper()
	for {
		rec, err := rd.in.Next()
		if err != nil {
			rd.t.Fatalf("waiting for %d/%d: %v", group, id, err)
		}
		if rec.IsTrack {
			continue
		}
		o := rec.Object
		o.Properties, o.Payload = bytes.Clone(o.Properties), bytes.Clone(o.Payload)
		rd.got = append(rd.got, o)
		if o.Group == group && o.ID == id {
			return
		}
	}
}

// rest reads to the end.
func (rd *reading) rest() error {
	for {
		rec, err := rd.in.Next()
		if err != nil {
			return <-rd.result
		}
		if !rec.IsTrack {
			o := rec.Object
			o.Properties, o.Payload = bytes.Clone(o.Properties), bytes.Clone(o.Payload)
			rd.got = append(rd.got, o)
		}
	}
}

// gapped reports whether an error says that something is missing, with exit code 65, or is nil where nothing is.
func gapped(err error, missing bool) bool {
	if !missing {
		return err == nil
	}
	code, ok := exit.Of(err)
	return errors.Is(err, ErrGaps) && ok && code == exit.BadData
}

func TestPast(t *testing.T) {
	relay := relaytest.New(t)
	all := groups(10, 30)
	relay.Put(name, all...)
	for _, test := range []struct {
		from, to Point
		want     []object.Object
		missing  int64
	}{
		{point(t, "first"), point(t, "now"), all[:len(all)-1], 0}, // the newest group may go on: its end is not told by FETCH
		{at(15), at(17), groups(15, 3), 0},
		{at(5), at(11), groups(10, 2), 5},
	} {
		var out bytes.Buffer
		c := config(t, relay)
		c.From, c.To = test.from, test.to
		if s, err := Run(testContext(t), c, &out); s.MissingGroups != test.missing || !gapped(err, test.missing > 0) {
			t.Fatalf("%v to %v: %+v, %v", test.from, test.to, s, err)
		}
		wantObjects(t, decode(t, &out), test.want)
	}
}

func TestTS(t *testing.T) {
	relay := relaytest.New(t)
	relay.Put(name, groups(10, 5)...)
	var want, got bytes.Buffer
	for _, o := range groups(11, 3) {
		want.Write(o.Payload)
	}
	c := config(t, relay)
	c.TS, c.From, c.To = true, at(11), at(13)
	if _, err := Run(testContext(t), c, &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("%d bytes differ from the %d wanted", got.Len(), want.Len())
	}
}

// Past and live are one stream: the subscription begins in the middle of a group.
func TestPastJoinsLive(t *testing.T) {
	relay := relaytest.New(t)
	all := groups(10, 20)
	relay.Put(name, all[:4*10+2]...)
	c := config(t, relay)
	c.From, c.To = point(t, "first"), at(28)
	rd := start(t, testContext(t), c)
	rd.until(20, 1)
	relay.Put(name, all[4*10+2:]...)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(10, 19))
}

// Without --from, reading begins at the start of the group being sent.
func TestLiveBeginsWithTheGroup(t *testing.T) {
	relay := relaytest.New(t)
	all := groups(10, 20)
	relay.Put(name, all[:4*10+2]...)
	c := config(t, relay)
	c.To = at(22)
	rd := start(t, testContext(t), c)
	rd.until(20, 0)
	relay.Put(name, all[4*10+2:]...)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(20, 3))
}

func TestRelayRestarts(t *testing.T) {
	relay := relaytest.New(t)
	all := groups(10, 20)
	relay.Put(name, all[:4*10+2]...)
	c := config(t, relay)
	c.From, c.To = point(t, "first"), at(27)
	rd := start(t, testContext(t), c)
	rd.until(20, 1)
	relay.Stop()
	relay.Put(name, all[4*10+2:4*14+1]...) // came while we were away
	relay.Start()
	rd.until(24, 0)
	relay.Put(name, all[4*14+1:]...)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(10, 18))
	if rd.stats.Sessions < 2 || rd.stats.MissingObjects+rd.stats.MissingGroups > 0 {
		t.Errorf("stats %+v", rd.stats)
	}
}

// What a subscription does not bring is fetched.
func TestHolesAreHealed(t *testing.T) {
	relay := relaytest.New(t)
	relay.Skip = func(_ object.TrackName, o *object.Object) bool {
		return o.Group == chunk(22) || o.Group == chunk(24) && o.ID == 1 || o.Group == chunk(26) && o.ID == 2
	}
	all := groups(20, 10)
	relay.Put(name, all[:2]...)
	c := config(t, relay)
	c.To = at(28)
	rd := start(t, testContext(t), c)
	rd.until(20, 0)
	relay.Put(name, all[2:]...)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(20, 9))
	if s := rd.stats; s.Healed < 5 || s.MissingGroups+s.MissingObjects != 0 {
		t.Errorf("stats %+v", s)
	}
}

// A relay of which a hole is fetched may be in the middle of that group itself, and says that its answer ends there. What follows is
// waited for.
func TestHealingRelayIsInTheMiddle(t *testing.T) {
	ahead, behind := relaytest.New(t), relaytest.New(t)
	ahead.Refuse = func(verb string, _ object.TrackName) (wire.RequestCode, bool) {
		return wire.RequestNotSupported, verb == "fetch"
	}
	behind.Skip = func(_ object.TrackName, o *object.Object) bool { return o.Group == chunk(21) && o.ID == 1 }
	all := groups(20, 4)
	for _, r := range []*relaytest.Relay{ahead, behind} {
		r.Put(name, all[:2]...)
	}
	c := both(t, ahead, behind)
	c.Reorder, c.To = time.Second, at(22)
	rd := start(t, testContext(t), c)
	go func() { // meanwhile what is there is read, so that nobody waits for that
		for ahead.Requests(name.String()) == 0 || behind.Requests(name.String()) == 0 {
			time.Sleep(time.Millisecond) // polls a counter
		}
		ahead.Put(name, all[2:5]...)
		behind.Put(name, all[2:6]...)
	}()
	rd.until(21, 0)
	ahead.Put(name, all[8:]...)
	rd.until(21, 1)
	ahead.Put(name, all[5:8]...)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(20, 3))
	if s := rd.stats; s.Healed < 1 || s.MissingGroups+s.MissingObjects != 0 { // more on a busy machine
		t.Errorf("stats %+v", s)
	}
}

// An object that breaks off in the middle is never written in parts: it is fetched with what follows it.
func TestBrokenObjectsAreHealed(t *testing.T) {
	relay := relaytest.New(t)
	relay.Break = func(_ object.TrackName, o *object.Object) bool { return o.Group%3 == 0 && o.ID == o.Group%2 }
	all := groups(20, 10)
	relay.Put(name, all[:2]...)
	c := config(t, relay)
	c.To, c.Verify = at(28), true
	rd := start(t, testContext(t), c)
	rd.until(20, 0)
	relay.Put(name, all[2:]...)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(20, 9))
	if s := rd.stats; s.Healed < 5 || s.Mismatches+s.MissingGroups+s.MissingObjects != 0 {
		t.Errorf("stats %+v", s)
	}
}

// What nobody has is waited for, reported and skipped; a group that lacks objects is not called whole.
func TestHolesAreReported(t *testing.T) { testHolesAreReported(t, nil) }

// A relay that does not answer the fetch of a hole stops nothing.
func TestSilentRelay(t *testing.T) {
	t.Parallel()
	testHolesAreReported(t, func(start moqt.Location) bool { return start.Group >= chunk(22) })
}

func testHolesAreReported(t *testing.T, silent func(moqt.Location) bool) {
	lost := func(_ object.TrackName, o *object.Object) bool {
		return o.Group == chunk(22) || o.Group == chunk(24) && o.ID == 1
	}
	relay := relaytest.New(t)
	relay.Lose, relay.Silent = lost, silent
	all := groups(20, 10)
	relay.Put(name, all[:2]...)
	c := config(t, relay)
	c.To = at(28)
	rd := start(t, testContext(t), c)
	rd.until(20, 0)
	relay.Put(name, all[2:]...)
	if err := rd.rest(); !gapped(err, true) || !strings.Contains(err.Error(), fmt.Sprintf("bucket %d, objects of %d", chunk(22)>>clock.TagBits, chunk(24))) {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, without(groups(20, 9), func(o object.Object) bool {
		return lost(name, &o) || o.Group == chunk(24) && o.Status == object.EndOfGroup
	}))
	if s := rd.stats; s.MissingGroups != 1 || s.MissingObjects != 1 {
		t.Errorf("stats %+v", s)
	}
}

// Group ids skip where a group of pictures is longer than a chunk: nothing is missing, and nothing waits.
func TestSkippedIDsAreNoGap(t *testing.T) {
	t.Run("chunks", func(t *testing.T) { testSkippedIDs(t, name, func(n uint64) uint64 { return chunk(int(n)) }) })
	t.Run("of others", func(t *testing.T) {
		testSkippedIDs(t, object.TrackName{Namespace: object.Namespace{"other"}, Name: "video"}, func(n uint64) uint64 { return n })
	})
}

func testSkippedIDs(t *testing.T, name object.TrackName, id func(uint64) uint64) {
	relay := relaytest.New(t)
	var all []object.Object
	for i, o := range groups(0, 30) {
		g := uint64(i / 4)
		o.Group = id(100 + 3*g)
		if o.Status == object.Normal {
			prop := object.Properties{PTS: g*180000 + o.ID*60000, HasPTS: true, Duration: 60000, HasDuration: true}
			o.Properties = prop.Append(nil)
		}
		all = append(all, o)
	}
	relay.Put(name, all[:2]...)
	c := config(t, relay)
	c.Names, c.Reorder = []string{name.String()}, time.Minute // would be felt
	c.To = Point{kind: atGroup, group: 180}                   // of chunks: the bucket
	rd := start(t, testContext(t), c)
	rd.untilGroup(id(100), 0)
	relay.Put(name, all[2:]...)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, without(all, func(o object.Object) bool { return o.Group > id(180) }))
	if s := rd.stats; s.MissingGroups+s.MissingObjects != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestVerify(t *testing.T) {
	relay := relaytest.New(t)
	all := groups(10, 3)
	all[5].Payload = bytes.Clone(all[5].Payload)
	all[5].Payload[7] ^= 1
	relay.Put(name, all...)
	c := config(t, relay)
	c.From, c.To, c.Verify = point(t, "first"), at(11), true
	var out bytes.Buffer
	stats, err := Run(testContext(t), c, &out)
	var coder interface{ ExitCode() int }
	if !errors.Is(err, ErrMismatch) || !errors.As(err, &coder) || coder.ExitCode() != 65 || stats.Mismatches != 1 {
		t.Errorf("%v, stats %+v", err, stats)
	}
	wantObjects(t, decode(t, &out), without(groups(10, 2), func(o object.Object) bool {
		return o.Group == chunk(11) && (o.ID == 1 || o.Status == object.EndOfGroup)
	}))
}

func TestExitAtEnd(t *testing.T) {
	relay := relaytest.New(t)
	relay.Put(name, groups(10, 1)...)
	c := config(t, relay)
	c.ExitAtEnd = true
	rd := start(t, testContext(t), c)
	rd.until(10, 0)
	relay.Put(name, groups(11, 2)...)
	relay.End(name)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(10, 3))
}

func TestIdle(t *testing.T) {
	t.Parallel()
	relay := relaytest.New(t)
	relay.Put(name, groups(10, 2)...)
	c := config(t, relay)
	c.From, c.Idle = point(t, "first"), 3*time.Second
	var out bytes.Buffer
	if _, err := Run(testContext(t), c, &out); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, without(decode(t, &out), func(o object.Object) bool { return o.Group == chunk(11) && o.Status != object.Normal }), groups(10, 2)[:7])
}

// Who waits for a broadcast that nobody publishes any more is told so, and has what there was.
func TestSilenceIsTold(t *testing.T) {
	t.Parallel()
	relay := relaytest.New(t)
	relay.Put(name, groups(10, 2)...)
	c := config(t, relay)
	c.silence, c.Reorder = 100*time.Millisecond, 50*time.Millisecond
	log, told := said(c.Log, "nothing comes, waiting")
	c.Log = log
	ctx, leave := context.WithCancel(testContext(t))
	defer leave()
	result := make(chan error, 1)
	var out bytes.Buffer
	go func() {
		_, err := Run(ctx, c, &out)
		result <- err
	}()
	select {
	case <-told:
	case err := <-result:
		t.Fatal(err)
	case <-ctx.Done():
		t.Fatal("nobody was told")
	}
	leave()
	<-result
	if len(decode(t, &out)) == 0 {
		t.Error("what there was did not come")
	}
}

func TestDuration(t *testing.T) {
	relay := relaytest.New(t)
	relay.Put(name, groups(10, 20)...)
	c := config(t, relay)
	c.From, c.Duration = at(12), 4*time.Second
	var out bytes.Buffer
	if _, err := Run(testContext(t), c, &out); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, decode(t, &out), groups(12, 2))
}

// A broadcaster restarts its clock: the namespace stands for the new track, and group ids start elsewhere.
func TestBroadcastMoves(t *testing.T) {
	relay := relaytest.New(t)
	cat := func(track string) []byte {
		return encoded(t, catalog.Catalog{Tracks: []catalog.Track{{Name: track, Packaging: catalog.PackagingM2TS}}, EC: &catalog.Private{Track: track}})
	}
	relay.Put(catalog.Of(broadcast), object.Object{Group: 1000, Payload: cat("ts_t13")})
	all := groups(1000, 3)
	relay.Put(name, all[:1]...)
	c := config(t, relay)
	c.Names, c.Reorder, c.silence = []string{broadcast.String()}, 50*time.Millisecond, 100*time.Millisecond
	rd := start(t, testContext(t), c)
	rd.until(1000, 0)
	relay.Put(name, all[1:]...)
	rd.until(1002, 2)
	next := object.TrackName{Namespace: broadcast, Name: "ts_t14"}
	relay.Put(next, groups(10, 2)...)
	relay.Put(catalog.Of(broadcast), object.Object{Group: 1003, Payload: cat("ts_t14")})
	rd.until(11, 2)
	relay.Put(next, groups(12, 1)...)
	rd.until(12, 2)
	rd.r.Close() // the reader leaves
	if err := <-rd.result; !errors.Is(err, io.ErrClosedPipe) {
		relay.Put(next, groups(13, 1)...)
		t.Fatal(err)
	}
	wantObjects(t, without(rd.got, func(o object.Object) bool { return o.Status != object.Normal }),
		without(append(groups(1000, 3), groups(10, 3)...), func(o object.Object) bool { return o.Status != object.Normal }))
}

func TestFailures(t *testing.T) {
	t.Parallel()
	relay := relaytest.New(t)
	relay.Put(name, groups(10, 2)...)
	relay.Refuse = func(verb string, tr object.TrackName) (wire.RequestCode, bool) {
		return wire.RequestUnauthorized, verb == "subscribe" && tr.Name == "secret"
	}
	relay.Put(object.TrackName{Namespace: broadcast, Name: "secret"}, groups(10, 1)...)
	gone := relaytest.New(t)
	gone.Stop()
	for _, test := range []struct {
		what  string
		relay *relaytest.Relay
		names []string
		code  int
		hint  bool
	}{
		{"relay not there", gone, []string{name.String()}, 69, true},
		{"unknown track", relay, []string{"ec-atsc-2065-3--nothing"}, 69, true},
		{"unknown namespace", relay, []string{"ec-atsc-1-1"}, 69, true},
		{"refused", relay, []string{"ec-atsc-2065-3--secret"}, 77, true},
		{"malformed name", relay, []string{"EC/atsc"}, 64, false},
	} {
		t.Run(test.what, func(t *testing.T) {
			c := config(t, test.relay)
			c.Names = test.names
			_, err := Run(testContext(t), c, io.Discard)
			var coder interface{ ExitCode() int }
			if !errors.As(err, &coder) || coder.ExitCode() != test.code {
				t.Errorf("error %v, want exit code %d", err, test.code)
			}
			var hint interface{ Hint() string }
			if test.hint && (!errors.As(err, &hint) || hint.Hint() == "") {
				t.Errorf("error %v has no hint", err)
			}
		})
	}
}

// With --retry an unknown track is waited for.
func TestTrackAppearsLater(t *testing.T) {
	relay := relaytest.New(t)
	c := config(t, relay)
	c.RetryStart, c.To = 20*time.Second, at(10)
	rd := start(t, testContext(t), c)
	for relay.Sessions() < 2 { // it was tried and found missing
		time.Sleep(time.Millisecond)
	}
	relay.Put(name, groups(10, 1)[:2]...)
	rd.until(10, 1)
	relay.Put(name, groups(10, 2)[2:]...)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, rd.got, groups(10, 1))
}

type failing struct{ after atomic.Int64 }

func (f *failing) Write(p []byte) (int, error) {
	if f.after.Add(-1) < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestOutputFails(t *testing.T) {
	relay := relaytest.New(t)
	relay.Put(name, groups(10, 20)...)
	c := config(t, relay)
	c.From = point(t, "first")
	w := &failing{}
	w.after.Store(10)
	if _, err := Run(testContext(t), c, w); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
}
