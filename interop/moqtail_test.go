package interop

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay"
)

// moqtailPeer is the program of testdata/moqtail.
func moqtailPeer(t *testing.T) string {
	return foreign.Path(t, "EC_MOQTAIL_PEER", "cargo build --release --locked in interop/testdata/moqtail makes moqtail-peer")
}

// moqtailTrack is what it publishes.
var moqtailTrack = object.TrackName{Namespace: object.Namespace{"rust", "moqtail"}, Name: "objects"}

func moqtailPart(group, id uint64) []byte {
	n := 400 + int(id)
	if id == 2 {
		n = 16000
	}
	return bytes.Repeat(fmt.Appendf(nil, "%d/%d ", group, id), n)
}

// TestMoqtail: the Rust library of moqtail publishes through a relay, announced and unasked, to itself and to us, gets what we publish, live
// and past, and carries it from one relay to another, byte for byte.
func TestMoqtail(t *testing.T) {
	peer := moqtailPeer(t)
	each(t, []moqt.Version{wire.Draft22}, []string{"moqt", "https"}, func(t *testing.T, v moqt.Version, scheme string) {
		for _, how := range []string{"publish", "push"} {
			t.Run(how, func(t *testing.T) { moqtailPublishes(t, peer, how, v, scheme) })
		}
		t.Run("ours", func(t *testing.T) { moqtailReads(t, peer, v, scheme) })
		t.Run("between ours", func(t *testing.T) { moqtailForwards(t, peer, v, scheme) })
	})
}

func moqtailPublishes(t *testing.T, peer, how string, v moqt.Version, scheme string) {
	s := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{v}})
	runMoqtail(t, peer, moqtailTrack, how, s.url(scheme))
	sub := s.subscribe(t, moqtailTrack, moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterNextGroupStart}})
	var newest uint64
	for range 5 {
		g, objects := readGroup(t, sub)
		checkMoqtail(t, "to us", g, objects, moqtailPart)
		newest = max(newest, g)
	}
	s.stored(t, moqtailTrack, 10)
	for _, how := range []string{"fetch", "subscribe"} {
		groups := runMoqtail(t, peer, moqtailTrack, how, s.url(scheme))
		until(t, "groups by "+how, func() bool { return groups.whole(t, how, moqtailPart) >= 10 })
	}

	// What is past.
	fetch, err := s.dial(t).Fetch(within(t, patience), moqtailTrack, wire.Location{Group: newest - 2}, wire.Location{Group: newest}, moqt.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for g := newest - 2; g < newest; g++ {
		for i := range uint64(parts) {
			o, err := fetch.Next()
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(fetch); err != nil || o.Group != g || o.ID != i || !bytes.Equal(b, moqtailPart(g, i)) {
				t.Fatalf("object %d/%d: %v, not what was published", o.Group, o.ID, err)
			}
		}
	}
}

func moqtailReads(t *testing.T, peer string, v moqt.Version, scheme string) {
	s := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{v}})
	p := s.publish(t, broadcast)
	for id := range uint64(5) {
		p.group(t, id)
	}
	s.stored(t, broadcast, 5)
	ours := func(g, i uint64) []byte { return part(g, i).Payload }
	live := runMoqtail(t, peer, broadcast, "subscribe", s.url(scheme))
	past := runMoqtail(t, peer, broadcast, "fetch", s.url(scheme))
	until(t, "the past by fetch", func() bool { return past.whole(t, "fetch", ours) == 5 })
	until(t, "the past by a fill", func() bool { return live.whole(t, "fill", ours) == 5 })
	for id := range uint64(5) {
		p.group(t, 5+id)
	}
	until(t, "what is live", func() bool { return live.whole(t, "live", ours) == 10 })
}

