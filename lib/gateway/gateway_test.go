package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"every.channel/ec/lib/object"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var page = fstest.MapFS{
	"index.html":   {Data: []byte("<!doctype html><title>page</title>")},
	"page.js":      {Data: []byte("export {}")},
	"sub/icon.svg": {Data: []byte("<svg/>")},
	"sub/data.bin": {Data: []byte{0, 1}},
}

// broadcasts are what a test publishes.
type broadcasts struct {
	mu   sync.Mutex
	live map[string]chan *object.Object // closed: it is over
	left chan string                    // broadcasts that nobody reads any more
}

type missing struct{}

func (missing) Error() string { return "nothing known of it" }
func (missing) ExitCode() int { return 69 }

func (b *broadcasts) follow(ctx context.Context, ns object.Namespace, w io.Writer) error {
	b.mu.Lock()
	ch := b.live[ns.String()]
	b.mu.Unlock()
	if ch == nil {
		return fmt.Errorf("wrapped: %w", missing{})
	}
	defer func() { b.left <- ns.String() }()
	name := object.TrackName{Namespace: ns, Name: "ts"}
	out := object.NewWriter(w)
	if err := out.WriteTrack(name, nil); err != nil {
		return err
	}
	for {
		select {
		case o, ok := <-ch:
			if !ok {
				return nil
			}
			if err := out.WriteObject(name, o); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// gate runs a gateway on the loopback until the end of the test.
func gate(t *testing.T, c Config) (base string, g *Gateway) {
	t.Helper()
	if c.Page == nil {
		c.Page = page
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, l, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		g.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + l.Addr().String(), g
}

func get(t *testing.T, method, url string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
		if k == "Host" {
			req.Host = v[0]
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestPage: files of the page and nothing else, with the headers that keep a page to itself.
func TestPage(t *testing.T) {
	base, _ := gate(t, Config{})
	for _, tt := range []struct {
		method, path string
		status       int
		kind, body   string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8", "<!doctype html><title>page</title>"},
		{"GET", "/?relay=x", 200, "text/html; charset=utf-8", "<!doctype html><title>page</title>"},
		{"HEAD", "/index.html", 200, "text/html; charset=utf-8", ""},
		{"GET", "/page.js", 200, "text/javascript; charset=utf-8", "export {}"},
		{"GET", "/sub/icon.svg", 200, "image/svg+xml", "<svg/>"},
		{"GET", "/sub/data.bin", 200, "application/octet-stream", "\x00\x01"},
		{"GET", "/healthz", 200, "text/plain; charset=utf-8", "ok\n"},
		{"GET", "/sub/", 404, "text/plain; charset=utf-8", "nothing here\n"},
		{"GET", "/sub", 404, "text/plain; charset=utf-8", "nothing here\n"},
		{"GET", "/../page.js", 404, "text/plain; charset=utf-8", "nothing here\n"},
		{"GET", "/%2e%2e/gateway.go", 404, "text/plain; charset=utf-8", "nothing here\n"},
		{"GET", "//page.js", 404, "text/plain; charset=utf-8", "nothing here\n"},
		{"GET", "/moq", 404, "text/plain; charset=utf-8", "nothing here\n"},
		{"GET", "/" + strings.Repeat("x", maxPath), 414, "text/plain; charset=utf-8", "too long\n"},
		{"POST", "/", 405, "text/plain; charset=utf-8", "only GET and HEAD\n"},
		{"DELETE", "/page.js", 405, "text/plain; charset=utf-8", "only GET and HEAD\n"},
	} {
		res, body := get(t, tt.method, base+tt.path, nil)
		h := res.Header
		if res.StatusCode != tt.status || h.Get("Content-Type") != tt.kind || body != tt.body {
			t.Errorf("%s %.40s: %d %s %q", tt.method, tt.path, res.StatusCode, h.Get("Content-Type"), body)
		}
		csp := h.Get("Content-Security-Policy")
		if h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(csp, "default-src 'none'; script-src 'self';") || strings.Contains(csp, "*") ||
			strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") || h.Get("Cross-Origin-Resource-Policy") != "same-origin" {
			t.Errorf("%s %.40s: %v", tt.method, tt.path, h)
		}
	}
	res, _ := get(t, "GET", base+"/page.js", nil)
	if again, body := get(t, "GET", base+"/page.js", http.Header{"If-None-Match": res.Header["Etag"]}); again.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("unchanged: %d", again.StatusCode)
	}
	if _, err := New(Config{Page: fstest.MapFS{}}); err == nil {
		t.Error("a page without index.html")
	}
}

// TestInfo: relay.json says how who asks can reach the relay, and any page may read that.
func TestInfo(t *testing.T) {
	udp := func(s string) net.Addr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	until := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	base, g := gate(t, Config{
		Name: "home", MoQ: http.NotFoundHandler(), Hashes: func() []Hash { return []Hash{{[32]byte{1, 2}, until}} },
		WebTransport: []net.Addr{udp("[::]:4443"), udp("127.0.0.1:4444"), udp("192.0.2.7:4445"), udp("[2001:db8::1]:4446"), udp("0.0.0.0:4443"), &net.UnixAddr{}},
	})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(base, "http://"))
	for _, tt := range []struct {
		host string
		want []string
	}{
		{"relay.example:" + port, []string{"https://relay.example:4443/", "https://relay.example:4444/", "https://192.0.2.7:4445/", "https://[2001:db8::1]:4446/"}},
		{"[::1]", []string{"https://[::1]:4443/", "https://[::1]:4444/", "https://192.0.2.7:4445/", "https://[2001:db8::1]:4446/"}},
		{"evil;script-src *", []string{}},
		{"a/b", []string{}},
	} {
		r, _ := http.NewRequest("GET", "/relay.json", nil)
		r.Host = tt.host
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:80"))))
		w := &recorder{header: http.Header{}}
		g.ServeHTTP(w, r)
		var i Info
		if err := json.Unmarshal(w.body, &i); err != nil {
			t.Fatal(err)
		}
		if i.V != 1 || i.Name != "home" || i.WebSocket != "/moq" || fmt.Sprint(i.WebTransport) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %+v", tt.host, i)
		}
		if csp := w.header.Get("Content-Security-Policy"); strings.Contains(csp, "evil") || strings.Count(csp, "script-src") != 1 || len(tt.want) > 0 && !strings.Contains(csp, strings.TrimSuffix(tt.want[0], "/")) {
			t.Errorf("%s: %s", tt.host, csp)
		}
	}
	// From another machine, what listens on the loopback is not to be reached.
	r, _ := http.NewRequest("GET", "/relay.json", nil)
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:80"))))
	if got := g.webTransport(r, "relay.example"); fmt.Sprint(got) != "[https://relay.example:4443/ https://relay.example:4445/ https://[2001:db8::1]:4446/]" {
		t.Error(got)
	}
	res, body := get(t, "GET", base+"/relay.json", http.Header{"Origin": {"https://example.org"}})
	if res.Header.Get("Access-Control-Allow-Origin") != "*" || res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Cache-Control") != "no-store" ||
		!strings.Contains(body, `"certificate_hashes":[{"algorithm":"sha-256","value":"AQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","until":"2027-01-02T03:04:05Z"}]`) {
		t.Errorf("%v\n%s", res.Header, body)
	}
}

type recorder struct {
	header http.Header
	body   []byte
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}
func (r *recorder) Write(b []byte) (int, error) {
	r.body = append(r.body, b...)
	return len(b), nil
}

// reader reads a broadcast.
type reader struct {
	t   *testing.T
	res *http.Response
	in  *bufio.Reader
}

func read(t *testing.T, url string) *reader {
	t.Helper()
	req, _ := http.NewRequestWithContext(within(t), "GET", url, nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "video/mp2t" {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("%s: %d %s", url, res.StatusCode, b)
	}
	return &reader{t, res, bufio.NewReader(res.Body)}
}

// want reads so much and compares.
func (r *reader) want(s string) {
	r.t.Helper()
	b := make([]byte, len(s))
	if _, err := io.ReadFull(r.in, b); err != nil || string(b) != s {
		r.t.Fatalf("%.60q, %v, want %.60q", b, err, s)
	}
}

func put(ch chan *object.Object, group, id uint64, payload string) {
	ch <- &object.Object{Group: group, ID: id, Payload: []byte(payload)}
}

func newBroadcasts(names ...string) *broadcasts {
	b := &broadcasts{live: map[string]chan *object.Object{}, left: make(chan string, 100)}
	for _, n := range names {
		b.live[n] = make(chan *object.Object)
	}
	return b
}

// TestLive: each reader begins with the group that is being sent and gets every payload from there on; the broadcast is followed once, and
// left when its readers are gone.
func TestLive(t *testing.T) {
	b := newBroadcasts("ec-atsc-1-2")
	base, _ := gate(t, Config{Follow: b.follow, Linger: time.Millisecond})
	ch := b.live["ec-atsc-1-2"]
	go put(ch, 7, 0, "a0")
	first := read(t, base+"/ec-atsc-1-2/live.ts")
	first.want("a0")
	put(ch, 7, 1, "a1")
	first.want("a1")
	second := read(t, base+"/ec-atsc-1-2/live.ts")
	second.want("a0a1")
	ch <- &object.Object{Group: 7, ID: 2, Status: object.EndOfGroup}
	put(ch, 8, 0, "b0")
	first.want("b0")
	second.want("b0")
	third := read(t, base+"/ec-atsc-1-2/live.ts")
	third.want("b0")
	put(ch, 3, 0, "c0") // the clock was set back
	for _, r := range []*reader{first, second, third} {
		r.want("c0")
		r.res.Body.Close()
	}
	if got := recv(t, b.left); got != "ec-atsc-1-2" {
		t.Error(got)
	}
	go put(ch, 9, 0, "d0") // and from the beginning
	fourth := read(t, base+"/ec-atsc-1-2/live.ts")
	fourth.want("d0")
	close(ch)
	if rest, err := io.ReadAll(fourth.in); err != nil || len(rest) > 0 {
		t.Errorf("at the end %q, %v", rest, err)
	}
}

func recv[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-within(t).Done():
		t.Fatal("nothing came")
	}
	return v
}

// TestLiveRefused: what is no broadcast, what is not there, pages that may not, and more readers than there may be.
func TestLiveRefused(t *testing.T) {
	b := newBroadcasts("ec-atsc-1-2", "ec-silent-1")
	base, _ := gate(t, Config{
		Follow: b.follow, MaxReaders: 1, StartTimeout: 50 * time.Millisecond,
		Allowed: func(r *http.Request) bool { o := r.Header.Get("Origin"); return o == "" || o == "https://good.example" },
	})
	for path, want := range map[string]int{
		"/ec-atsc-9-9/live.ts": 404, "/ec-atsc-1-2--ts/live.ts": 404, "/a/b/live.ts": 404, "/live.ts": 404, "/ec-atsc-1-2/live.tsx": 404, "/%ff/live.ts": 404,
		"/ec-silent-1/live.ts": 503,
	} {
		if res, body := get(t, "GET", base+path, nil); res.StatusCode != want {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
	if res, _ := get(t, "GET", base+"/ec-atsc-1-2/live.ts", http.Header{"Origin": {"https://evil.example"}}); res.StatusCode != 403 || res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("foreign page: %d %v", res.StatusCode, res.Header)
	}
	go put(b.live["ec-atsc-1-2"], 1, 0, "a")
	r := read(t, base+"/ec-atsc-1-2/live.ts")
	r.want("a")
	if res, body := get(t, "GET", base+"/ec-atsc-1-2/live.ts", nil); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d %s", res.StatusCode, body)
	}
	r.res.Body.Close()
	for ctx := within(t); ; { // until it has left
		res, _ := get(t, "HEAD", base+"/ec-atsc-1-2/live.ts", http.Header{"Origin": {"https://good.example"}})
		if res.StatusCode == 200 {
			if res.Header.Get("Access-Control-Allow-Origin") != "https://good.example" {
				t.Error(res.Header)
			}
			return
		}
		if ctx.Err() != nil {
			t.Fatal("its place stays taken")
		}
		time.Sleep(time.Millisecond) // polls what another goroutine counts
	}
}

// TestSlowReader: one that does not read holds up nobody, and goes on with the newest group; what the gateway holds is bounded.
func TestSlowReader(t *testing.T) {
	const buffer = 1 << 20
	b := newBroadcasts("ec-atsc-1-2")
	base, g := gate(t, Config{Follow: b.follow, BufferBytes: buffer})
	ch := b.live["ec-atsc-1-2"]
	go put(ch, 0, 0, "begin")
	slow, quick := read(t, base+"/ec-atsc-1-2/live.ts"), read(t, base+"/ec-atsc-1-2/live.ts")
	slow.want("begin")
	quick.want("begin")
	payload := func(group int) string {
		return fmt.Sprintf("<%05d>", group) + strings.Repeat(string(rune('a'+group%26)), 100<<10)
	}
	const groups = 300 // 30 MB, more than sockets hold
	for i := 1; i <= groups; i++ {
		put(ch, uint64(i), 0, payload(i))
		quick.want(payload(i))
		g.mu.Lock()
		live := g.live["ec-atsc-1-2"]
		g.mu.Unlock()
		live.mu.Lock()
		if live.bytes > buffer || len(live.groups) > 1+buffer/(100<<10) {
			t.Errorf("%d bytes in %d groups", live.bytes, len(live.groups))
		}
		live.mu.Unlock()
	}
	close(ch)
	rest, err := io.ReadAll(slow.in)
	if err != nil {
		t.Fatal(err)
	}
	last, lost := 0, 0
	for len(rest) > 0 {
		var id int
		if _, err := fmt.Sscanf(string(rest[:7]), "<%05d>", &id); err != nil || id <= last || !strings.HasPrefix(string(rest), payload(id)) {
			t.Fatalf("after group %d: %.20q, %v", last, rest, err)
		}
		lost += id - last - 1
		last, rest = id, rest[len(payload(id)):]
	}
	if last != groups || lost == 0 {
		t.Errorf("ended with group %d, %d left out", last, lost)
	}
}

// TestLargeGroup: a group that the buffer does not hold is left out from there on, and so are endless empty payloads.
func TestLargeGroup(t *testing.T) {
	b := newBroadcasts("ec-atsc-1-2")
	base, g := gate(t, Config{Follow: b.follow, BufferBytes: 64 << 10})
	ch := b.live["ec-atsc-1-2"]
	go put(ch, 1, 0, "a")
	r := read(t, base+"/ec-atsc-1-2/live.ts")
	r.want("a")
	put(ch, 1, 1, strings.Repeat("b", 65<<10))
	put(ch, 1, 2, "c")
	put(ch, 2, 0, "d")
	r.want("d")
	for i := range 2000 {
		put(ch, uint64(3+i), 0, "")
	}
	put(ch, 1<<20, 0, "e")
	r.want("e")
	g.mu.Lock()
	live := g.live["ec-atsc-1-2"]
	g.mu.Unlock()
	live.mu.Lock()
	defer live.mu.Unlock()
	if live.bytes > 64<<10 || len(live.groups) > 64<<10/overhead {
		t.Errorf("%d bytes in %d groups", live.bytes, len(live.groups))
	}
}

// TestPatience: the time that a request may take to arrive ends neither the wait for a broadcast nor a reader of one that pauses.
func TestPatience(t *testing.T) {
	const request = 100 * time.Millisecond
	b := newBroadcasts("ec-atsc-1-2", "ec-silent-1")
	base, _ := gate(t, Config{Follow: b.follow, RequestTimeout: request, StartTimeout: 4 * request})
	if res, body := get(t, "GET", base+"/ec-silent-1/live.ts", nil); res.StatusCode != 503 || body != "nothing comes\n" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
	ch := b.live["ec-atsc-1-2"]
	go put(ch, 1, 0, "a")
	r := read(t, base+"/ec-atsc-1-2/live.ts")
	r.want("a")
	<-time.After(4 * request) // the broadcast's pause
	put(ch, 1, 1, "b")
	r.want("b")
}

// TestLeave: who is about to end says so, lets no broadcast begin, and breaks off those that run.
func TestLeave(t *testing.T) {
	b := newBroadcasts("ec-atsc-1-2")
	base, g := gate(t, Config{Follow: b.follow})
	go put(b.live["ec-atsc-1-2"], 1, 0, "a")
	r := read(t, base+"/ec-atsc-1-2/live.ts")
	r.want("a")
	g.Leave()
	if _, err := io.ReadAll(r.in); err == nil {
		t.Error("the broadcast ended as if it was over")
	}
	if res, body := get(t, "GET", base+"/healthz", nil); res.StatusCode != 503 || body != "leaving\n" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, _ := get(t, "GET", base+"/ec-atsc-1-2/live.ts", nil); res.StatusCode != 503 {
		t.Error(res.StatusCode)
	}
}

// TestHostileConnections: garbage, silence and crowds cost their own connection.
func TestHostileConnections(t *testing.T) {
	const places = 8
	base, _ := gate(t, Config{MaxConnections: places, RequestTimeout: 300 * time.Millisecond})
	addr := strings.TrimPrefix(base, "http://")
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		return c
	}
	for _, garbage := range []string{
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x00\x00\x00\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 2*maxHeader) + "\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
	} {
		c := dial()
		go io.WriteString(c, garbage)
		b, _ := io.ReadAll(c) // to the end: the connection is closed
		if s := string(b); s != "" && !strings.HasPrefix(s, "HTTP/1.1 4") && !strings.HasPrefix(s, "HTTP/1.1 505") {
			t.Errorf("%.30q: %.60q", garbage, s)
		}
		c.Close()
	}
	// A slow loris: a byte now and then, never the end.
	slow := make([]net.Conn, places)
	for i := range slow {
		slow[i] = dial()
		io.WriteString(slow[i], "GET / HTTP/1.1\r\nHost: x\r\nX-")
	}
	over := make(chan time.Duration, places)
	begin := time.Now()
	for _, c := range slow {
		go func() {
			for {
				if _, err := c.Write([]byte("x")); err != nil {
					break
				}
				time.Sleep(20 * time.Millisecond) // the attack's own pace
			}
			over <- time.Since(begin)
		}()
	}
	// Meanwhile there is no place, and who comes is not kept waiting.
	if b, err := io.ReadAll(dial()); len(b) > 0 {
		t.Errorf("a place too many: %q, %v", b, err)
	}
	for range places {
		if d := recv(t, over); d > 30*time.Second {
			t.Errorf("a slow client stayed for %v", d)
		}
	}
	for ctx := within(t); ; { // its places are free again
		res, err := http.Get(base + "/healthz")
		if err == nil {
			res.Body.Close()
			break
		}
		if _, refused := errors.AsType[*url.Error](err); !refused || ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // polls what the server's goroutines free
	}
}

