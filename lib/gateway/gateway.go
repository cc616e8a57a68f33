package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/object"
)

// Config says what is served, and how much clients may ask for. Page and Follow are required.
type Config struct {
	// Page are the files of the page, index.html among them.
	Page fs.FS
	// Name is the relay's name in relay.json. Default: none.
	Name string
	// WebTransport are the UDP addresses at which the relay takes sessions of browsers.
	WebTransport []net.Addr
	// Hashes returns the hashes of the certificates that browsers may be shown there from now on. Default: none.
	Hashes func() []Hash
	// MoQ takes sessions over WebSocket, at /moq. Default: nobody does.
	MoQ http.Handler
	// Follow writes the objects of a broadcast, as docs/format/eco.md has them, from the group on that is being sent, until ctx ends
	// or there are none to come. An error with an ExitCode of 69 says that there is no such broadcast.
	Follow func(ctx context.Context, ns object.Namespace, w io.Writer) error
	// Known reports whether a host, as a request names it, is this relay's: a page under another name is somebody else's that made
	// the name lead here. Default: every one is.
	Known func(host string) bool
	// Allowed reports whether a request's page may read broadcasts, by its origin. Default: every page may.
	Allowed func(r *http.Request) bool
	// Operator answers paths that are for whoever is on this machine, such as /metrics. Others are refused with 403. Default: none.
	Operator map[string]http.Handler
	// Ready returns why the relay cannot do all of its work at the moment, for /readyz; nil: it can. Default: it can.
	Ready func() error
	// May reports whether a request may read a broadcast, by the token that it shows. The context ends with the leave to do so; done must be
	// called. An error says why not, and its status is that of the answer. Default: every request may.
	May func(r *http.Request, ns object.Namespace) (ctx context.Context, done func(), refusal *Refusal)
	// Admit takes a connection from an address, until done is called. One that it does not take is closed. Default: all are taken.
	Admit func(from net.Addr) (done func(), ok bool)
	// Pace waits until n bytes may be sent to a reader, whose context May returned. Default: at once.
	Pace func(ctx context.Context, n int) error
	// Logger gets events. Default: none.
	Logger *slog.Logger

	// MaxConnections bounds connections, WebSockets included; more are closed. Default 1024.
	MaxConnections int
	// MaxReaders bounds readers of broadcasts; more are told to come later. Default 100.
	MaxReaders int
	// BufferBytes bounds the payload held of each broadcast for its readers. Default 32 MiB.
	BufferBytes int
	// RequestTimeout bounds a request's arrival, and how long an idle connection is kept. Default 10 s.
	RequestTimeout time.Duration
	// WriteTimeout bounds an answer, of a broadcast each piece of up to 64 KiB. Default 30 s.
	WriteTimeout time.Duration
	// StartTimeout bounds the wait for a broadcast's first object. Default 10 s.
	StartTimeout time.Duration
	// Linger is how long a broadcast without readers is followed. Default 5 s.
	Linger time.Duration
}

// maxHeader bounds the header of a request, in bytes; maxPath its path.
const (
	maxHeader = 16 << 10
	maxPath   = 4 << 10
)

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Hashes == nil {
		c.Hashes = func() []Hash { return nil }
	}
	if c.Known == nil {
		c.Known = func(string) bool { return true }
	}
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	if c.Allowed == nil {
		c.Allowed = func(*http.Request) bool { return true }
	}
	if c.Admit == nil {
		c.Admit = func(net.Addr) (func(), bool) { return func() {}, true }
	}
	if c.Pace == nil {
		c.Pace = func(context.Context, int) error { return nil }
	}
	if c.May == nil {
		c.May = func(r *http.Request, _ object.Namespace) (context.Context, func(), *Refusal) {
			return r.Context(), func() {}, nil
		}
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&c.MaxConnections, 1024}, {&c.MaxReaders, 100}, {&c.BufferBytes, 32 << 20}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct{ v, def *time.Duration }{
		{&c.RequestTimeout, ptr(10 * time.Second)}, {&c.WriteTimeout, ptr(30 * time.Second)}, {&c.StartTimeout, ptr(10 * time.Second)}, {&c.Linger, ptr(5 * time.Second)},
	} {
		if *d.v <= 0 {
			*d.v = *d.def
		}
	}
	return c
}

// Refusal is why a request may not read, with the status of the answer: 401 if a token is missing or worth nothing, 403 if it allows something
// else, 429 if the reader has too much already, 503 if that cannot be told.
type Refusal struct {
	Status int
	Reason string
}

func ptr[T any](v T) *T { return &v }

// Gateway answers requests; it may serve several listeners.
type Gateway struct {
	c     Config
	log   *slog.Logger
	files map[string]file // of the page, by path
	slots chan struct{}   // holds a token for each connection

	readers atomic.Int64
	leaving atomic.Bool // the relay is about to end

	ctx     context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup // of broadcasts

	mu   sync.Mutex // guards what follows
	live map[string]*broadcast
}

// file is one of the page's.
type file struct {
	body       []byte
	kind, etag string
}

