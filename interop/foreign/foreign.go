// Package foreign runs programs that are not ours, for tests: peers of other makes, ffmpeg. What ships does not import it.
package foreign

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Path is what an environment variable says about where a peer is; without it the test is skipped.
func Path(t testing.TB, variable, what string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Skipf("%s is not set: %s", variable, what)
	}
	return path
}

// Run runs a program with these pipes, which may be nil, until the end of the test; the end of what it says is shown if that fails.
func Run(t testing.TB, in io.Reader, out io.Writer, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = t.TempDir() // some leave files
	var log bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, &log
	if out == nil {
		cmd.Stdout = &log
	}
	cmd.WaitDelay = time.Second // the pipes may outlive it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			b := log.Bytes()
			t.Logf("%s %s:\n%s", program, strings.Join(args, " "), b[max(0, len(b)-8000):])
		}
	})
}

// Tap keeps what is written to it.
type Tap struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *Tap) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

// Bytes is what was written so far.
func (t *Tap) Bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.b.Bytes())
}

// PEM writes a certificate and its private key to files, for a program that is a server.
func PEM(t *testing.T, c tls.Certificate) (cert, key string) {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
