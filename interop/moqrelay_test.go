package interop

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/relay"
)

// TestMoqRelayUpstream: what is published at moq-relay of moq-dev is read at a relay of ours whose upstream it is.
func TestMoqRelayUpstream(t *testing.T) {
	m := newMoqRelay(t)
	m.everywhere(t, func(t *testing.T, v moqt.Version, scheme string) {
		addr := loopback.Address(t)
		listen := []string{"--listen", addr, "--listen-tls-generate", "localhost"}
		switch scheme {
		case "unix":
			addr = filepath.Join(t.TempDir(), "relay")
			listen = []string{"--listen-unix-bind", addr}
		case "tcp":
			listen = []string{"--listen-tcp-bind", addr}
		}
		m.run(t, append(listen, "--listen-version", fmt.Sprintf("moq-transport-%d", v))...)
		theirs := moqTarget{url: scheme + "://" + addr, v: v}
		conf := relay.ServerConfig{Versions: []moqt.Version{v}}
		conf.Relay.Upstreams = []relay.Upstream{{Relay: theirs.url, TLS: insecure(), Session: *only(v)}}
		m.media(t, theirs, start(t, "moqt", conf).moq(t, v, "moqt"))
	})
}

// TestMoqRelayDials: a relay of ours is in moq-relay's cluster, which dials it and tells each what the other has: what is published at
// one is read at the other, both ways.
func TestMoqRelayDials(t *testing.T) {
	m := newMoqRelay(t)
	for _, published := range []string{"there", "here"} {
		t.Run("published "+published, func(t *testing.T) {
			m.everywhere(t, func(t *testing.T, v moqt.Version, scheme string) {
				ours := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{v}}).moq(t, v, scheme)
				addr := loopback.Address(t)
				theirs := moqTarget{url: "moqt://" + addr, v: v}
				m.run(t, slices.Concat(ours.connect(), []string{"--cluster-connect", ours.url, "--listen", addr, "--listen-tls-generate", "localhost"})...)
				if published == "there" {
					m.media(t, theirs, ours)
				} else {
					m.media(t, ours, theirs)
				}
			})
		})
	}
}

// moqRelay is the programs of moq-dev, and what they are to carry.
type moqRelay struct {
	relay, cli string
	raw        string // a file of H.264
	want       [][]byte
}

func newMoqRelay(t *testing.T) (m moqRelay) {
	m.relay, m.cli = foreign.Path(t, "EC_MOQ_RELAY", "the path of moq-relay, which cargo install makes"), moqCli(t)
	m.raw, m.want = encodeH264(t)
	return m
}

// everywhere runs a test with each draft and transport.
func (m moqRelay) everywhere(t *testing.T, test func(t *testing.T, v moqt.Version, scheme string)) {
	each(t, wire.Versions(), []string{"moqt", "unix", "tcp"}, test)
}

func (m moqRelay) run(t *testing.T, args ...string) {
	t.Helper()
	foreign.Run(t, nil, nil, m.relay, append(args, "--auth-public", "**")...)
}

func (m moqRelay) media(t *testing.T, in, out moqTarget) {
	t.Helper()
	moqCliThrough(t, m.cli, in, out, m.raw, m.want)
}
