package interop

import (
	"fmt"
	"slices"
	"testing"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/relay"
)

// TestMoqCli: moq-cli of moq-dev publishes H.264 through a relay, and another one writes out what was put in, with each draft
// over QUIC, WebTransport and QMux.
func TestMoqCli(t *testing.T) {
	program := moqCli(t)
	raw, want := encodeH264(t)
	each(t, wire.Versions(), []string{"moqt", "https", "unix", "tcp", "ws"}, func(t *testing.T, v moqt.Version, scheme string) {
		at := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{v}}).moq(t, v, scheme)
		moqCliThrough(t, program, at, at, raw, want)
	})
}

func moqCli(t *testing.T) string {
	return foreign.Path(t, "EC_MOQ_CLI", "the path of moq, which cargo install moq-cli makes")
}

// moqTarget is a relay as programs of moq-dev are told of it.
type moqTarget struct {
	url, fingerprint string // of its certificate; empty: any
	v                moqt.Version
}

// moq is how this relay is dialed.
func (s *server) moq(t *testing.T, v moqt.Version, scheme string) moqTarget {
	t.Helper()
	return moqTarget{url: s.url(scheme), fingerprint: s.fingerprint(t), v: v}
}

// connect are the flags for dialing it.
func (m moqTarget) connect() []string {
	trust := []string{"--connect-tls-insecure"}
	if m.fingerprint != "" {
		trust = []string{"--connect-tls-fingerprint", m.fingerprint}
	}
	return append(trust, "--connect-version", fmt.Sprintf("moq-transport-%d", m.v))
}

// moqCliThrough publishes with one moq-cli and reads with another until 100 slices came, which are a run of what was put in. At its
// start the reader cancels and subscribes again; on a busy machine the group in which it does that, 25 slices, is lost to it.
func moqCliThrough(t *testing.T, program string, in, out moqTarget, raw string, want [][]byte) {
	t.Helper()
	moq := func(at moqTarget, args ...string) []string {
		return slices.Concat([]string{"--connect", at.url}, at.connect(), []string{"--broadcast", "live/cam.hang"}, args)
	}
	foreign.Run(t, play(t, raw, "-f", "h264", "-"), nil, program, moq(in, "import", "avc3")...)
	got := collect(t, 100, func(b []byte) [][]byte {
		got := slicesOf(annexB(b))
		got = got[:max(len(got)-1, 0)] // the last one may be cut
		// Whenever the catalog changes, it writes the group it is in once more.
		seen := map[string]bool{}
		return slices.DeleteFunc(got, func(b []byte) bool {
			again := seen[string(b)]
			seen[string(b)] = true
			return again
		})
	}, program, moq(out, "export", "h264")...)
	checkRun(t, "moq export", got, want, 25)
}
