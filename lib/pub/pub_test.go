package pub

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var discard = slog.New(slog.DiscardHandler)

var name = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t13"}

// groups makes groups of three objects and their ends, two seconds of media each.
func groups(first, n int) (list []object.Object) {
	for g := first; g < first+n; g++ {
		for id := range 3 {
			payload := bytes.Repeat([]byte(fmt.Sprintf("%d/%d ", g, id)), 1000)
			prop := object.Properties{Hash: object.Sum(payload), HasHash: true, PTS: uint64(g*180000+id*60000) & (1<<33 - 1), HasPTS: true, Duration: 60000, HasDuration: true}
			list = append(list, object.Object{Group: uint64(g), ID: uint64(id), Priority: 100, Properties: prop.Append(nil), Payload: payload})
		}
		list = append(list, object.Object{Group: uint64(g), ID: 3, Status: object.EndOfGroup})
	}
	return list
}

func encode(t testing.TB, w io.Writer, list ...object.Object) {
	t.Helper()
	out := object.NewWriter(w)
	for i := range list {
		if err := out.WriteObject(name, &list[i]); err != nil {
			t.Fatal(err)
		}
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func wantObjects(t testing.TB, got, want []object.Object) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("relay has %d objects, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Group != want[i].Group || got[i].ID != want[i].ID || got[i].Status != want[i].Status ||
			!bytes.Equal(got[i].Payload, want[i].Payload) || !bytes.Equal(got[i].Properties, want[i].Properties) {
			t.Fatalf("object %d is %d/%d %v, %d bytes; want %d/%d %v, %d bytes", i, got[i].Group, got[i].ID, got[i].Status, len(got[i].Payload),
				want[i].Group, want[i].ID, want[i].Status, len(want[i].Payload))
		}
	}
}

func TestFileArrivesWhole(t *testing.T) {
	relay := relaytest.New(t)
	want := groups(10, 50)
	var in bytes.Buffer
	encode(t, &in, want...)
	stats, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, &in)
	if err != nil {
		t.Fatal(err)
	}
	wantObjects(t, relay.Objects(name), want)
	if stats.Groups != 50 || stats.Objects != 150 || stats.Dropped != 0 {
		t.Errorf("stats %+v", stats)
	}
}

func TestSmallSpoolLosesNothingOfAFile(t *testing.T) {
	relay := relaytest.New(t)
	want := groups(10, 200)
	var in bytes.Buffer
	encode(t, &in, want...)
	if _, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS(), Memory: 50_000}, &in); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, relay.Objects(name), want)
}

func TestTwoRelaysGetEverything(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	want := groups(10, 20)
	var in bytes.Buffer
	encode(t, &in, want...)
	trustBoth := &tls.Config{InsecureSkipVerify: true}
	if _, err := Run(testContext(t), Config{Relays: []string{a.URL(), b.URL()}, TLS: trustBoth}, &in); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, a.Objects(name), want)
	wantObjects(t, b.Objects(name), want)
}

// Objects go out as they come in, not when their group is whole.
func TestLive(t *testing.T) {
	relay := relaytest.New(t)
	want := groups(10, 2)
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, r)
		result <- err
	}()
	out := object.NewWriter(w)
	for i := range want {
		if err := out.WriteObject(name, &want[i]); err != nil {
			t.Fatal(err)
		}
		relay.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == i+1 })
	}
	w.Close()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	wantObjects(t, relay.Objects(name), want)
}

// The relay goes away in the middle of a group and comes back: nothing is missing, and what it had comes again.
func TestRelayRestarts(t *testing.T) {
	relay := relaytest.New(t)
	want := groups(10, 6)
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, r)
		result <- err
	}()
	out := object.NewWriter(w)
	for i := range want {
		if i == 10 {
			relay.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == i })
			relay.Stop()
		}
		if err := out.WriteObject(name, &want[i]); err != nil {
			t.Fatal(err)
		}
		if i == 17 {
			relay.Start()
		}
	}
	w.Close()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	wantObjects(t, relay.Objects(name), want)
	relay.Await(name, func(tr *relaytest.Track) bool { return tr.Again > 0 && tr.Conflicts == 0 })
}

// A live input does not wait for a relay that is away: the oldest groups go.
func TestLiveDropsTheOldest(t *testing.T) {
	s := newSpool(1, time.Minute, 100_000, false, discard)
	tr := &object.Track{Name: name}
	now := time.Unix(1e9, 0)
	for _, o := range groups(10, 20) {
		now = now.Add(500 * time.Millisecond) // four records are two seconds of media
		if err := s.add(context.Background(), tr, &o, now); err != nil {
			t.Fatal(err)
		}
	}
	if s.bytes > 100_000 || s.Dropped == 0 {
		t.Fatalf("%d bytes, %d groups dropped", s.bytes, s.Dropped)
	}
	left := s.tracks[name.String()].groups
	if last := left[len(left)-1]; last.id != 29 || left[0].id != 30-uint64(len(left)) || left[0].state != whole {
		t.Errorf("left are %d groups from %d to %d", len(left), left[0].id, last.id)
	}
}