// TestReaderThatStopsReading is thrown out after WriteTimeout, whatever its socket holds.
func TestReaderThatStopsReading(t *testing.T) {
	b := newBroadcasts("ec-atsc-1-2")
	base, g := gate(t, Config{Follow: b.follow, WriteTimeout: 200 * time.Millisecond, Linger: time.Millisecond})
	ch := b.live["ec-atsc-1-2"]
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /ec-atsc-1-2/live.ts HTTP/1.1\r\nHost: x\r\n\r\n")
	big, ctx := strings.Repeat("x", 1<<20), within(t)
	for i := 0; ; i++ {
		select {
		case ch <- &object.Object{Group: uint64(i), Payload: []byte(big)}:
			continue
		case got := <-b.left:
			if got != "ec-atsc-1-2" || g.readers.Load() != 0 {
				t.Errorf("%s, %d readers", got, g.readers.Load())
			}
		case <-ctx.Done():
			t.Fatal("still there")
		}
		return
	}
}

var _ fs.FS = page

// TestRebinding: whatever is asked for under a name that is not the relay's, the answer is words and nothing else.
func TestRebinding(t *testing.T) {
	b := &broadcasts{live: map[string]chan *object.Object{}, left: make(chan string, 9)}
	base, _ := gate(t, Config{Follow: b.follow, MoQ: http.NotFoundHandler(), Known: func(host string) bool { return strings.HasPrefix(host, "127.0.0.1:") }})
	for _, path := range []string{"/", "/relay.json", "/healthz", "/moq", "/ec-atsc-1-1/live.ts", "/nothing"} {
		res, body := get(t, "GET", base+path, http.Header{"Host": {"evil.example:8080"}})
		if res.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(body, "--allow-origin http://evil.example:8080") || res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d, %q", path, res.StatusCode, body)
		}
	}
	if res, _ := get(t, "GET", base+"/", nil); res.StatusCode != 200 {
		t.Errorf("%d", res.StatusCode)
	}
}

