package relay

import (
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// TestTakenDownStaysDown: what is taken down at a relay that keeps a whole copy comes back from nowhere, though it goes on at the relay behind it;
// lifted, the copy is whole.
func TestTakenDownStaysDown(t *testing.T) {
	origin := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	p := origin.publisher(t, ts)
	last := uint64(0)
	publish := func(n int) {
		for range n {
			last++
			p.group(last)
		}
		origin.stored(t, int64(last)*(parts+1))
	}
	publish(10)
	d := openDoor(t, ServerConfig{Listen: []string{"127.0.0.1:0"}, Relay: Config{Upstreams: []Upstream{origin.upstream()}, Mirror: []object.Namespace{{"ec"}}}})
	pin, err := moqt.PinFingerprint(d.pin)
	fatal(t, err)
	m := &server{dir: d.dir, addr: d.addr, tls: pin}
	has := func() int {
		t.Helper()
		all, err := ask[Stored](t, d, StoreList, nil)
		fatal(t, err)
		for _, tr := range all.Tracks {
			if tr.Track == ts.String() {
				return tr.Whole
			}
		}
		return 0
	}
	held := func() int {
		t.Helper()
		all, err := ask[TakedownsRecord](t, d, TakedownList, nil)
		fatal(t, err)
		return all.Takedowns[0].Groups
	}
	whole := func() { t.Helper(); wait(t, "a whole copy", func() bool { return has() == int(last) }) }
	whole()

	made, err := ask[TakedownRecord](t, d, TakedownAdd, TakedownOrder{Terms: archive.Terms{Names: []string{ts.String()}}})
	fatal(t, err)
	was := held()
	publish(10)
	time.Sleep(3 * time.Second) // in which a mirror would have looked for what it lacks
	if n := has(); n != 0 || held() != was || was != made.Groups || was < 9 {
		t.Errorf("%d groups, %d held, %d were when they were taken down", n, held(), was)
	}
	if _, err := m.dial(t, nil).Subscribe(within(t, time.Minute), ts, from(0)); codeOf(err) != "request UNAUTHORIZED" {
		t.Errorf("SUBSCRIBE: %v", err)
	}
	if got := origin.fetchAll(t, ts, moqt.Location{}); len(got) != int(last) {
		t.Errorf("the other relay has %d groups", len(got))
	}
	_, err = ask[TakedownRecord](t, d, TakedownLift, LiftOrder{ID: made.ID})
	fatal(t, err)
	publish(2)
	whole()

	// by a payload's hash, which is found when it is read
	hash := object.Sum(part(7, 2).Payload)
	_, err = ask[TakedownRecord](t, d, TakedownAdd, TakedownOrder{Terms: archive.Terms{Hash: hex.EncodeToString(hash[:])}})
	fatal(t, err)
	for range 3 {
		got := m.fetchAll(t, ts, moqt.Location{})
		if slices.Contains(got[7], 2) || len(got[6]) != parts || len(got[8]) != parts {
			t.Errorf("groups 6, 7, 8: %v %v %v", got[6], got[7], got[8])
		}
		time.Sleep(time.Second)
	}
	if n := has(); n != int(last)-1 {
		t.Errorf("%d of %d groups", n, last)
	}
	wait(t, "the group that was found to be noted", func() bool { return auditLine(t, d.dir, "takedown-found") != "" })
	if got := origin.fetchAll(t, ts, moqt.Location{}); !slices.Contains(got[7], 2) {
		t.Error("the other relay does not have it any more")
	}
}
