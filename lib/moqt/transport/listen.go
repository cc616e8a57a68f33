package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
)

// Listener accepts connections.
type Listener interface {
	// Accept returns the next connection, on which a protocol was agreed already. A slow client delays nobody.
	Accept(ctx context.Context) (Conn, error)
	// Addr is the address listened on; but for UDP it prints as what Dial takes.
	Addr() net.Addr
	// Close stops listening and closes every connection accepted.
	Close() error
}

// Listen listens at host:port of UDP, for raw QUIC and WebTransport, or at an address with scheme unix, tcp, ws or wss (address.go).
// tlsConf needs a certificate for UDP and wss; ALPN is set here.
func Listen(addr string, tlsConf *tls.Config, o *Options) (Listener, error) {
	o = o.withDefaults()
	if !strings.Contains(addr, "://") {
		l, err := listenQUIC(addr, tlsConf, o)
		if err != nil {
			return nil, err
		}
		return l, nil
	}
	u, err := parseAddress(addr, true)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	l, err := listenQMux(u, tlsConf, o)
	if err != nil {
		return nil, err
	}
	return l, nil
}