// New reads the page. Close must be called.
func New(c Config) (*Gateway, error) {
	c = c.withDefaults()
	g := &Gateway{c: c, log: c.Logger, files: make(map[string]file), slots: make(chan struct{}, c.MaxConnections), live: make(map[string]*broadcast)}
	g.ctx, g.end = context.WithCancel(context.Background())
	err := fs.WalkDir(c.Page, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(c.Page, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		f := file{body: b, kind: kinds[path.Ext(name)], etag: `"` + hex.EncodeToString(sum[:8]) + `"`}
		if f.kind == "" {
			f.kind = mime.TypeByExtension(path.Ext(name))
		}
		if f.kind == "" {
			f.kind = "application/octet-stream"
		}
		g.files["/"+name] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	index, ok := g.files["/index.html"]
	if !ok {
		return nil, errors.New("page: no index.html")
	}
	g.files["/"] = index
	return g, nil
}

// kinds of files of a page, whatever the machine's own table says.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".json": "application/json", ".map": "application/json", ".wasm": "application/wasm", ".png": "image/png", ".woff2": "font/woff2",
}

// Leave makes /healthz say that the relay is about to end, and ends the readers of broadcasts.
func (g *Gateway) Leave() {
	g.leaving.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock() // nobody joins any more
	g.end()
}

// Close ends everything that was started.
func (g *Gateway) Close() {
	g.Leave()
	g.running.Wait()
}

// Serve answers requests on a listener until ctx ends, and closes the listener. conf, if not nil, is the configuration of TLS.
func (g *Gateway) Serve(ctx context.Context, l net.Listener, conf *tls.Config) error {
	h := &http.Server{
		Handler: g, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: g.c.RequestTimeout, ReadTimeout: g.c.RequestTimeout, IdleTimeout: g.c.RequestTimeout, WriteTimeout: g.c.WriteTimeout,
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	l = &bounded{l, g}
	if conf != nil {
		conf = conf.Clone()
		conf.NextProtos = []string{"http/1.1"} // WebSockets are begun in this one
		l = tls.NewListener(l, conf)
	}
	err := h.Serve(l)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// bounded closes connections that there is no place for.
type bounded struct {
	net.Listener
	g *Gateway
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		done, ok := b.g.c.Admit(c.RemoteAddr())
		if !ok {
			c.Close()
			continue
		}
		select {
		case b.g.slots <- struct{}{}:
			return &placed{c, sync.OnceFunc(func() { <-b.g.slots; done() })}, nil
		default:
			done()
			b.g.log.Debug("too many connections", "peer", c.RemoteAddr())
			c.Close()
		}
	}
}

// placed gives its place back with Close.
type placed struct {
	net.Conn
	done func()
}

func (p *placed) Close() error {
	defer p.done()
	return p.Conn.Close()
}

// ServeHTTP answers one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", g.policy(r))
	switch {
	case r.Host != "" && !g.c.Known(r.Host): // what knows no hosts (HTTP/1.0) is no browser
		g.log.Warn("host refused", "peer", r.RemoteAddr, "host", r.Host)
		http.Error(w, g.unknown(r), http.StatusMisdirectedRequest)
		return
	case len(r.URL.Path) > maxPath:
		http.Error(w, "too long", http.StatusRequestURITooLong)
		return
	case r.URL.Path == "/moq" && g.c.MoQ != nil:
		g.c.MoQ.ServeHTTP(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	if f, ok := g.files[r.URL.Path]; ok {
		h.Set("Content-Type", f.kind)
		h.Set("ETag", f.etag)
		h.Set("Cache-Control", "no-cache") // asks each time, and is mostly told that nothing changed
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
		return
	}
	if operator := g.c.Operator[r.URL.Path]; operator != nil {
		if !onThisMachine(r) {
			http.Error(w, "only for programs on the relay's machine", http.StatusForbidden)
			return
		}
		h.Set("Cache-Control", "no-store")
		operator.ServeHTTP(w, r)
		return
	}
	switch dir, name := path.Split(r.URL.Path); {
	case r.URL.Path == "/readyz":
		g.serveReady(w)
	case r.URL.Path == "/relay.json":
		g.serveInfo(w, r)
	case r.URL.Path == "/healthz":
		g.serveHealth(w)
	case name == "live.ts" && strings.Count(dir, "/") == 2:
		g.serveLive(w, r, strings.Trim(dir, "/"))
	default:
		http.Error(w, "nothing here", http.StatusNotFound)
	}
}

// unknown says that the relay does not go by the name in a request.
func (g *Gateway) unknown(r *http.Request) string {
	host := hostOf(r)
	if host == "" {
		return "this is no host of this relay"
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return fmt.Sprintf("this relay does not know that it is called %s: use its address, or start it with --allow-origin %s%s", host, scheme, r.Host)
}

// policy returns what the page may do (CSP level 3): load scripts and styles only from this address, and connect only to this
// relay.
func (g *Gateway) policy(r *http.Request) string {
	connect := "'self'"
	if host := hostOf(r); host != "" {
		scheme := "ws://"
		if r.TLS != nil {
			scheme = "wss://"
		}
		connect += " " + scheme + r.Host // of which 'self' is not the origin everywhere
		for _, u := range g.webTransport(r, host) {
			connect += " " + strings.TrimSuffix(u, "/")
		}
	}
	return "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; connect-src " + connect +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// onThisMachine reports whether a request was made here, under a name of this machine's own, and came through no proxy that says so.
func onThisMachine(r *http.Request) bool {
	if host := hostOf(r); host != "localhost" && !isLoopback(host) {
		return false
	}
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if len(r.Header.Values(h)) > 0 {
			return false
		}
	}
	return err == nil && at.Addr().Unmap().IsLoopback()
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Unmap().IsLoopback()
}

func (g *Gateway) serveHealth(w http.ResponseWriter) {
	if g.leaving.Load() {
		answer(w, http.StatusServiceUnavailable, "leaving")
		return
	}
	answer(w, http.StatusOK, "ok")
}

func (g *Gateway) serveReady(w http.ResponseWriter) {
	if err := g.c.Ready(); err != nil && !g.leaving.Load() {
		answer(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	g.serveHealth(w)
}

// answer writes a line of text that is true at this moment only.
func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n")
}
