package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coder/websocket"

	"every.channel/ec/lib/moqt/transport/qmux"
	"every.channel/ec/lib/moqt/wire"
)

// dialWebSocket connects over a WebSocket, whose subprotocol is the application protocol, as qmux.Subprotocols names it.
func dialWebSocket(ctx context.Context, u *url.URL, tlsConf *tls.Config, o *Options) (Conn, error) {
	dctx, cancel := context.WithTimeout(ctx, o.HandshakeTimeout)
	defer cancel()
	var nc net.Conn
	tr := &http.Transport{
		TLSClientConfig: clientTLS(tlsConf, u.Hostname(), "http/1.1"), MaxResponseHeaderBytes: maxWebHeader,
		DialContext: func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
			nc, err = (&net.Dialer{Control: tcpSocket}).DialContext(ctx, network, addr)
			return nc, err
		},
	}
	defer tr.CloseIdleConnections()
	ws, res, err := websocket.Dial(dctx, u.String(), &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Subprotocols: qmux.Subprotocols(o.Protocols),
	})
	if err != nil {
		if res != nil && res.StatusCode != http.StatusSwitchingProtocols {
			err = webDialError(res, err)
		}
		return nil, fmt.Errorf("dial %s: %w", u, err)
	}
	protocol, err := qmux.ParseSubprotocol(ws.Subprotocol())
	if err != nil {
		ws.Close(websocket.StatusPolicyViolation, "no subprotocol in common")
		err = &SessionError{Code: wire.VersionNegotiationFailed, Reason: "the relay chose no WebSocket subprotocol of ours"}
		return nil, fmt.Errorf("dial %s: %w", u, err)
	}
	return qmuxClient(ctx, u, qmuxPeer{t: newWSTransport(ws), local: nc.LocalAddr(), remote: nc.RemoteAddr(), protocol: protocol}, o)
}

// admittedKey is the key under which the context of a request has its connection.
type admittedKey struct{}

// webSocketServer takes the requests for WebSockets.
func (l *qmuxListener) webSocketServer() *http.Server {
	patience := l.o.HandshakeTimeout
	return &http.Server{
		MaxHeaderBytes: maxWebHeader, ReadHeaderTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: patience,
		ErrorLog: slog.NewLogLogger(l.o.Logger.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			if t, ok := nc.(*tls.Conn); ok {
				nc = t.NetConn()
			}
			return context.WithValue(ctx, admittedKey{}, nc)
		},
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			l.serveWebSocket(rw, r, r.Context().Value(admittedKey{}).(*admitted))
		}),
	}
}

// admitting is a listener whose connections count as pending until QMux is set up on them or they have ended.
type admitting struct {
	net.Listener
	l *qmuxListener
}

func (a *admitting) Accept() (net.Conn, error) {
	for {
		nc, err := a.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if done, ok := a.l.admit(nc.RemoteAddr()); ok {
			return &admitted{nc, done}, nil
		}
		nc.Close()
	}
}

type admitted struct {
	net.Conn
	done func()
}

func (a *admitted) Close() error {
	a.done()
	return a.Conn.Close()
}

// Bearer is the token in the header Authorization of a request; empty: there is none.
func Bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// serveWebSocket answers the request of a connection, and accepts only WebSockets. It reports whether one was begun.
func (l *qmuxListener) serveWebSocket(rw http.ResponseWriter, r *http.Request, nc *admitted) bool {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		rw.Header().Set("Upgrade", "websocket")
		http.Error(rw, "this is a MoQ server, for WebSocket", http.StatusUpgradeRequired)
		return false
	}
	if !l.o.originAllowed(r) {
		l.o.Logger.Warn("origin refused", "peer", nc.RemoteAddr(), "origin", r.Header.Get("Origin"))
		http.Error(rw, "origin not allowed", http.StatusForbidden)
		return false
	}
	// The server's preference decides, as in RFC 7301 §3.2 and with moq-dev.
	var offered []string
	for _, h := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(h, ",") {
			offered = append(offered, strings.TrimSpace(name))
		}
	}
	names := qmux.Subprotocols(l.o.Protocols)
	i := slices.IndexFunc(names, func(name string) bool { return slices.Contains(offered, name) })
	if i < 0 {
		http.Error(rw, "no subprotocol in common; spoken are "+strings.Join(names, ", "), http.StatusBadRequest)
		return false
	}
	protocol, _ := qmux.ParseSubprotocol(names[i])
	ws, err := websocket.Accept(rw, r, &websocket.AcceptOptions{Subprotocols: names[i : i+1], InsecureSkipVerify: true}) // the origin was checked above
	if err != nil {
		l.o.Logger.Debug("WebSocket refused", "peer", nc.RemoteAddr(), "err", err)
		return false
	}
	t := newWSTransport(ws)
	peer := qmuxPeer{t: t, local: nc.LocalAddr(), remote: nc.RemoteAddr(), protocol: protocol, info: Info{Authority: r.Host, Path: r.URL.RequestURI(), Bearer: Bearer(r)}}
	l.start(t, func() { // in a goroutine of its own, so that net/http's is free
		conn, err := l.establish(peer)
		nc.done()
		if err != nil {
			l.o.Logger.Debug("QMux refused", "peer", nc.RemoteAddr(), "err", err)
			return
		}
		l.offer(conn)
	})
	return true
}

// wsTransport carries a record in each binary message (QMux has no length before it there).
type wsTransport struct {
	ws  *websocket.Conn
	ctx context.Context // ends with Close
	end context.CancelFunc
	buf []byte
}

func newWSTransport(ws *websocket.Conn) *wsTransport {
	ws.SetReadLimit(-1) // ReadRecord has one
	t := &wsTransport{ws: ws}
	t.ctx, t.end = context.WithCancel(context.Background())
	return t
}

func (t *wsTransport) ReadRecord(limit int) ([]byte, error) {
	kind, r, err := t.ws.Reader(t.ctx)
	if err != nil {
		if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			err = io.EOF
		}
		return nil, err
	}
	if kind != websocket.MessageBinary {
		return nil, &qmux.TransportError{Code: qmux.FrameEncodingError, Reason: "a message of text"}
	}
	if len(t.buf) < limit+1 {
		t.buf = make([]byte, limit+1)
	}
	n, err := io.ReadFull(r, t.buf[:limit+1])
	switch {
	case err == nil:
		return nil, &qmux.TransportError{Code: qmux.FrameEncodingError, Reason: fmt.Sprintf("record of more than %d bytes", limit)}
	case err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	}
	return t.buf[:n], nil
}

func (t *wsTransport) WriteRecord(b []byte) error {
	return t.ws.Write(t.ctx, websocket.MessageBinary, b[qmux.Headroom:])
}

func (t *wsTransport) CloseWrite() error { return t.ws.Close(websocket.StatusNormalClosure, "") }

func (t *wsTransport) Close() error {
	t.end()
	return t.ws.CloseNow()
}
