package interop

import (
	"encoding/binary"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/relay"
)

// cloudflare is the folder with the programs of cloudflare's moq-rs.
func cloudflare(t *testing.T) string {
	return foreign.Path(t, "EC_MOQ_IETF", "the folder where cargo install put moq-pub, moq-sub, moq-test-client and moq-relay-ietf")
}

// TestCloudflareMedia: moq-pub publishes a fragmented MP4 through a relay, and moq-sub writes out the fragments that went in.
func TestCloudflareMedia(t *testing.T) {
	dir := cloudflare(t)
	raw, _ := encodeH264(t)
	each(t, []moqt.Version{wire.Draft18}, []string{"moqt", "https"}, func(t *testing.T, v moqt.Version, scheme string) {
		s := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{v}})
		url := s.url(scheme)
		var sent foreign.Tap
		media := play(t, raw, fragmented...)
		foreign.Run(t, io.TeeReader(media, &sent), nil, filepath.Join(dir, "moq-pub"), "--name", "cam", "--tls-disable-verify", url)
		s.namespace(t, nil)
		got := collect(t, 60, mdats, filepath.Join(dir, "moq-sub"), "--name", "cam", "--tls-disable-verify", url)
		checkRun(t, "moq-sub", got, mdats(sent.Bytes()), 0)
	})
}

// fragmented are ffmpeg's arguments for a fragmented MP4 that is written as it comes.
var fragmented = []string{"-f", "mp4", "-movflags", "cmaf+separate_moof+delay_moov+skip_trailer+frag_every_frame", "-"}

// mdats are the whole media data boxes of an MP4.
func mdats(b []byte) (boxes [][]byte) {
	for len(b) >= 8 {
		n := int(binary.BigEndian.Uint32(b))
		if n < 8 || n > len(b) {
			break
		}
		if string(b[4:8]) == "mdat" {
			boxes = append(boxes, b[:n])
		}
		b = b[n:]
	}
	return boxes
}

// TestCloudflareCases: moq-test-client's cases of draft 18, those of moq-interop-runner and more.
func TestCloudflareCases(t *testing.T) {
	dir := cloudflare(t)
	each(t, []moqt.Version{wire.Draft18}, []string{"moqt", "https"}, func(t *testing.T, v moqt.Version, scheme string) {
		for _, name := range []string{
			"setup-only", "publish-namespace-only", "subscribe-error", "publish-namespace-subscribe", "subscribe-before-publish-namespace",
			"publish-namespace-done", "publish-track-only", "publish-track-subscribe", "rendezvous-timeout", "data-subgroup-basic",
			"moq-test-subgroup-per-group-eog", "moq-test-subgroup-per-object", "moq-test-two-subgroups-eog", "moq-test-increments",
			"moq-test-forward-zero", "moq-test-datagram", "moq-test-datagram-eog", "moq-test-extensions",
		} {
			t.Run(name, func(t *testing.T) {
				// Its publisher ends its session while PUBLISH_DONE is on the way, its subscriber stops reading when that comes.
				for try := 1; ; try++ {
					s := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{v}})
					out, err := exec.CommandContext(within(t, patience), filepath.Join(dir, "moq-test-client"), "-r", s.url(scheme), "--tls-disable-verify", "-t", name).CombinedOutput()
					if err == nil && strings.Contains(string(out), "\nok 1 - "+name) {
						break
					}
					if try == 3 {
						t.Fatalf("%v\n%s", err, out)
					}
					t.Logf("once more: %v\n%s", err, out)
				}
			})
		}
	})
}
