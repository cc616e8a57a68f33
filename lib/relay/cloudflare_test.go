package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// cloudflare is the folder with the programs of cloudflare's moq-rs.
func cloudflare(t *testing.T) string {
	dir := os.Getenv("EC_MOQ_IETF")
	if dir == "" {
		t.Skip("EC_MOQ_IETF is not set: the folder where cargo install put moq-pub, moq-sub and moq-test-client")
	}
	return dir
}

// TestCloudflareMedia: moq-pub publishes a fragmented MP4 through a relay, and moq-sub writes out the fragments that went in.
func TestCloudflareMedia(t *testing.T) {
	dir := cloudflare(t)
	raw, _ := encodeH264(t)
	for _, scheme := range []string{"moqt", "https"} {
		t.Run(scheme, func(t *testing.T) {
			s := startWith(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{}, &moqt.Config{Versions: []moqt.Version{wire.Draft18}})
			url := scheme + "://" + s.addr
			source := exec.Command("ffmpeg", "-v", "error", "-re", "-f", "h264", "-framerate", "25", "-i", raw, "-c", "copy", "-f", "mp4",
				"-movflags", "cmaf+separate_moof+delay_moov+skip_trailer+frag_every_frame", "-")
			pipe, err := source.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := source.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { source.Process.Kill(); source.Wait() })
			var sent tap
			in, feed := io.Pipe()
			go func() {
				_, err := io.Copy(feed, io.TeeReader(pipe, &sent))
				feed.CloseWithError(err)
			}()
			started(t, in, nil, filepath.Join(dir, "moq-pub"), "--name", "cam", "--tls-disable-verify", url)
			t.Cleanup(func() { in.Close() })
			wait(t, "moq-pub", func() bool { return len(s.namespaces()) > 0 })

			out, into := io.Pipe()
			started(t, nil, into, filepath.Join(dir, "moq-sub"), "--name", "cam", "--tls-disable-verify", url)
			t.Cleanup(func() { out.Close() })
			late := time.AfterFunc(browserTimeout, func() { into.CloseWithError(fmt.Errorf("no more after %v", browserTimeout)) })
			defer late.Stop()
			var text bytes.Buffer
			var got [][]byte
			for len(got) < 60 {
				if _, err := io.CopyN(&text, out, 1000); err != nil {
					t.Fatalf("%d fragments came: %v", len(got), err)
				}
				got = mdats(text.Bytes())
			}
			checkRun(t, "moq-sub", got, mdats(sent.bytes()), 0)
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

// tap keeps what is written to it.
type tap struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *tap) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *tap) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.b.Bytes())
}

// TestCloudflareCases: moq-test-client's cases of draft 18, those of moq-interop-runner and more. Its cases moq-test-* and
// data-subgroup-basic are not among them: they end when the relay passes on that the publisher has, and ours waits for another.
func TestCloudflareCases(t *testing.T) {
	dir := cloudflare(t)
	for _, scheme := range []string{"moqt", "https"} {
		for _, name := range []string{
			"setup-only", "publish-namespace-only", "subscribe-error", "publish-namespace-subscribe", "subscribe-before-publish-namespace",
			"publish-namespace-done", "publish-track-only", "rendezvous-timeout",
		} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				s := startWith(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{}, &moqt.Config{Versions: []moqt.Version{wire.Draft18}})
				out, err := exec.CommandContext(within(t, browserTimeout), filepath.Join(dir, "moq-test-client"), "-r", scheme+"://"+s.addr, "--tls-disable-verify", "-t", name).CombinedOutput()
				if err != nil || !strings.Contains(string(out), "\nok 1 - "+name) {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}
