package relay

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
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
// base is the page's origin without the port. What the page posts goes to handlers by path; /error fails the test.
func (s *server) browse(t *testing.T, base, page string, conf browserConfig, handlers map[string]http.HandlerFunc) {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is missing")
	}
	cert, err := s.keys.Get(&tls.ClientHelloInfo{}) // as a browser says hello
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(cert.Certificate[0])
	key := keys.OfKey(cert.Leaf) // a WebSocket has no other way to trust it
	if conf.URL = s.addr; !strings.Contains(s.addr, "://") {
		conf.URL = "https://" + s.addr + "/"
	}
	conf.Fingerprint, conf.Hash, conf.Hashes = hex.EncodeToString(hash[:]), hash[:], s.hashes()
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir("testdata/browser")))
	mux.Handle("GET /npm/", http.StripPrefix("/npm/", http.FileServer(http.Dir("testdata/browser/node_modules"))))
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(conf) })
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
}

// hashes are what pages are told of the certificates that they may see.
func (s *server) hashes() (list [][]byte) {
	for _, h := range s.keys.Hashes() {
		list = append(list, h.SHA256[:])
	}
	return list
}

const browserTimeout = 2 * time.Minute

// TestBrowser: a page that knows nothing but WebTransport sets up a session and gets a stored track, byte for byte.
func TestBrowser(t *testing.T) {
	for _, v := range wire.Versions() {
		t.Run(v.String(), func(t *testing.T) { testBrowser(t, v) })
	}
}

func testBrowser(t *testing.T, v wire.Version) {
	const groups = 3
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{DrainTimeout: 5 * time.Second}, store.Config{}) // the page needs time to post GOAWAY
	p := s.publisher(t, ts)
	for g := range uint64(groups) {
		p.group(g)
	}
	s.stored(t, groups*(parts+1))
	p.c.leave()

	message := func(m wire.Message) []byte {
		b, err := wire.AppendMessage(nil, v, m)
		if err != nil {
			t.Error(err)
		}
		return b
	}
	var begin deed
	if v.SetupStream() == 0 {
		begin.Bidi = message(&wire.ClientSetup{})
	} else {
		begin.Uni = message(&wire.Setup{})
	}
	subscribe := message(&wire.Subscribe{Track: ts, Parameters: wire.Parameters{SubscriptionFilter: &wire.Filter{Type: wire.FilterAbsoluteStart}}})
	in := browserStreams{t: t, v: v, messages: make(chan wire.Message, 16), data: make(chan []byte, 16), open: map[string][]byte{}, talks: map[string]bool{}}
	in.act = func(m wire.Message) (d deed) {
		switch m.(type) {
		case *wire.ServerSetup:
			d.Write = subscribe
		case *wire.Setup:
			d.Bidi = subscribe
		}
		return d
	}
	var over atomic.Bool
	closed := make(chan string, 1)
	s.browse(t, "http://127.0.0.1", "plain.html", browserConfig{Protocols: []string{"chat", v.ALPN()}, Begin: begin}, map[string]http.HandlerFunc{
		"/in": in.post,
		"/closed": func(_ http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			closed <- string(b)
		},
		"/error": func(_ http.ResponseWriter, r *http.Request) {
			if b, _ := io.ReadAll(r.Body); !over.Load() { // then its streams end
				t.Errorf("page: %s", b)
			}
		},
	})
	ctx := within(t, browserTimeout)
	switch m := await(t, ctx, in.messages).(type) {
	case *wire.ServerSetup, *wire.Setup:
	default:
		t.Fatalf("first message %T", m)
	}
	if m, ok := await(t, ctx, in.messages).(*wire.SubscribeOK); !ok {
		t.Fatalf("answer %T", m)
	} else if l := m.Parameters.LargestObject; l == nil || *l != (wire.Location{Group: groups - 1, Object: parts}) {
		t.Errorf("largest object %v", l)
	}
	seen := map[uint64]bool{}
	for len(seen) < groups {
		b := await(t, ctx, in.data)
		h, n, err := wire.ParseSubgroupHeader(b, v)
		if err != nil {
			t.Fatal(err)
		}
		var prev *uint64
		for id := range uint64(parts + 1) {
			b = b[n:]
			var o wire.SubgroupObject
			if o, n, err = wire.ParseSubgroupObject(b, v, prev, h.HasProperties, 1<<16); err != nil || n == 0 {
				t.Fatalf("group %d object %d: %v", h.Group, id, err)
			}
			want := part(h.Group, id)
			n += int(o.Length)
			if o.ID != id || n > len(b) || string(b[n-int(o.Length):n]) != string(want.Payload) || string(o.Properties) != string(want.Properties) {
				t.Fatalf("group %d object %d is not what was published", h.Group, id)
			}
			prev = &id
		}
		if len(b) != n {
			t.Fatalf("group %d: %d bytes too many", h.Group, len(b)-n)
		}
		seen[h.Group] = true
	}
	over.Store(true)
	s.stop() // tells sessions to go away, then closes them
	if m, ok := await(t, ctx, in.messages).(*wire.GoAway); !ok {
		t.Errorf("at the end %T", m)
	}
	var end struct {
		CloseCode uint64 `json:"closeCode"`
		Reason    string `json:"reason"`
	}
	if err := json.Unmarshal([]byte(await(t, ctx, closed)), &end); err != nil || end.CloseCode != uint64(wire.NoError) {
		t.Errorf("closed with %+v, %v", end, err)
	}
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

