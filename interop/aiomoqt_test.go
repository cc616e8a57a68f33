package interop

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay"
)

// aiomoqt is a program of aiomoqt, the Python library.
func aiomoqt(t *testing.T, program string) string {
	return filepath.Join(foreign.Path(t, "EC_AIOMOQT", "the folder where pip install aiomoqt put moq-interop-client; it needs Python 3.12"), program)
}

// draftNumber is a draft as aiomoqt's programs take it.
func draftNumber(v moqt.Version) string { return strings.TrimPrefix(v.String(), "moqt-") }

// TestAiomoqt: aiomoqt publishes through a relay to itself and to us, and gets what we publish, byte for byte, with each draft over
// QUIC and WebTransport. It trusts the relay by its certificate.
func TestAiomoqt(t *testing.T) {
	python := aiomoqt(t, "python")
	each(t, wire.Versions(), []string{"moqt", "https"}, func(t *testing.T, v moqt.Version, scheme string) {
		s := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{v}})
		s.peerFrames(t, func(role string, track object.TrackName) *exec.Cmd {
			return exec.Command(python, "testdata/aiomoqt/peer.py", role, s.url(scheme)+"/", draftNumber(v), filepath.Join(s.dir, "key.crt"),
				strings.Join(track.Namespace, "/"), track.Name)
		})
	})
}

// aiomoqtCases are all that moq-interop-client has.
var aiomoqtCases = []string{
	"setup-only", "announce-only", "publish-namespace-done", "subscribe-error", "rendezvous-timeout", "announce-subscribe",
	"subscribe-before-announce", "data-subgroup-basic", "subscribe-namespace-lifecycle", "namespace-discovery", "publish-track-only",
	"publish-track-subscribe", "fetch", "join",
}

// TestAiomoqtCases: the cases of aiomoqt's client against a relay. In namespace-discovery it learns a track's name from the PUBLISH
// that answers SUBSCRIBE_TRACKS, or draft 16's SUBSCRIBE_NAMESPACE.
func TestAiomoqtCases(t *testing.T) {
	client := aiomoqt(t, "moq-interop-client")
	each(t, wire.Versions(), []string{"moqt", "https"}, func(t *testing.T, v moqt.Version, scheme string) {
		s := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{v}})
		for _, name := range aiomoqtCases {
			if name == "rendezvous-timeout" && v == wire.Draft16 { // which has no RENDEZVOUS_TIMEOUT
				continue
			}
			t.Run(name, func(t *testing.T) {
				out, err := exec.CommandContext(within(t, patience), client, "--tls-disable-verify", "--draft", draftNumber(v), "-r", s.url(scheme), "-t", name).CombinedOutput()
				// A case that the client skips, or forgives, is "ok" with a remark.
				if err != nil || !strings.Contains(string(out), "\nok 1 - "+name+"\n") {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	})
}
