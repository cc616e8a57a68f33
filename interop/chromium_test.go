package interop

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt/wire"
)

// browserConfig is what a page asks the test for.
type browserConfig struct {
	URL         string   `json:"url"`
	Fingerprint string   `json:"fingerprint"`
	Hash        []byte   `json:"hash"`   // the same
	Hashes      [][]byte `json:"hashes"` // that one, and what is told with it
	Protocols   []string `json:"protocols,omitempty"`
	Begin       deed     `json:"begin"`
	Namespace   []string `json:"namespace"`
	Track       string   `json:"track"`
}

// deed is what plain.html does: write bytes to a new stream or to that whose bytes it posted.
type deed struct {
	Uni   []byte `json:"uni,omitempty"`
	Bidi  []byte `json:"bidi,omitempty"`
	Write []byte `json:"write,omitempty"`
}

// browse serves testdata/browser on the loopback and opens a page of it in a headless Chromium until the end of the test;
// base is the page's origin without the port, conf.URL the relay, which shows certs. What the page posts goes to handlers by path;
// /error fails the test. gone is closed when the process of plain.html has ended.
func browse(t *testing.T, base, page string, certs *keys.Certificates, conf browserConfig, handlers map[string]http.HandlerFunc) (gone <-chan struct{}) {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is missing")
	}
	cert, err := certs.Get(&tls.ClientHelloInfo{}) // as a browser says hello
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(cert.Certificate[0])
	key := keys.OfKey(cert.Leaf) // a WebSocket has no other way to trust it
	conf.Fingerprint, conf.Hash, conf.Hashes = hex.EncodeToString(hash[:]), hash[:], hashes(certs)
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir("testdata/browser")))
	mux.Handle("GET /npm/", http.StripPrefix("/npm/", http.FileServer(http.Dir("testdata/browser/node_modules"))))
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(conf) })
	ended := make(chan struct{})
	over := sync.OnceFunc(func() { close(ended) })
	mux.HandleFunc("GET /page", func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		over()
	})
	if handlers["/error"] == nil {
		mux.HandleFunc("POST /error", func(_ http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			t.Errorf("page: %s", b)
		})
	}
	for path, h := range handlers {
		mux.HandleFunc("POST "+path, h)
	}
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	out, err := os.Create(filepath.Join(t.TempDir(), "chromium.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--no-proxy-server", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--ignore-certificate-errors-spki-list="+base64.StdEncoding.EncodeToString(key[:]), "--user-data-dir="+t.TempDir(), base+strings.TrimPrefix(web.URL, "http://127.0.0.1")+"/"+page)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its own group
		cmd.Wait()
		out.Close()
		if t.Failed() {
			b, _ := os.ReadFile(out.Name())
			t.Logf("chromium: %s", b)
		}
	})
	return ended
}

// hashes are what pages are told of the certificates that they may see.
func hashes(certs *keys.Certificates) (list [][]byte) {
	for _, h := range certs.Hashes() {
		list = append(list, h.SHA256[:])
	}
	return list
}

// browserStreams takes apart what plain.html posts.
type browserStreams struct {
	t        *testing.T
	v        wire.Version
	act      func(wire.Message) deed // what the page is to do on a message
	messages chan wire.Message
	data     chan []byte // whole data streams

	mu    sync.Mutex
	open  map[string][]byte // streams, without the messages read already
	talks map[string]bool   // those that began with a message
}

func (s *browserStreams) post(w http.ResponseWriter, r *http.Request) {
	piece, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.FormValue("stream")
	b := append(s.open[id], piece...)
	s.open[id] = b
	if len(b) == 0 {
		return
	}
	for {
		typ, length, n, err := wire.MessageHeader(b, s.v)
		switch {
		case n == 0 && typ == 0: // not even a type
			return
		case !s.talks[id] && wire.IsSubgroup(typ, s.v):
			if len(piece) == 0 { // its end
				s.data <- b
			}
			return
		case err != nil:
			s.t.Error(err)
			return
		case n == 0 || len(b) < n+length:
			return
		}
		s.talks[id] = true
		m, err := wire.ParseMessage(s.v, typ, b[n:n+length])
		if err != nil {
			s.t.Error(err)
			return
		}
		b = b[n+length:]
		s.open[id] = b
		if d := s.act(m); d.Uni != nil || d.Bidi != nil || d.Write != nil {
			json.NewEncoder(w).Encode(d)
		}
		s.messages <- m
	}
}