// The same input at file speed waits.
func TestFileWaitsForRoom(t *testing.T) {
	s := newSpool(1, time.Minute, 100_000, false, discard)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	now := time.Unix(1e9, 0)
	for _, o := range groups(10, 20) {
		now = now.Add(time.Millisecond)
		if err := s.add(ctx, &object.Track{Name: name}, &o, now); err != nil {
			if !errors.Is(err, context.DeadlineExceeded) || s.Dropped != 0 {
				t.Fatalf("%v, %d dropped", err, s.Dropped)
			}
			return
		}
	}
	t.Fatal("did not wait")
}

// A group that is not finished does not hold up the ones after it, and is given up in the end.
func TestUnfinishedGroup(t *testing.T) {
	relay := relaytest.New(t)
	list := groups(10, 10)
	list = append(list[:2], list[4:]...) // group 10 lacks its last object and its end
	var in bytes.Buffer
	encode(t, &in, list...)
	stats, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, &in)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Unfinished != 1 {
		t.Errorf("stats %+v", stats)
	}
	got := relay.Objects(name)
	for len(got) > 0 && got[0].Group == 10 {
		if got[0].Status == object.EndOfGroup {
			t.Error("an unfinished group was called whole")
		}
		got = got[1:]
	}
	wantObjects(t, got, groups(11, 9))
}

func TestDuplicatesAreNotSentAgain(t *testing.T) {
	relay := relaytest.New(t)
	var in bytes.Buffer
	encode(t, &in, groups(10, 4)...)
	encode(t, &in, groups(12, 4)...) // a second capture that overlaps
	stats, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, &in)
	if err != nil {
		t.Fatal(err)
	}
	wantObjects(t, relay.Objects(name), groups(10, 6))
	if stats.Duplicates != 6 {
		t.Errorf("stats %+v", stats)
	}
}

func TestDamagedInput(t *testing.T) {
	relay := relaytest.New(t)
	var in bytes.Buffer
	encode(t, &in, groups(10, 4)...)
	in.Bytes()[3000] ^= 1
	stats, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, &in)
	if !errors.Is(err, ErrDamaged) || stats.Damaged != 1 {
		t.Errorf("%v, stats %+v", err, stats)
	}
	wantObjects(t, relay.Objects(name)[3:], groups(11, 3)) // group 10 lacks an object and is whole all the same: its end was read
}

func TestFailures(t *testing.T) {
	relay := relaytest.New(t)
	relay.Refuse = func(verb string, _ object.TrackName) (wire.RequestCode, bool) {
		return wire.RequestUnauthorized, verb == "publish"
	}
	gone := relaytest.New(t)
	gone.Stop()
	for _, test := range []struct {
		name  string
		relay *relaytest.Relay
		trust *relaytest.Relay
		code  int
	}{
		{"not there", gone, gone, 69},
		{"not trusted", relay, gone, 77},
		{"refused", relay, relay, 77},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, w := io.Pipe() // an input that never ends must not keep the failure
			var in bytes.Buffer
			encode(t, &in, groups(10, 1)...)
			go in.WriteTo(w)
			defer r.Close()
			_, err := Run(testContext(t), Config{Relays: []string{test.relay.URL()}, TLS: test.trust.TLS()}, r)
			var coder interface{ ExitCode() int }
			if !errors.As(err, &coder) || coder.ExitCode() != test.code {
				t.Errorf("error %v, want exit code %d", err, test.code)
			}
			w.Close()
		})
	}
}

func TestNotAnObjectStream(t *testing.T) {
	relay := relaytest.New(t)
	_, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, bytes.NewReader(bytes.Repeat(append([]byte{0x47}, make([]byte, 187)...), 20)))
	var hint interface{ Hint() string }
	if !errors.Is(err, object.ErrMagic) || !errors.As(err, &hint) || hint.Hint() == "" {
		t.Errorf("error %v", err)
	}
}

// A relay that does not take PUBLISH subscribes instead.
func TestRelayThatSubscribes(t *testing.T) {
	relay := relaytest.New(t)
	relay.Stop()
	relay.Wants = []object.TrackName{name}
	relay.Start()
	want := groups(10, 4)
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, r)
		result <- err
	}()
	encode(t, w, want...)
	relay.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == len(want) })
	w.Close()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// A relay that has everything already, from somebody else, and does not want the track any more, lacks nothing at the end.
func TestWhatTheRelayHasIsDelivered(t *testing.T) {
	relay := relaytest.New(t)
	relay.Refuse = func(verb string, _ object.TrackName) (wire.RequestCode, bool) {
		return wire.RequestUninterested, verb == "publish"
	}
	want := groups(10, 4)
	relay.Put(name, want...)
	var in bytes.Buffer
	encode(t, &in, want...)
	stats, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, &in)
	if err != nil || stats.Undelivered != 0 {
		t.Errorf("%v, %+v", err, stats)
	}
}

// All of a group that the input leaves without an end arrives, before its stream is reset.
func TestUnfinishedGroupArrives(t *testing.T) {
	relay := relaytest.New(t)
	want := groups(10, 1)[:3]
	for i := range want {
		want[i].Payload = bytes.Repeat(want[i].Payload, 80)
		want[i].Properties = object.Properties{Hash: object.Sum(want[i].Payload), HasHash: true}.Append(nil)
	}
	var in bytes.Buffer
	encode(t, &in, want...)
	if _, err := Run(testContext(t), Config{Relays: []string{relay.URL()}, TLS: relay.TLS()}, &in); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, relay.Objects(name), want)
}
