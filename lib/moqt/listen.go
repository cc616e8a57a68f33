package moqt

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
)

// SessionListener accepts sessions: a Listener those over QUIC and WebTransport, a QMuxListener those over QMux.
type SessionListener interface {
	// Accept returns the next connection; its setup happens in Run, so a slow client delays nobody.
	Accept(ctx context.Context) (*Session, error)
	// Addr is the address listened on.
	Addr() net.Addr
	// Close stops listening and closes every connection accepted.
	Close() error
}

// Listen listens at host:port of UDP, or at an address with scheme unix, tcp, ws or wss (address.go). tlsConf needs a
// certificate for UDP and wss.
func Listen(addr string, tlsConf *tls.Config, conf *Config) (SessionListener, error) {
	if !strings.Contains(addr, "://") {
		return ListenQUIC(addr, tlsConf, conf)
	}
	u, err := parseAddress(addr, true)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	return listenQMux(u, tlsConf, conf)
}