// moqtailForwards: it subscribes at one relay, with a fill, and publishes what it gets at another: payloads and properties.
func moqtailForwards(t *testing.T, peer string, v moqt.Version, scheme string) {
	from := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{v}})
	to := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{v}})
	p := from.publish(t, broadcast)
	for id := range uint64(5) {
		p.group(t, id)
	}
	from.stored(t, broadcast, 5)
	runMoqtail(t, peer, broadcast, "forward", from.url(scheme), to.url(scheme))
	to.stored(t, broadcast, 4) // the last one may go on
	for id := range uint64(5) {
		p.group(t, 5+id)
	}
	to.stored(t, broadcast, 9)
	fetch, err := to.dial(t).Fetch(within(t, patience), broadcast, wire.Location{}, wire.Location{Group: 9}, moqt.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for n := uint64(0); n < 10*parts; {
		o, err := fetch.Next()
		if err != nil {
			t.Fatalf("after %d objects: %v", n, err)
		}
		if o.Kind != moqt.FetchedObject {
			continue // the end of a group
		}
		b, err := io.ReadAll(fetch)
		want := part(n/parts, n%parts)
		if err != nil || o.Group != want.Group || o.ID != want.ID || !bytes.Equal(b, want.Payload) || !bytes.Equal(o.Properties, want.Properties) {
			t.Fatalf("object %d/%d: %v, not what was published as %d/%d", o.Group, o.ID, err, want.Group, want.ID)
		}
		n++
	}
}

func checkMoqtail(t *testing.T, who string, group uint64, objects [][]byte, payload func(group, id uint64) []byte) {
	t.Helper()
	if len(objects) != parts {
		t.Fatalf("%s: group %d has %d objects", who, group, len(objects))
	}
	for i, b := range objects {
		if !bytes.Equal(b, payload(group, uint64(i))) {
			t.Fatalf("%s: object %d/%d is not what was published", who, group, i)
		}
	}
}

// moqtailGroups are the payloads that moqtail-peer got.
type moqtailGroups struct {
	mu     sync.Mutex
	groups map[uint64]map[uint64][]byte
}

// whole checks what came and counts the groups that are whole.
func (m *moqtailGroups) whole(t *testing.T, who string, payload func(group, id uint64) []byte) (n int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for g, objects := range m.groups {
		for i, b := range objects {
			if !bytes.Equal(b, payload(g, i)) {
				t.Fatalf("%s: object %d/%d is not what was published", who, g, i)
			}
		}
		if len(objects) == parts {
			n++
		}
	}
	return n
}

// runMoqtail runs moqtail-peer until the end of the test; command is what it does, and where.
func runMoqtail(t *testing.T, peer string, track object.TrackName, command ...string) *moqtailGroups {
	t.Helper()
	in, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, lines := io.Pipe()
	m, over := &moqtailGroups{groups: map[uint64]map[uint64][]byte{}}, make(chan struct{})
	go func() {
		defer close(over)
		for d := json.NewDecoder(out); ; {
			var o struct {
				Group, Object, Status uint64
				Payload               string
			}
			if d.Decode(&o) != nil {
				io.Copy(io.Discard, out)
				return
			}
			b, err := hex.DecodeString(o.Payload)
			if err != nil {
				t.Error(err)
			}
			if o.Status != uint64(wire.StatusNormal) {
				continue
			}
			m.mu.Lock()
			if m.groups[o.Group] == nil {
				m.groups[o.Group] = map[uint64][]byte{}
			}
			m.groups[o.Group][o.Object] = b
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() { lines.Close(); <-over; in.Close(); hold.Close() })
	foreign.Run(t, in, lines, peer, append(command, strings.Join(track.Namespace, "/"), track.Name)...)
	return m
}

// TestMoqtailRelay: what ec-pub publishes at moqtail's relay, ec-sub reads there, byte for byte, with the draft that it speaks.
func TestMoqtailRelay(t *testing.T) {
	program := foreign.Path(t, "EC_MOQTAIL_RELAY", "the path of moqtail's relay; it listens at every address, so run this in a network namespace")
	addr := loopback.Address(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := pemFiles(t)
	foreign.Run(t, nil, nil, program, "--port", port, "--cert-file", cert, "--key-file", key, "--log-folder", t.TempDir())
	t.Logf("it speaks %v", dialPeer(t, "moqt://"+addr, &moqt.Config{}).Version())
	toolsThrough(t, tools(t), addr)
}
