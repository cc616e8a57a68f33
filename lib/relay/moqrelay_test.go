package relay

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"every.channel/ec/lib/foreign"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// TestMoqRelayUpstream: what is published at moq-relay of moq-dev is read at a relay of ours whose upstream it is.
func TestMoqRelayUpstream(t *testing.T) {
	onMoqRelay(t, func(t *testing.T, v moqt.Version, scheme string, run func(...string), through func(in, out moqTarget)) {
		addr := foreign.Address(t)
		listen := []string{"--listen", addr, "--listen-tls-generate", "localhost"}
		switch scheme {
		case "unix":
			addr = filepath.Join(t.TempDir(), "relay")
			listen = []string{"--listen-unix-bind", addr}
		case "tcp":
			listen = []string{"--listen-tcp-bind", addr}
		}
		run(append(listen, "--listen-version", fmt.Sprintf("moq-transport-%d", v))...)
		theirs := moqTarget{url: scheme + "://" + addr, v: v}
		s := startWith(t, t.TempDir(), "127.0.0.1:0", Config{Upstreams: []Upstream{{
			Relay: theirs.url, TLS: &tls.Config{InsecureSkipVerify: true}, Session: moqt.Config{Versions: []moqt.Version{v}},
		}}}, store.Config{}, &moqt.Config{Versions: []moqt.Version{v}})
		through(theirs, s.moq(t, v))
	})
}

// TestMoqRelayDials: a relay of ours is in moq-relay's cluster, which dials it and tells each what the other has: what is published at
// one is read at the other, both ways.
func TestMoqRelayDials(t *testing.T) {
	onMoqRelay(t, func(t *testing.T, v moqt.Version, scheme string, run func(...string), through func(in, out moqTarget)) {
		addr := "127.0.0.1:0"
		switch scheme {
		case "unix":
			addr = "unix://" + filepath.Join(t.TempDir(), "relay")
		case "tcp":
			addr = "tcp://" + addr
		}
		for _, published := range []string{"there", "here"} {
			t.Run("published "+published, func(t *testing.T) {
				s := startWith(t, t.TempDir(), addr, Config{}, store.Config{}, &moqt.Config{Versions: []moqt.Version{v}})
				ours := s.moq(t, v)
				theirs := moqTarget{url: "moqt://" + foreign.Address(t), v: v}
				run(slices.Concat(ours.connect(), []string{"--cluster-connect", ours.url, "--listen", theirs.url[len("moqt://"):],
					"--listen-tls-generate", "localhost"})...)
				if published == "there" {
					through(theirs, ours)
				} else {
					through(ours, theirs)
				}
			})
		}
	})
}

// onMoqRelay runs a test with each draft and transport; run starts moq-relay, through sends media with moq-cli.
func onMoqRelay(t *testing.T, test func(t *testing.T, v moqt.Version, scheme string, run func(...string), through func(in, out moqTarget))) {
	relay := foreign.Path(t, "EC_MOQ_RELAY", "the path of moq-relay, which cargo install makes")
	cli := moqCli(t)
	raw, want := encodeH264(t)
	for _, v := range wire.Versions() {
		for _, scheme := range []string{"moqt", "unix", "tcp"} {
			t.Run(scheme+" "+v.String(), func(t *testing.T) {
				test(t, v, scheme, func(args ...string) {
					foreign.Run(t, nil, nil, relay, append(args, "--auth-public", "**")...)
				}, func(in, out moqTarget) { moqCliThrough(t, cli, in, out, raw, want) })
			})
		}
	}
}
