package relay

import (
	"context"
	"crypto/tls"
	"path/filepath"
	"testing"
	"time"

	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// gate lets all in or none.
type gate bool

func (g gate) Admit(context.Context, moqt.PeerInfo) error { return nil }

func (g gate) Peer(context.Context, *moqt.Session) (string, bool) { return "the test", bool(g) }

func (g gate) Who(s *moqt.Session) string {
	if id, ok := mesh.IDOf(s); ok {
		return id.String()
	}
	return ""
}

// peer is how another relay becomes this one's peer.
func (s *server) peer() Upstream {
	u := Upstream{Relay: s.addr, TLS: s.tls, Peer: true}
	if len(s.addr) > 0 && s.addr[0] != 'u' {
		u.Relay = "moqt://" + s.addr
	}
	return u
}

// home starts a relay with a gate, and peers.
func home(t testing.TB, addr string, g Gate, peers ...Upstream) *server {
	t.Helper()
	return startWith(t, homeDir(t, peers), addr, Config{Gate: g, Upstreams: peers, Linger: time.Second}, store.Config{}, &moqt.Config{AskCertificate: true})
}

// homeDir is the folder of a relay that shows its key to its peers.
func homeDir(t testing.TB, peers []Upstream) string {
	t.Helper()
	dir := t.TempDir()
	certs, err := keys.Open(keys.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for i := range peers {
		peers[i].TLS = withKey(peers[i].TLS, certs)
	}
	return dir
}

// hears waits until a relay has heard from another that a namespace is live or stored there.
func (s *server) hears(t testing.TB, ns object.Namespace) {
	t.Helper()
	wait(t, "the namespace at a peer", func() bool {
		return len(s.keepers(object.TrackName{Namespace: ns, Name: "x"}, nil)) > 0
	})
}

var otherTrack = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "4"}, Name: "ts_t07"}

var insecure = &tls.Config{InsecureSkipVerify: true}

// One connection serves both ways, whoever dialed: what is published at either end is had at the other, live and past.
func TestPeers(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "unix"} {
		for _, v := range wire.Versions() {
			t.Run(address+" "+v.String(), func(t *testing.T) {
				address := address
				if address == "unix" {
					address = "unix://" + filepath.Join(t.TempDir(), "relay")
				}
				a := home(t, address, gate(true))
				up := a.peer()
				up.Session.Versions = []moqt.Version{v}
				b := home(t, "127.0.0.1:0", gate(false), up)
				for _, way := range []struct {
					from, to *server
					track    object.TrackName
				}{{a, b, ts}, {b, a, otherTrack}} {
					p := way.from.publisher(t, way.track)
					p.group(1)
					way.from.stored(t, parts+1)
					way.to.hears(t, way.track.Namespace)
					v := way.to.viewer(t, way.track, from(1))
					p.group(2)
					p.group(3)
					v.whole(3)
					if got := way.to.fetchAll(t, way.track, moqt.Location{}); len(got) != 3 {
						t.Errorf("fetched %v", got)
					}
				}
				if n := a.Stats().Sessions; n < 1 {
					t.Errorf("%d sessions", n)
				}
				if l := b.relays(nil).Relays; l[0].State != "peer" {
					t.Errorf("a peer is shown as %+v", l)
				}
			})
		}
	}
}

// A session that the gate does not let be a peer is served, and nothing is asked of it.
func TestStrangerIsNobodysUpstream(t *testing.T) {
	for name, g := range map[string]Gate{"refused": gate(false), "no gate": nil} {
		t.Run(name, func(t *testing.T) {
			a := home(t, "127.0.0.1:0", g)
			b := home(t, "127.0.0.1:0", nil, a.peer())
			here, there := a.publisher(t, ts), b.publisher(t, otherTrack)
			here.group(1)
			there.group(1)
			b.hears(t, ts.Namespace) // so a has answered what b asked as a peer
			v := b.viewer(t, ts, from(1))
			v.whole(1)
			if l := a.keepers(otherTrack, nil); len(l) != 0 || a.chained() {
				t.Errorf("the stranger is an upstream: %v", l)
			}
			wait(t, "the stranger to say so", func() bool { return b.relays(nil).Relays[0].State == "upstream" })
			if p := b.peers()[0]; p.Role != "upstream" {
				t.Errorf("the stranger takes the other for %q", p.Role)
			}
			if _, err := a.view(t, otherTrack, fromNow); err == nil {
				t.Error("the stranger's track is served")
			}
		})
	}
}

