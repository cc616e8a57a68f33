package moqt

import (
	"crypto/x509"
	"net"
	"net/http"

	"every.channel/ec/lib/moqt/transport"
	"every.channel/ec/lib/moqt/transport/repair"
)

// What a session runs over, by the names of this package.
type (
	Conn          = transport.Conn
	Stream        = transport.Stream
	SendStream    = transport.SendStream
	ReceiveStream = transport.ReceiveStream
)

// transport is what a connection needs to know of c, which may be nil: of drafts their names, best first.
func (c *Config) transport() *transport.Options {
	d := c.withDefaults()
	return &transport.Options{
		Protocols:    protocols(d.Versions),
		AllowOrigins: d.AllowOrigins, Hosts: d.Hosts, AskCertificate: d.AskCertificate, AskWhen: d.AskWhen, ResetKey: d.ResetKey,
		Admit: d.Admit, Prove: d.Prove,
		NoRepair: d.NoRepair,
		Logger:   d.Logger, QLogDir: d.QLogDir, QLogSize: d.QLogSize,
		MaxStreams: d.MaxStreams, MaxUniStreams: d.MaxStreams + 1, // and the peer's control stream, in drafts where it is one
		MaxBuffered: d.MaxBuffered, HandshakeTimeout: d.HandshakeTimeout, IdleTimeout: d.IdleTimeout, KeepAlive: d.KeepAlive,
	}
}

// protocols are the names of drafts.
func protocols(versions []Version) (names []string) {
	for _, v := range versions {
		names = append(names, v.ALPN())
	}
	return names
}

// CheckAddress reports an address that Dial does not take.
func CheckAddress(addr string) error { return transport.CheckAddress(addr) }

// CheckHostPort reports an address that is not host:port, as listeners take it.
func CheckHostPort(addr string) error { return transport.CheckHostPort(addr) }

// TryListen reports what keeps Listen from listening at an address, by binding a socket there for a moment. It returns
// syscall.EADDRINUSE where another socket listens.
func TryListen(addr string) error { return transport.TryListen(addr) }

// OriginAllowed reports whether the page that sent a request may connect, by Config.AllowOrigins and Config.Hosts.
func OriginAllowed(conf *Config, r *http.Request) bool { return conf.transport().OriginAllowed(r) }

// HostKnown reports whether a host, as a request names it, is one by which this server is known (Config.Hosts).
func HostKnown(conf *Config, host string) bool { return conf.transport().HostKnown(host) }

// Bearer is the token in the header Authorization of a request; empty: there is none.
func Bearer(r *http.Request) string { return transport.Bearer(r) }

// PipeOptions shape an in-memory connection.
type PipeOptions struct {
	Version    Version // of both ends
	MaxStreams int     // data streams, and requests streams, open at a time; default 100
	Window     int     // bytes a stream holds before its writer blocks; default 64 KiB
	WebLike    bool    // there is HTTP below, as with WebTransport
}

// Pipe connects two ends in memory, within a process and for tests without a network.
func Pipe(o PipeOptions) (client, server Conn) {
	streams := or(o.MaxStreams, 100)
	return transport.Pipe(transport.PipeOptions{
		Protocol: o.Version.ALPN(), MaxStreams: streams, MaxUniStreams: streams + 1, Window: o.Window, WebLike: o.WebLike,
	})
}

// Transport names what the session runs over: quic, webtransport, websocket, unix, tcp, or memory.
func (s *Session) Transport() string { return s.conn.Info().Network }

// PeerCertificate is the certificate that the peer of a session over raw QUIC showed and whose key it has; nil: none. Nobody
// else has vouched for a client's.
func (s *Session) PeerCertificate() *x509.Certificate { return s.conn.Info().PeerCertificate }

// RepairStats tell what was made good on a path below QUIC.
type RepairStats = repair.Stats

// Repair tells what was made good on the path below the session. The zero value: nothing is, or not over QUIC.
func (s *Session) Repair() RepairStats {
	if f := s.conn.Info().Repair; f != nil {
		return f()
	}
	return RepairStats{}
}

// Socket is what a session over a Unix or TCP socket, or one like it, runs over, to be asked who is at its other end; else nil.
func (s *Session) Socket() net.Conn { return s.conn.Info().Socket }

// Native reports raw QUIC, or QMux over a plain socket: no HTTP is below the session.
func (s *Session) Native() bool { return s.conn.Info().Native }
