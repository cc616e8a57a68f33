package relay

import (
	"encoding/binary"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"every.channel/ec/lib/foreign"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// cloudflare is the folder with the programs of cloudflare's moq-rs.
func cloudflare(t *testing.T) string {
	return foreign.Path(t, "EC_MOQ_IETF", "the folder where cargo install put moq-pub, moq-sub, moq-test-client and moq-relay-ietf")
}

// TestCloudflareMedia: moq-pub publishes a fragmented MP4 through a relay, and moq-sub writes out the fragments that went in.
func TestCloudflareMedia(t *testing.T) {
	dir := cloudflare(t)
	raw, _ := encodeH264(t)
	for _, scheme := range []string{"moqt", "https"} {
		t.Run(scheme, func(t *testing.T) {
			s := startWith(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{}, &moqt.Config{Versions: []moqt.Version{wire.Draft18}})
			url := scheme + "://" + s.addr
			var sent foreign.Tap
			media := play(t, raw, "-f", "mp4", "-movflags", "cmaf+separate_moof+delay_moov+skip_trailer+frag_every_frame", "-")
			foreign.Run(t, io.TeeReader(media, &sent), nil, filepath.Join(dir, "moq-pub"), "--name", "cam", "--tls-disable-verify", url)
			wait(t, "moq-pub", func() bool { return len(s.namespaces()) > 0 })

			got := collect(t, 60, mdats, filepath.Join(dir, "moq-sub"), "--name", "cam", "--tls-disable-verify", url)
			checkRun(t, "moq-sub", got, mdats(sent.Bytes()), 0)
		})
	}
}

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
	for _, scheme := range []string{"moqt", "https"} {
		for _, name := range []string{
			"setup-only", "publish-namespace-only", "subscribe-error", "publish-namespace-subscribe", "subscribe-before-publish-namespace",
			"publish-namespace-done", "publish-track-only", "publish-track-subscribe", "rendezvous-timeout", "data-subgroup-basic",
			"moq-test-subgroup-per-group-eog", "moq-test-subgroup-per-object", "moq-test-two-subgroups-eog", "moq-test-increments",
			"moq-test-forward-zero", "moq-test-datagram", "moq-test-datagram-eog", "moq-test-extensions",
		} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				// Its publisher ends its session while PUBLISH_DONE is on the way, its subscriber stops reading when that comes.
				for try := 1; ; try++ {
					s := startWith(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{}, &moqt.Config{Versions: []moqt.Version{wire.Draft18}})
					out, err := exec.CommandContext(within(t, browserTimeout), filepath.Join(dir, "moq-test-client"), "-r", scheme+"://"+s.addr, "--tls-disable-verify", "-t", name).CombinedOutput()
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
	}
}
