package relay

import (
	"context"
	"encoding/json"
	"net"
	"testing"
	"time"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// TestStatus: the operator's door tells of a publisher, a viewer over WebTransport, a track and the store as they are.
func TestStatus(t *testing.T) {
	dir, ready := t.TempDir(), make(chan []net.Addr, 1)
	rule := store.Rule{Prefix: ts.Namespace, MaxAge: time.Hour, MaxBytes: 1 << 20}
	conf := ServerConfig{
		Listen: []string{"127.0.0.1:0"}, Dir: dir, Version: "v9", Relay: Config{DrainTimeout: time.Millisecond},
		Store: store.Config{MaxBytes: 1 << 30, Rules: []store.Rule{rule}},
		Ready: func(up Started) { ready <- up.Listen },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, conf) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	addr := (<-ready)[0].String()
	fp, err := Fingerprint(conf)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := moqt.PinFingerprint(fp)
	if err != nil {
		t.Fatal(err)
	}
	status := func() (s Status) {
		t.Helper()
		b, err := admin.Call(within(t, time.Minute), dir, "status", nil)
		if err == nil {
			err = json.Unmarshal(b, &s)
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	key, err := keys.LoadKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	empty := status()
	if empty.V != 1 || empty.Version != "v9" || empty.Uptime < 0 || empty.Key.Fingerprint != fp || len(empty.Key.ID) != 64 || keys.OfPrivateKey(key).String() != fp {
		t.Errorf("%+v", empty)
	}
	if len(empty.Listen) != 1 || empty.Listen[0] != addr || len(empty.Sessions) != 0 || len(empty.Tracks) != 0 {
		t.Errorf("%+v", empty)
	}
	if want := []Bound{{Bytes: 1 << 30}, {ts.Namespace.String(), 3600, 1 << 20}}; len(empty.Store.Retention) != 2 || empty.Store.Retention[0] != want[0] || empty.Store.Retention[1] != want[1] {
		t.Errorf("%+v, want %+v", empty.Store.Retention, want)
	}

	s := &server{addr: addr, tls: pin}
	p := s.publisher(t, ts)
	p.group(7)
	web := &server{addr: "https://" + addr + "/watch?x", tls: pin}
	var v *viewer
	wait(t, "the track", func() bool { v, err = web.view(t, ts, from(0)); return err == nil })
	v.whole(1)
	got := status()
	if len(got.Sessions) != 2 {
		t.Fatalf("%+v", got.Sessions)
	}
	pub, sub := got.Sessions[0], got.Sessions[1]
	if pub.Path != "quic" || pub.Role != "client" || pub.Publishes != 1 || pub.Received.Objects != parts+1 || pub.Draft != wire.Versions()[0] || pub.Implementation != "every.channel" {
		t.Errorf("publisher %+v", pub)
	}
	if sub.Path != "webtransport" || sub.Publishes != 0 || sub.Sent.Objects != parts+1 || sub.Sent.Bytes == 0 || sub.URL != "/watch?x" || sub.Since.Before(pub.Since) {
		t.Errorf("viewer %+v", sub)
	}
	if len(got.Tracks) != 1 || got.Tracks[0].Track != ts.String() || got.Tracks[0].Publishers != 1 || got.Tracks[0].Subscribers != 1 ||
		got.Tracks[0].Group == nil || *got.Tracks[0].Group != 7 || got.Tracks[0].Age == nil || *got.Tracks[0].Age < 0 || *got.Tracks[0].Age > 3600 {
		t.Errorf("tracks %+v", got.Tracks)
	}
	if got.Counters.Objects != parts+1 || got.Store.Groups != 1 || got.Store.Bytes == 0 || got.Store.Dir != dir {
		t.Errorf("%+v, %+v", got.Counters, got.Store)
	}
	b, err := admin.Call(within(t, time.Minute), dir, "store", nil)
	var all Stored
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil || len(all.Tracks) != 1 {
		t.Fatalf("%s, %v", b, err)
	}
	if st := all.Tracks[0]; st.Track != ts.String() || st.Groups != 1 || st.First != 7 || st.Last != 7 || st.Bytes != got.Store.Bytes || st.Oldest != st.Newest || time.Since(st.Newest) > time.Hour {
		t.Errorf("%+v", st)
	}
}

// TestStatusWithoutPublisher: a track that is only stored, and one in memory whose publisher left, have their newest group and its age; an
// upstream is told from clients.
func TestStatusWithoutPublisher(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, "127.0.0.1:0", Config{}, store.Config{})
	p := s.publisher(t, ts)
	p.group(1)
	p.group(2)
	s.stored(t, 2*(parts+1))
	p.c.leave()
	wait(t, "the publisher to leave", func() bool { return len(s.peers()) == 0 })
	check := func(when string, s *server) {
		t.Helper()
		list := s.trackStatus(time.Now())
		if len(list) != 1 || list[0].Publishers != 0 || list[0].Group == nil || *list[0].Group != 2 || list[0].Age == nil || *list[0].Age < 0 {
			t.Errorf("%s: %+v", when, list)
		}
	}
	check("in memory", s)
	s.stop()
	again := start(t, dir, "127.0.0.1:0", Config{}, store.Config{})
	check("stored", again)
	edge := start(t, t.TempDir(), "127.0.0.1:0", Config{Upstreams: []Upstream{{Relay: "moqt://" + again.addr, TLS: again.tls}}}, store.Config{})
	edge.knows(t, ts.Namespace)
	if l := edge.peers(); len(l) != 1 || l[0].Role != "upstream" || l[0].Peer != "moqt://"+again.addr || l[0].Path != "quic" {
		t.Errorf("%+v", l)
	}
}
