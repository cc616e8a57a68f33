package moqt

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"

	"every.channel/ec/lib/moqt/transport/qmux"
)

// transport is the connection below what recodes its streams.
func (s *Session) transport() Conn {
	if c, ok := s.conn.(recoded); ok {
		return c.Conn
	}
	return s.conn
}

// PeerCertificate is the certificate that the peer of a session over raw QUIC showed and whose key it has; nil: none. Nobody
// else has vouched for a client's.
func (s *Session) PeerCertificate() *x509.Certificate {
	if c, ok := s.transport().(*quicConn); ok {
		if certs := c.ConnectionState().TLS.PeerCertificates; len(certs) > 0 {
			return certs[0]
		}
	}
	return nil
}

// Socket is what a session over a Unix or TCP socket, or one like it, runs over, to be asked who is at its other end; else nil.
func (s *Session) Socket() net.Conn {
	if c, ok := s.transport().(*qmuxConn); ok {
		return c.socket
	}
	return nil
}

// Native reports raw QUIC, or QMux over a plain socket: no HTTP is below the session.
func (s *Session) Native() bool { return s.conn.Native() }

// ListenOn accepts sessions over QMux on the connections of a listener, which name describes.
func ListenOn(nl net.Listener, name string, conf *Config) *QMuxListener {
	l := newQMuxListener(nl, url.URL{Opaque: name}, conf)
	l.running.Go(func() { l.end(l.serveSockets()) })
	return l
}

// DialOn makes a session over QMux on a connection that is there already, and exchanges setup messages. Run must be called next.
// addr names the peer for errors, its host and path go into the setup. The connection is closed with the session.
func DialOn(ctx context.Context, nc net.Conn, addr string, conf *Config) (*Session, error) {
	u, err := url.Parse(addr)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	s, err := qmuxClient(ctx, u, qmux.Bytes(nc), nc.LocalAddr(), nc.RemoteAddr(), "", nc, conf)
	if err != nil {
		nc.Close()
	}
	return s, err
}