// Peers that both dial each other have two connections and use one.
func TestPeersDialEachOther(t *testing.T) {
	addrs := addresses(t, 2)
	a := home(t, addrs[0], gate(true), Upstream{Relay: "moqt://" + addrs[1], TLS: insecure, Peer: true})
	b := home(t, addrs[1], gate(true), Upstream{Relay: "moqt://" + addrs[0], TLS: insecure, Peer: true})
	p := a.publisher(t, ts)
	p.group(1)
	a.stored(t, parts+1)
	wait(t, "both connections", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		known := 0
		for _, u := range b.upstreams {
			if u.s != nil && u.id == a.id && len(u.routes) > 0 {
				known++
			}
		}
		return known == 2
	})
	v := b.viewer(t, ts, from(1))
	p.group(2)
	v.whole(2)
	if n := a.Stats().Subscribers; n != 1 {
		t.Errorf("%d subscriptions for one viewer", n)
	}
	if d := b.Stats().Duplicates; d != 0 {
		t.Errorf("%d objects came twice", d)
	}
	p.c.leave()
	v.c.leave()
	for _, s := range []*server{a, b} { // nobody holds on to what the other told of it
		wait(t, "the namespace to be live no more", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, u := range s.upstreams {
				if _, ok := u.distance(ts.Namespace, true); ok {
					return false
				}
			}
			return true
		})
	}
}

// Three relays, each the peer of both others, hand each object to each other relay once.
func TestPeersInTriangle(t *testing.T) {
	addrs := addresses(t, 3)
	to := func(i int) Upstream { return Upstream{Relay: "moqt://" + addrs[i], TLS: insecure, Peer: true} }
	relays := []*server{
		home(t, addrs[0], gate(true), to(1)),
		home(t, addrs[1], gate(true), to(2)),
		home(t, addrs[2], gate(true), to(0)),
	}
	p := relays[0].publisher(t, ts)
	p.group(1)
	relays[0].stored(t, parts+1)
	var viewers []*viewer
	for _, r := range relays[1:] {
		r.hears(t, ts.Namespace)
		wait(t, "the short way", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, u := range r.usable() {
				if n, ok := u.distance(ts.Namespace, true); ok && n == 1 {
					return true
				}
			}
			return false
		})
		viewers = append(viewers, r.viewer(t, ts, from(1)))
	}
	p.group(2)
	p.group(3)
	for _, v := range viewers {
		v.whole(3)
	}
	for i, r := range relays {
		if s := r.Stats(); s.Duplicates+s.Conflicts+s.Refused != 0 {
			t.Errorf("relay %d: %+v", i, s)
		}
	}
	if n := relays[0].Stats().Subscribers; n != 2 {
		t.Errorf("%d subscriptions at the origin", n)
	}
	p.c.leave()
	for _, r := range relays {
		wait(t, "the namespace to be live no more", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, u := range r.upstreams {
				if _, ok := u.distance(ts.Namespace, true); ok {
					return false
				}
			}
			return true
		})
	}
}

// A peer that came here and is lost is forgotten; when it is back, subscribers go on with what they missed.
func TestPeerComesBack(t *testing.T) {
	a := home(t, "127.0.0.1:0", gate(true))
	dir := t.TempDir()
	conf := Config{Gate: gate(false), Upstreams: []Upstream{a.peer()}, Linger: time.Second}
	b := start(t, dir, "127.0.0.1:0", conf, store.Config{})
	p := b.publisher(t, ts)
	p.group(1)
	a.hears(t, ts.Namespace)
	v := a.viewer(t, ts, from(1))
	v.whole(1)
	p.c.leave()
	b.stop()
	wait(t, "the loss", func() bool { return !a.chained() })
	b = start(t, dir, "127.0.0.1:0", conf, store.Config{})
	p = b.publisher(t, ts)
	p.group(2)
	p.group(3)
	v.whole(3)
}
