package relay

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// TestMoqCli: moq-cli of moq-dev publishes H.264 through a relay, and another one writes out what was put in, with each draft
// over QUIC, WebTransport and QMux.
func TestMoqCli(t *testing.T) {
	program := os.Getenv("EC_MOQ_CLI")
	if program == "" {
		t.Skip("EC_MOQ_CLI is not set: the path of moq, which cargo install moq-cli makes")
	}
	raw, want := encodeH264(t)
	for _, v := range wire.Versions() {
		for _, scheme := range []string{"moqt", "https", "unix", "tcp", "ws"} {
			t.Run(scheme+" "+v.String(), func(t *testing.T) { testMoqCli(t, program, v, scheme, raw, want) })
		}
	}
}

func testMoqCli(t *testing.T, program string, v wire.Version, scheme, raw string, want [][]byte) {
	addr := "127.0.0.1:0"
	switch scheme {
	case "unix":
		addr = "unix://" + filepath.Join(t.TempDir(), "relay")
	case "tcp", "ws":
		addr = scheme + "://" + addr
	}
	s := startWith(t, t.TempDir(), addr, Config{}, store.Config{}, &moqt.Config{Versions: []moqt.Version{v}})
	cert, err := moqt.LoadCertificate(filepath.Join(s.dir, CertificateFile), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	url := s.addr
	if addr == "127.0.0.1:0" {
		url = scheme + "://" + s.addr + "/"
	}
	moq := func(args ...string) []string {
		return append([]string{"--connect", url, "--connect-tls-fingerprint", fmt.Sprintf("%x", sha256.Sum256(cert.Certificate[0])),
			"--connect-version", fmt.Sprintf("moq-transport-%d", v), "--broadcast", "live/cam.hang"}, args...)
	}
	source := exec.Command("ffmpeg", "-v", "error", "-re", "-f", "h264", "-framerate", "25", "-i", raw, "-c", "copy", "-f", "h264", "-")
	pipe, err := source.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Process.Kill(); source.Wait() })
	started(t, pipe, nil, program, moq("import", "avc3")...)

	out, into := io.Pipe()
	started(t, nil, into, program, moq("export", "h264")...)
	t.Cleanup(func() { out.Close() }) // first of all: who still writes would be waited for
	within := time.AfterFunc(browserTimeout, func() { into.CloseWithError(fmt.Errorf("no more after %v", browserTimeout)) })
	defer within.Stop()
	var text bytes.Buffer
	var got [][]byte
	for len(got) < 100 {
		if _, err := io.CopyN(&text, out, 1000); err != nil {
			t.Fatalf("%d slices came: %v", len(got), err)
		}
		got = slicesOf(annexB(text.Bytes()))
		got = got[:max(len(got)-1, 0)] // the last one may be cut
		// Whenever the catalog changes, it writes the group it is in once more.
		seen := map[string]bool{}
		got = slices.DeleteFunc(got, func(b []byte) bool {
			again := seen[string(b)]
			seen[string(b)] = true
			return again
		})
	}
	checkRun(t, "moq export", got, want, 0)
}
