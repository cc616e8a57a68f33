package relay

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/gateway"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/sub"
)

// Readers is a listener whose sessions may read but not publish.
type Readers struct{ moqt.SessionListener }

// httpAddress takes an address of the HTTP server apart: host:port, http://host:port or https://host:port.
func httpAddress(addr string) (hostPort string, encrypted bool, err error) {
	if !strings.Contains(addr, "://") {
		return addr, false, moqt.CheckHostPort(addr)
	}
	u, err := url.Parse(addr)
	switch {
	case err != nil:
		return "", false, err
	case u.Scheme != "http" && u.Scheme != "https" || u.Port() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "":
		return "", false, errors.New("want HOST:PORT, http://HOST:PORT or https://HOST:PORT")
	}
	return u.Host, u.Scheme == "https", moqt.CheckHostPort(u.Host)
}

// httpServer serves the relay's page, broadcasts and WebSockets by HTTP, at all of its addresses.
type httpServer struct {
	*gateway.Gateway
	moq       *moqt.WebSocketHandler
	listeners []net.Listener
	tls       []*tls.Config // of each; nil: none
	urls      []string
}

// listenHTTP listens at all of ServerConfig.HTTP; nil if there are none. udp are the addresses at which there is WebTransport.
func (r *Relay) listenHTTP(c ServerConfig, certs *keys.Certificates, udp []net.Addr, sessions *moqt.Config, status func() Status) (_ *httpServer, err error) {
	if len(c.HTTP) == 0 {
		return nil, nil
	}
	h := &httpServer{moq: moqt.NewWebSocketHandler("http", sessions)}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	for _, addr := range c.HTTP {
		host, encrypted, err := httpAddress(addr)
		var l net.Listener
		if err == nil {
			l, err = moqt.ListenTCP(host)
		}
		if err != nil {
			return nil, listenError(addr, err, httpForm)
		}
		scheme, conf := "http", (*tls.Config)(nil)
		if encrypted {
			scheme, conf = "https", certs.TLS()
		}
		h.listeners, h.tls, h.urls = append(h.listeners, l), append(h.tls, conf), append(h.urls, scheme+"://"+l.Addr().String()+"/")
	}
	h.Gateway, err = gateway.New(gateway.Config{
		Page: c.Page, Name: c.Name, WebTransport: udp, MoQ: h.moq, Follow: r.write, Logger: c.Logger,
		Hashes: func() (list []gateway.Hash) {
			for _, h := range certs.Hashes() {
				list = append(list, gateway.Hash(h))
			}
			return list
		},
		Operator: map[string]http.Handler{"/metrics": r.operators(newMetrics(status, c.Logger)), "/status.json": r.operators(statusJSON(status))},
		Ready:    r.ready,
		May:      r.mayRead,
		Admit:    r.limits.AdmitHTTP,
		Pace:     paces,
		Known:    func(host string) bool { return moqt.HostKnown(sessions, host) },
		Allowed:  func(r *http.Request) bool { return moqt.OriginAllowed(sessions, r) },
	})
	return h, err
}

// statusJSON answers with the record of the command status.
func statusJSON(status func() Status) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(status())
	})
}

// operators asks for a token that lets its holder list everything, where not everybody may: metrics and status name all tracks, and whoever
// comes through a proxy on this machine looks like a program on this machine.
func (r *Relay) operators(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if rights := r.c.Rights; rights != nil {
			policy := rights.Policy()
			everybody := policy.Everybody(auth.SubscribeNamespace, nil)
			var g *auth.Grant // nil: everybody may, and nothing was shown
			var refusal *gateway.Refusal
			if !everybody || moqt.Bearer(req) != "" || mesh.InQuery(req.URL.RawQuery) != "" {
				g, refusal = r.shown(req)
			}
			if refusal == nil && !everybody && !g.Everything(auth.SubscribeNamespace) {
				refusal = &gateway.Refusal{Status: http.StatusForbidden, Reason: "no token that was shown allows to list everything"}
			}
			if why := refuses(policy, req, g); refusal == nil && why != "" {
				refusal = &gateway.Refusal{Status: http.StatusForbidden, Reason: why}
			}
			if refusal != nil {
				if refusal.Status == http.StatusUnauthorized {
					w.Header().Set("WWW-Authenticate", "Bearer")
				}
				http.Error(w, refusal.Reason, refusal.Status)
				return
			}
		}
		h.ServeHTTP(w, req)
	})
}

// ready returns why the relay cannot do all of its work at the moment.
func (r *Relay) ready() error {
	if r.store.Paused() != nil {
		return errors.New("nothing can be stored")
	}
	return nil
}

// shown returns what the token in a request's header or URL lets its bearer do.
func (r *Relay) shown(req *http.Request) (*auth.Grant, *gateway.Refusal) {
	text := cmp.Or(moqt.Bearer(req), mesh.InQuery(req.URL.RawQuery))
	if text == "" {
		return nil, &gateway.Refusal{Status: http.StatusUnauthorized, Reason: "a token of this relay is needed here: ?token=TOKEN, or Authorization: Bearer TOKEN"}
	}
	t, err := mesh.FromText(text)
	var g *auth.Grant
	if err == nil {
		g, err = r.c.Rights.Grant(t, time.Now())
	}
	switch {
	case err != nil && mesh.SessionCode(err) == wire.InternalError:
		r.log.Error("tokens cannot be looked at, nobody comes with one", "err", err)
		return nil, &gateway.Refusal{Status: http.StatusServiceUnavailable, Reason: "tokens cannot be looked at"}
	case err != nil:
		return nil, &gateway.Refusal{Status: http.StatusUnauthorized, Reason: err.Error()}
	case g == nil: // no token of ours is read here
		return nil, &gateway.Refusal{Status: http.StatusUnauthorized, Reason: "the relay does not read such a token"}
	}
	return g, nil
}

