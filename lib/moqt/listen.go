package moqt

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"every.channel/ec/lib/moqt/transport"
)

// SessionListener accepts sessions, as a Listener does.
type SessionListener interface {
	// Accept returns the next session; its setup happens in Run, so a slow client delays nobody.
	Accept(ctx context.Context) (*Session, error)
	// Addr is the address listened on.
	Addr() net.Addr
	// Close stops listening and closes every connection accepted.
	Close() error
}

// Listener accepts sessions on the connections of a transport.Listener.
type Listener struct {
	l    transport.Listener
	conf *Config
}

// Listen listens at host:port of UDP, for raw QUIC and WebTransport, or at an address with scheme unix, tcp, ws or wss (docs/moqt.md,
// Addresses). tlsConf needs a certificate for UDP and wss; ALPN is set here.
func Listen(addr string, tlsConf *tls.Config, conf *Config) (*Listener, error) {
	l, err := transport.Listen(addr, tlsConf, conf.transport())
	if err != nil {
		return nil, err
	}
	return &Listener{l, conf}, nil
}

// ListenOn accepts sessions over QMux on the sockets of a listener, which name describes.
func ListenOn(nl net.Listener, name string, conf *Config) *Listener {
	return &Listener{transport.ListenOn(nl, name, conf.transport()), conf}
}

// ListenTCP listens for sockets on which QMux may run: little waits in them unsent.
func ListenTCP(addr string) (net.Listener, error) { return transport.ListenTCP(addr) }

// Accept returns the next session; its setup happens in Run, so a slow client delays nobody.
func (l *Listener) Accept(ctx context.Context) (*Session, error) {
	conn, err := l.l.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return NewServer(conn, l.conf), nil
}

// Addr is the address listened on; but for UDP it prints as what Dial takes.
func (l *Listener) Addr() net.Addr { return l.l.Addr() }

// Close stops listening and closes every connection accepted.
func (l *Listener) Close() error { return l.l.Close() }

// WebSocketHandler accepts sessions over WebSocket from the requests that an HTTP server hands to it.
type WebSocketHandler struct {
	*Listener
	h *transport.WebSocketHandler
}

// NewWebSocketHandler makes one; name is what its sessions come to, for Addr. Close must be called.
func NewWebSocketHandler(name string, conf *Config) *WebSocketHandler {
	h := transport.NewWebSocketHandler(name, conf.transport())
	return &WebSocketHandler{&Listener{h, conf}, h}
}

// ServeHTTP makes a session of a request, or refuses.
func (h *WebSocketHandler) ServeHTTP(rw http.ResponseWriter, r *http.Request) { h.h.ServeHTTP(rw, r) }
