package interop

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay"
)

// TestMoqRs: the Rust library of moq-dev publishes through a relay to itself and to us, and gets what we publish, byte for byte,
// with each draft over QUIC and WebTransport.
func TestMoqRs(t *testing.T) {
	if os.Getenv("EC_MOQ_RS") == "" {
		t.Skip("EC_MOQ_RS is not set: pip install --target DIR -r interop/testdata/python/requirements.txt, then EC_MOQ_RS=DIR")
	}
	each(t, wire.Versions(), []string{"moqt", "https"}, func(t *testing.T, v moqt.Version, scheme string) {
		s := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{v}})
		s.peerFrames(t, func(role string, track object.TrackName) *exec.Cmd {
			cmd := exec.Command("python3", "testdata/python/peer.py", role, s.url(scheme)+"/", s.fingerprint(t),
				strings.Join(track.Namespace, "/"), track.Name)
			cmd.Env = append(os.Environ(), "PYTHONPATH="+os.Getenv("EC_MOQ_RS"))
			return cmd
		})
	})
}
