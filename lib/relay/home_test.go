package relay

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// A publisher that two others contradict again and again is quarantined: its streams are stopped, the operator sees it and can end that.
func TestQuarantineOfAPublisher(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	a, b, liar := s.publisher(t, ts), s.publisher(t, ts), s.publisher(t, ts)
	stopped := func(group uint64) { // the liar begins a group, which is not taken
		t.Helper()
		lie := part(group, 0)
		lie.Payload = []byte("something else")
		lie.Properties = object.Properties{Hash: object.Sum(lie.Payload), HasHash: true}.Append(nil)
		liar.put(lie)
		id := uint64(0)
		wait(t, "the stream to be stopped", func() bool {
			id++
			reset, ok := errors.AsType[*moqt.StreamResetError](liar.w.WriteObject(id, nil, 0, []byte("more")))
			return ok && reset.Remote && reset.Code == wire.ResetMalformedTrack
		})
		liar.w = nil
	}
	stored := int64(0)
	for g := range uint64(3) {
		a.group(g)
		b.group(g)
		stored += parts + 1
		wait(t, "both homes' groups", func() bool { st := s.Stats(); return st.Objects == stored && st.Duplicates == stored })
		stopped(g)
	}
	wait(t, "the quarantine", func() bool { return s.Stats().Quarantined == 1 })
	before := s.Stats().Conflicts
	stopped(3) // nobody else has brought that group
	if st := s.Stats(); st.Conflicts != before || st.Objects != stored {
		t.Errorf("an object of a quarantined home was looked at: %+v", st)
	}
	var quarantined []Sender
	for _, track := range s.trackStatus(time.Now()) {
		for _, p := range track.Senders {
			if p.Quarantined != nil {
				quarantined = append(quarantined, p)
			} else if p.Confirmed != 3 || p.Contradicted+p.Disputed != 0 {
				t.Errorf("%+v", p)
			}
		}
	}
	if len(quarantined) != 1 || quarantined[0].Contradicted != 3 {
		t.Fatalf("%+v", quarantined)
	}
	if _, err := s.pardon(json.RawMessage(`{"home":"nobody"}`)); err == nil {
		t.Error("a home that is not quarantined was pardoned")
	}
	args, _ := json.Marshal(Pardon{Home: quarantined[0].Home})
	if done, err := s.pardon(args); err != nil || done != (Pardoned{V: 1, Home: quarantined[0].Home, Ends: 1}) {
		t.Errorf("%+v, %v", done, err)
	}
	liar.group(3)
	wait(t, "the group of the pardoned home", func() bool { return s.Stats().Objects == stored+parts+1 })
}

func TestHostOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7:4443":            "192.0.2.7",
		"[::ffff:192.0.2.7]:1":      "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:99": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:99":         "fe80::/64",
		"127.0.0.1:5":               "127.0.0.1:5",
		"[::1]:5":                   "[::1]:5",
		"@":                         "no address",
		"":                          "no address",
	} {
		if got := hostOf(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
