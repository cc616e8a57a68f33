package moqt

import (
	"crypto/x509"
	"net"
)

// Transport names what the session runs over: quic, webtransport, websocket, unix, tcp, or memory.
func (s *Session) Transport() string { return s.conn.Info().Network }

// PeerCertificate is the certificate that the peer of a session over raw QUIC showed and whose key it has; nil: none. Nobody
// else has vouched for a client's.
func (s *Session) PeerCertificate() *x509.Certificate { return s.conn.Info().PeerCertificate }

// Socket is what a session over a Unix or TCP socket, or one like it, runs over, to be asked who is at its other end; else nil.
func (s *Session) Socket() net.Conn { return s.conn.Info().Socket }

// Native reports raw QUIC, or QMux over a plain socket: no HTTP is below the session.
func (s *Session) Native() bool { return s.conn.Info().Native }
