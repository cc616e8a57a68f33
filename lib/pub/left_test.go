package pub

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/object"
)

// What left memory for the disk, was fetched by the relay and removed there again is not waited for at the end.
func TestLeftoversAreForgotten(t *testing.T) {
	relay := relaytest.New(t)
	relay.Stop()
	relay.Implementation = "every.channel test"
	relay.Asks = []object.TrackName{{Namespace: append(object.Namespace{mesh.InventoryField}, name.Namespace...), Name: name.Name}}
	want := groups(10, 20)
	for i := range want { // a live input: a millisecond of media in a group
		if o := &want[i]; o.Status == object.Normal {
			p := object.Properties{Hash: object.Sum(o.Payload), HasHash: true, PTS: o.Group*90 + o.ID*30, HasPTS: true}
			o.Properties = p.Append(nil)
		}
	}
	log := &lines{}
	r, w := io.Pipe()
	result := make(chan error, 1)
	var stats Stats
	go func() {
		s, err := Run(testContext(t), Config{
			Relays: []string{relay.URL()}, TLS: relay.TLS(), RetryStart: time.Minute, Drain: 5 * time.Second, Spool: t.TempDir(), Memory: 100_000,
			edge: time.Millisecond, askPatience: 500 * time.Millisecond,
			Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}, r)
		stats = s
		result <- err
	}()
	out := object.NewWriter(w)
	for i := range want {
		if err := out.WriteObject(name, &want[i]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // the pace of the input
	}
	relay.Put(name, want[:4*14]...) // it has fetched them
	relay.Start()
	for deadline := time.Now().Add(20 * time.Second); !log.has("left=0"); {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was forgotten: %s", log)
		}
		time.Sleep(10 * time.Millisecond) // polls the log
	}
	relay.Forget(name, 24)
	w.Close()
	if err := <-result; err != nil || stats.Dropped+stats.Undelivered > 0 {
		t.Fatalf("%v, %+v", err, stats)
	}
	wantObjects(t, relay.Objects(name), want[4*14:])
}

// A leftover that the relay does not have yet is asked for again, after the others; of those beyond the bound it is told that they are not
// known to have arrived.
func TestLeftoversTakeTurns(t *testing.T) {
	s := newSpool(1, time.Minute, 1<<20, false, discard)
	for i := range 4 {
		s.left = append(s.left, &leftover{relay: i})
	}
	s.forget(map[*leftover]bool{s.left[0]: false, s.left[1]: true, s.left[2]: false})
	var order []int
	for _, l := range s.left {
		order = append(order, l.relay)
	}
	if fmt.Sprint(order) != "[3 0 2]" {
		t.Errorf("left are %v", order)
	}
	s.left = make([]*leftover, maxLeft)
	s.disk = &disk{}
	g := &group{track: &track{name: name}, state: whole, objects: groups(10, 1)[:1], lastID: map[uint64]uint64{}, kept: kept{whole: true}}
	if !s.leave(g, 0) || s.Undelivered != 1 || len(s.left) != maxLeft {
		t.Errorf("%d undelivered, %d left", s.Undelivered, len(s.left))
	}
}
