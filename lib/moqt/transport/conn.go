package transport

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"time"

	"every.channel/ec/lib/moqt/transport/repair"
	"every.channel/ec/lib/moqt/wire"
)

// Conn is one connection: its streams and datagrams. Every method may be called concurrently.
//
// Errors of streams are *StreamResetError when one side reset the stream, io.EOF for a FIN, and whatever
// the transport says otherwise; once the connection ended they wrap its *SessionError.
type Conn interface {
	// Info describes the connection; it does not change.
	Info() Info
	// OpenStream and OpenUniStream wait for stream credit from the peer until ctx is done.
	OpenStream(ctx context.Context) (Stream, error)
	OpenUniStream(ctx context.Context) (SendStream, error)
	AcceptStream(ctx context.Context) (Stream, error)
	AcceptUniStream(ctx context.Context) (ReceiveStream, error)
	// SendDatagram sends b or drops it; b may be reused afterwards.
	SendDatagram(b []byte) error
	ReceiveDatagram(ctx context.Context) ([]byte, error)
	// CloseWithError ends the connection; the peer sees code and reason.
	CloseWithError(code wire.SessionCode, reason string) error
	// Context ends with the connection; context.Cause is a *SessionError if it was closed by either side.
	Context() context.Context
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// Info describes a connection.
type Info struct {
	// Protocol is the one of Options.Protocols that was agreed on.
	Protocol string
	// Network is quic, webtransport, websocket, memory, or the network of the socket that QMux runs on, such as unix or tcp.
	Network string
	// Native reports that no HTTP lies below, so the peer does not know yet which authority and path the client asks for
	// (§9.3.1.2).
	Native bool
	// Authority and Path, which includes the query, are what the client asks for: by the address that this side dialed, or by the
	// HTTP request that a server got. Without HTTP a server has none.
	Authority, Path string
	// Bearer is the token in the header Authorization of the HTTP request that a server got (RFC 6750 §2.1); empty: there is none.
	Bearer string
	// PeerCertificate is the certificate that the peer of a connection over raw QUIC showed, and whose key the peer has; nil:
	// none. No authority has checked a client's certificate.
	PeerCertificate *x509.Certificate
	// Socket is the Unix or TCP socket on which QMux runs, or one like it; it can be asked who is at its other end. Otherwise
	// nil.
	Socket net.Conn
	// Repair tells what was made good on the path below a connection over QUIC. nil: nothing is.
	Repair func() repair.Stats
}

// SendStream is the sending half of a stream.
type SendStream interface {
	// Write blocks while the peer gives no flow control credit. It returns with a prefix written when
	// the deadline passes. It keeps no reference to p.
	io.Writer
	// Close sends FIN.
	io.Closer
	// CancelWrite sends RESET_STREAM.
	CancelWrite(code wire.ResetCode)
	// SetReliableBoundary makes a later CancelWrite still deliver the bytes written so far, where the transport can.
	SetReliableBoundary()
	// SetPriority sets the priority of RFC 9218, urgency 0 (first) to 7, where the transport can.
	SetPriority(urgency int8, incremental bool)
	SetWriteDeadline(t time.Time) error
	// Context ends when the stream was closed, reset, or refused by the peer with STOP_SENDING.
	Context() context.Context
}

// ReceiveStream is the receiving half of a stream.
type ReceiveStream interface {
	io.Reader
	// CancelRead sends STOP_SENDING.
	CancelRead(code wire.ResetCode)
	SetReadDeadline(t time.Time) error
}

// Stream is a bidirectional stream.
type Stream interface {
	SendStream
	ReceiveStream
}