// TestReaderWhoseLeaveEnds: a reader that is behind, and one whose connection takes nothing, are gone once they may not read any more.
func TestReaderWhoseLeaveEnds(t *testing.T) {
	b := newBroadcasts("ec-atsc-1-2")
	ctx, end := context.WithCancel(within(t))
	base, _ := gate(t, Config{Follow: b.follow, Linger: time.Millisecond, BufferBytes: 64 << 20,
		May: func(*http.Request, object.Namespace) (context.Context, func(), *Refusal) { return ctx, func() {}, nil }})
	ch := b.live["ec-atsc-1-2"]
	go put(ch, 0, 0, "begin")
	stuck, behind := read(t, base+"/ec-atsc-1-2/live.ts"), read(t, base+"/ec-atsc-1-2/live.ts")
	stuck.want("begin")
	behind.want("begin")
	for i := 1; i <= 300; i++ { // 30 MB, more than sockets hold
		put(ch, uint64(i), 0, strings.Repeat("x", 100<<10))
	}
	go func() {
		for buf := make([]byte, 1000); ; time.Sleep(time.Millisecond) {
			if _, err := behind.in.Read(buf); err != nil {
				return
			}
		}
	}()
	end()
	select {
	case <-b.left: // the broadcast has no reader
	case <-time.After(5 * time.Second):
		t.Error("somebody still reads")
	}
	stuck.res.Body.Close()
	behind.res.Body.Close()
}
