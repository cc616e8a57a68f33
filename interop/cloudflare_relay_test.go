package interop

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/relay"
)

// TestCloudflareRelay: a relay of ours and cloudflare's moq-relay-ietf, each the upstream of the other in turn: moq-pub publishes at the
// upstream, and moq-sub reads from the other what went in.
func TestCloudflareRelay(t *testing.T) {
	dir := cloudflare(t)
	if _, err := os.Stat(filepath.Join(dir, "moq-relay-ietf")); err != nil {
		t.Skip(err)
	}
	raw, _ := encodeH264(t)
	sessions := only(wire.Draft18)
	for _, upstream := range []string{"theirs", "ours"} {
		t.Run("upstream "+upstream, func(t *testing.T) {
			addr := loopback.Address(t)
			theirs := "moqt://" + addr
			conf := relay.ServerConfig{Versions: sessions.Versions}
			if upstream == "theirs" {
				conf.Relay.Upstreams = []relay.Upstream{{Relay: theirs, TLS: insecure(), Session: *sessions}}
			}
			s := start(t, "moqt", conf)
			in, out := theirs, s.url("moqt")
			known := filepath.Join(t.TempDir(), "known.json")
			if upstream == "ours" {
				in, out = out, in
				text := fmt.Sprintf(`{"namespaces": {"": {"%s": "%s"}}}`, hex.EncodeToString([]byte("cam")), in)
				if err := os.WriteFile(known, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cert, key := pemFiles(t)
			foreign.Run(t, nil, nil, filepath.Join(dir, "moq-relay-ietf"), "--bind", addr, "--tls-cert", cert, "--tls-key", key,
				"--tls-disable-verify", "--coordinator-file", known)
			dialPeer(t, theirs, sessions).Close(wire.NoError, "")
			var sent foreign.Tap
			media := play(t, raw, fragmented...)
			foreign.Run(t, io.TeeReader(media, &sent), nil, filepath.Join(dir, "moq-pub"), "--name", "cam", "--tls-disable-verify", in)
			s.namespace(t, nil)
			got := collect(t, 60, mdats, filepath.Join(dir, "moq-sub"), "--name", "cam", "--tls-disable-verify", out)
			checkRun(t, "moq-sub", got, mdats(sent.Bytes()), 0)
		})
	}
}
