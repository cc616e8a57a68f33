package relay

import (
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"every.channel/ec/lib/foreign"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// TestMoqRelayIETF: a relay of ours and cloudflare's moq-relay-ietf, each the upstream of the other in turn: moq-pub publishes at the
// upstream, and moq-sub reads from the other what went in.
func TestMoqRelayIETF(t *testing.T) {
	dir := cloudflare(t)
	if _, err := os.Stat(filepath.Join(dir, "moq-relay-ietf")); err != nil {
		t.Skip(err)
	}
	raw, _ := encodeH264(t)
	sessions := moqt.Config{Versions: []moqt.Version{wire.Draft18}}
	insecure := &tls.Config{InsecureSkipVerify: true}
	for _, upstream := range []string{"theirs", "ours"} {
		t.Run("upstream "+upstream, func(t *testing.T) {
			addr := foreign.Address(t)
			theirs := "moqt://" + addr
			var conf Config
			if upstream == "theirs" {
				conf.Upstreams = []Upstream{{Relay: theirs, TLS: insecure, Session: sessions}}
			}
			s := startWith(t, t.TempDir(), "127.0.0.1:0", conf, store.Config{}, &sessions)
			in, out := theirs, s.url(t)
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
			for ctx := within(t, browserTimeout); ; { // until it listens
				c, err := moqt.Dial(ctx, theirs, insecure, &sessions)
				if err == nil {
					c.Close(wire.NoError, "")
					break
				}
				if ctx.Err() != nil {
					t.Fatal(err)
				}
			}
			var sent foreign.Tap
			media := play(t, raw, "-f", "mp4", "-movflags", "cmaf+separate_moof+delay_moov+skip_trailer+frag_every_frame", "-")
			foreign.Run(t, io.TeeReader(media, &sent), nil, filepath.Join(dir, "moq-pub"), "--name", "cam", "--tls-disable-verify", in)
			wait(t, "moq-pub", func() bool { return len(s.namespaces()) > 0 })
			got := collect(t, 60, mdats, filepath.Join(dir, "moq-sub"), "--name", "cam", "--tls-disable-verify", out)
			checkRun(t, "moq-sub", got, mdats(sent.Bytes()), 0)
		})
	}
}
