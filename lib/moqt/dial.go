package moqt

import (
	"context"
	"crypto/tls"
	"fmt"
)

// Dial connects over the transport that the address's scheme names (address.go) and exchanges setup messages. Run must be
// called next. tlsConf may be nil; ALPN is set here.
func Dial(ctx context.Context, addr string, tlsConf *tls.Config, conf *Config) (*Session, error) {
	u, err := parseAddress(addr, false)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	switch u.Scheme {
	case "https":
		return DialWebTransport(ctx, addr, tlsConf, conf)
	case "moqt":
		return DialQUIC(ctx, addr, tlsConf, conf)
	case "ws", "wss":
		return dialWebSocket(ctx, u, tlsConf, conf)
	}
	return dialSocket(ctx, u, conf)
}
