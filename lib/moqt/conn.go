package moqt

import (
	"context"
	"io"
	"net"
	"time"
)

// Conn is what a session runs over: streams and datagrams of one connection. Raw QUIC is one; WebTransport,
// QMux and the in-memory connection of the tests are others. Every method may be called concurrently.
//
// Errors of streams are *StreamResetError when one side reset the stream, io.EOF for a FIN, and whatever
// the transport says otherwise; once the connection ended they wrap its *SessionError.
type Conn interface {
	// Version is the draft negotiated by ALPN or WebTransport protocol.
	Version() Version
	// OpenStream and OpenUniStream wait for stream credit from the peer until ctx is done.
	OpenStream(ctx context.Context) (Stream, error)
	OpenUniStream(ctx context.Context) (SendStream, error)
	AcceptStream(ctx context.Context) (Stream, error)
	AcceptUniStream(ctx context.Context) (ReceiveStream, error)
	// SendDatagram sends b or drops it; b may be reused afterwards.
	SendDatagram(b []byte) error
	ReceiveDatagram(ctx context.Context) ([]byte, error)
	// CloseWithError ends the connection; the peer sees code and reason.
	CloseWithError(code SessionCode, reason string) error
	// Context ends with the connection; context.Cause is a *SessionError if it was closed by either side.
	Context() context.Context
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// Native reports raw QUIC, where the path travels in CLIENT_SETUP; false for WebTransport (§9.3.1.2).
	Native() bool
}

// SendStream is the sending half of a stream.
type SendStream interface {
	// Write blocks while the peer gives no flow control credit. It returns with a prefix written when
	// the deadline passes. It keeps no reference to p.
	io.Writer
	// Close sends FIN.
	io.Closer
	// CancelWrite sends RESET_STREAM.
	CancelWrite(code ResetCode)
	// SetReliableBoundary makes a later CancelWrite deliver what was written so far, where the transport can.
	SetReliableBoundary()
	// SetPriority takes the priority of RFC 9218, urgency 0 (first) to 7, where the transport can.
	SetPriority(urgency int8, incremental bool)
	SetWriteDeadline(t time.Time) error
	// Context ends when the stream was closed, reset, or refused by the peer with STOP_SENDING.
	Context() context.Context
}

// ReceiveStream is the receiving half of a stream.
type ReceiveStream interface {
	io.Reader
	// CancelRead sends STOP_SENDING.
	CancelRead(code ResetCode)
	SetReadDeadline(t time.Time) error
}

// Stream is a bidirectional stream.
type Stream interface {
	SendStream
	ReceiveStream
}