// mayRead reports whether a request may read a broadcast, by the token in its header or its URL, and until when.
func (r *Relay) mayRead(req *http.Request, ns object.Namespace) (ctx context.Context, done func(), refusal *gateway.Refusal) {
	rights, from := r.c.Rights, requestFrom(req.RemoteAddr)
	if rights == nil {
		with, left, err := r.reads(req.Context(), from, nil)
		if err != nil {
			return nil, nil, &gateway.Refusal{Status: http.StatusTooManyRequests, Reason: err.Error()}
		}
		return with, left, nil
	}
	policy := rights.Policy()
	everybody := policy.Everybody(auth.Subscribe, ns)
	var g *auth.Grant // nil: everybody may, and nothing was shown
	if !everybody || moqt.Bearer(req) != "" || mesh.InQuery(req.URL.RawQuery) != "" {
		g, refusal = r.shown(req)
	}
	if refusal == nil && !everybody && !g.Whole(auth.Subscribe, ns) {
		refusal = &gateway.Refusal{Status: http.StatusForbidden, Reason: "no token that was shown allows to read this"}
	}
	if b := r.banBelow(ns); b != nil {
		status := http.StatusForbidden
		if b.taken {
			status = http.StatusUnavailableForLegalReasons
		}
		refusal = &gateway.Refusal{Status: status, Reason: b.why}
	}
	if why := refuses(policy, req, g); refusal == nil && why != "" {
		refusal = &gateway.Refusal{Status: http.StatusForbidden, Reason: why}
	}
	if refusal != nil {
		r.log.Log(req.Context(), r.refusals.Level(), "refused, not allowed", "peer", req.RemoteAddr, "to", "read", "what", ns.String(), "by", "http", "why", refusal.Reason)
		return nil, nil, refusal
	}
	with, left, err := r.reads(req.Context(), from, g)
	if err != nil {
		return nil, nil, &gateway.Refusal{Status: http.StatusTooManyRequests, Reason: err.Error()}
	}
	ctx, end := context.WithCancelCause(with)
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(lookInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				if err := r.stillReads(req, g, ns, now); err != nil {
					end(err)
				}
			}
		}
	})
	return ctx, func() { end(nil); watching.Wait(); left() }, nil
}

// refuses returns why a policy keeps out who sent a request: "": it does not.
func refuses(p *auth.Policy, req *http.Request, g *auth.Grant) string {
	var who auth.Peer
	if at, err := netip.ParseAddrPort(req.RemoteAddr); err == nil {
		who.Addr = at.Addr()
	}
	if g != nil {
		who.Tokens = []string{g.ID}
	}
	return p.Refuses(who)
}

// stillReads returns why a reader may not read a broadcast any more.
func (r *Relay) stillReads(req *http.Request, g *auth.Grant, ns object.Namespace, now time.Time) error {
	rights := r.c.Rights
	if b := r.banBelow(ns); b != nil {
		return errors.New(b.why)
	}
	if g != nil {
		if err := rights.Check(g, now); err != nil && mesh.SessionCode(err) != wire.InternalError {
			return err
		}
	}
	p := rights.Policy()
	if why := refuses(p, req, g); why != "" {
		return errors.New(why)
	}
	if !p.Everybody(auth.Subscribe, ns) && (g == nil || !g.Whole(auth.Subscribe, ns)) {
		return errors.New("a token of this relay is needed here now")
	}
	return nil
}

// requestFrom is the address of a request.
type requestFrom string

func (requestFrom) Network() string  { return "tcp" }
func (a requestFrom) String() string { return string(a) }

// serve answers until ctx ends.
func (h *httpServer) serve(ctx context.Context) error {
	var serving sync.WaitGroup
	errs := make([]error, len(h.listeners))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for i, l := range h.listeners {
		serving.Go(func() {
			defer stop() // if serving one address fails, all of them end
			errs[i] = h.Serve(ctx, l, h.tls[i])
		})
	}
	serving.Wait()
	return errors.Join(errs...)
}

func (h *httpServer) close() {
	for _, l := range h.listeners {
		l.Close()
	}
	if h.Gateway != nil {
		h.Gateway.Close()
	}
	h.moq.Close()
}

// write writes the bytes that ec-sub --ts would write of a broadcast, from the group on that is being sent.
func (r *Relay) write(ctx context.Context, ns object.Namespace, w io.Writer) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	_, err := sub.Run(ctx, sub.Config{
		Relays:    []string{"unix:///this"}, // never dialled: Dial makes a pipe
		Names:     []string{ns.String()},
		Log:       r.log.With("by", "http", "broadcast", ns.String()),
		AllowGaps: true, // a player is told of none
		RetryLost: -1,   // the session is in memory and cannot be lost
		Dial: func(_ context.Context, _ string, _ *tls.Config, conf *moqt.Config) (*moqt.Session, error) {
			client, server := moqt.Pipe(moqt.PipeOptions{Version: wire.Draft18, MaxStreams: 1024, Window: 1 << 20})
			serving.Go(func() { r.serveInside(ctx, moqt.NewServer(server, nil), ns) })
			s := moqt.NewClient(client, "this", "/", conf)
			if err := s.Handshake(ctx); err != nil {
				s.Close(wire.NoError, "")
				return nil, fmt.Errorf("this relay: %w", err)
			}
			return s, nil
		},
	}, w)
	return cmp.Or(context.Cause(ctx), err)
}