// TestBrowserRefused: no session for a page that offers no draft of ours, nor for one from another host.
func TestBrowserRefused(t *testing.T) {
	for _, tt := range []struct{ name, page, protocol string }{
		{"draft", "http://127.0.0.1", "moq-00"},
		{"origin", "http://localhost", wire.Draft16.ALPN()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
			closed := make(chan string, 1)
			s.browse(t, tt.page, "plain.html", browserConfig{Protocols: []string{tt.protocol}}, map[string]http.HandlerFunc{
				"/in":    func(http.ResponseWriter, *http.Request) { t.Error("there is a session") },
				"/error": func(http.ResponseWriter, *http.Request) {}, // the same as /closed says
				"/closed": func(_ http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					closed <- string(b)
				},
			})
			if end := await(t, within(t, browserTimeout), closed); !strings.Contains(end, "WebTransportError") {
				t.Errorf("closed with %s", end)
			}
		})
	}
}

// TestBrowserMoqNet: @moq/net subscribes to a live track; every frame of the groups it hands out has the right hash.
func TestBrowserMoqNet(t *testing.T) {
	if _, err := os.Stat("testdata/browser/node_modules/@moq/net"); errors.Is(err, os.ErrNotExist) {
		t.Skip("@moq/net is missing: npm ci --ignore-scripts --prefix lib/relay/testdata/browser")
	}
	// What it offers when nobody says, and each draft that both sides have. Over WebSocket it offers all, and the relay takes one.
	for _, offer := range [][]string{nil, {wire.Draft18.ALPN()}, {wire.Draft16.ALPN()}} {
		t.Run(strings.Join(append([]string{"offers"}, offer...), " "), func(t *testing.T) { testBrowserMoqNet(t, "127.0.0.1:0", offer, nil) })
	}
	for _, scheme := range []string{"ws", "wss"} {
		for _, v := range wire.Versions() {
			t.Run(scheme+" "+v.String(), func(t *testing.T) {
				testBrowserMoqNet(t, scheme+"://127.0.0.1:0", []string{v.ALPN()}, &moqt.Config{Versions: []moqt.Version{v}})
			})
		}
	}
}

func testBrowserMoqNet(t *testing.T, addr string, offer []string, sessions *moqt.Config) {
	type group struct {
		Group  uint64
		Frames []string
	}
	s := startWith(t, t.TempDir(), addr, Config{}, store.Config{}, sessions)
	p := s.publisher(t, ts)
	p.group(0) // so that the track exists
	s.stored(t, parts+1)
	connected, groups := make(chan string, 1), make(chan group, 100)
	s.browse(t, "http://127.0.0.1", "moqnet.html", browserConfig{Protocols: offer, Namespace: ts.Namespace, Track: ts.Name}, map[string]http.HandlerFunc{
		"/connected": func(_ http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			connected <- string(b)
		},
		"/group": func(_ http.ResponseWriter, r *http.Request) {
			var g group
			if err := json.NewDecoder(r.Body).Decode(&g); err != nil {
				t.Error(err)
			}
			groups <- g
		},
	})
	ctx := within(t, browserTimeout)
	version := await(t, ctx, connected)
	if want := "moq-transport-" + strings.TrimPrefix(slices.Concat(offer, []string{wire.Draft18.ALPN()})[0], "moqt-"); version != want {
		t.Errorf("@moq/net speaks %s, want %s", version, want)
	}
	next := time.NewTicker(100 * time.Millisecond)
	defer next.Stop()
	got := 0
	for id := uint64(1); got < 5; {
		select {
		case <-next.C: // the library joins at what is published from now on
			p.group(id)
			id++
		case g := <-groups:
			var want []string
			for i := range uint64(parts) {
				want = append(want, fmt.Sprintf("%x", sha256.Sum256(part(g.Group, i).Payload)))
			}
			if !slices.Equal(g.Frames, want) {
				t.Fatalf("group %d: %v, want %v", g.Group, g.Frames, want)
			}
			got++
		case <-ctx.Done():
			t.Fatalf("%d groups came", got)
		}
	}
}

func await[T any](t *testing.T, ctx context.Context, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-ctx.Done():
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
