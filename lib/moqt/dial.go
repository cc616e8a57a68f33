package moqt

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"every.channel/ec/lib/moqt/transport"
)

// Dial connects over the transport that the address's scheme names (docs/moqt.md, Addresses) and exchanges setup messages. Run must be
// called next. tlsConf may be nil; ALPN is set here.
func Dial(ctx context.Context, addr string, tlsConf *tls.Config, conf *Config) (*Session, error) {
	conn, err := transport.Dial(ctx, addr, tlsConf, conf.transport())
	if err != nil {
		return nil, err
	}
	return dialed(ctx, conn, conf)
}

// DialOn makes a session over QMux on a socket that is there already, and exchanges setup messages. Run must be called next.
// addr names the peer for errors, its host and path go into the setup. The socket is closed with the session.
func DialOn(ctx context.Context, nc net.Conn, addr string, conf *Config) (*Session, error) {
	conn, err := transport.DialOn(ctx, nc, addr, conf.transport())
	if err != nil {
		return nil, err
	}
	s, err := dialed(ctx, conn, conf)
	if err != nil {
		nc.Close()
	}
	return s, err
}

// dialed makes a session of a connection that this side dialed.
func dialed(ctx context.Context, conn Conn, conf *Config) (*Session, error) {
	to := conn.Info()
	s := NewClient(conn, to.Authority, to.Path, conf)
	if err := s.Handshake(ctx); err != nil {
		return nil, fmt.Errorf("dial %s: %w", or(to.Authority, conn.RemoteAddr().String()), err)
	}
	return s, nil
}
