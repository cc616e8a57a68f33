package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
)

// Dial connects over the transport that the address's scheme names (address.go). tlsConf may be nil; ALPN is set here.
func Dial(ctx context.Context, addr string, tlsConf *tls.Config, o *Options) (Conn, error) {
	u, err := parseAddress(addr, false)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	o = o.withDefaults()
	switch u.Scheme {
	case "https":
		return dialWeb(ctx, u, tlsConf, o)
	case "moqt":
		return dialQUIC(ctx, u, tlsConf, o)
	case "ws", "wss":
		return dialWebSocket(ctx, u, tlsConf, o)
	}
	return dialSocket(ctx, u, o)
}

// DialOn makes a connection over QMux on an existing socket. addr names the peer in errors, and has the host and path to ask for.
// The socket is closed with the connection, and also if no connection is made.
func DialOn(ctx context.Context, nc net.Conn, addr string, o *Options) (Conn, error) {
	u, err := url.Parse(addr)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	c, err := qmuxClient(ctx, u, onSocket(nc), o.withDefaults())
	if err != nil {
		nc.Close()
	}
	return c, err
}
