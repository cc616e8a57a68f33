package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/quic-go/quic-go"

	"every.channel/ec/lib/moqt/wire"
)

// clientTLS completes a client's configuration, which may be nil.
func clientTLS(conf *tls.Config, host string, alpns ...string) *tls.Config {
	tc := &tls.Config{}
	if conf != nil {
		tc = conf.Clone()
	}
	tc.NextProtos = alpns
	tc.MinVersion = tls.VersionTLS13
	tc.ServerName = cmp.Or(tc.ServerName, host)
	return tc
}

// These windows are large enough for a gigabit over 100 ms. The bytes that a peer can make this side hold are bounded by the
// connection's window, which is Options.MaxBuffered.
const (
	initialStreamWindow = 1 << 20
	maxStreamWindow     = 8 << 20
	initialConnWindow   = 4 << 20
)

func quicConfig(o *Options) *quic.Config {
	most := uint64(o.MaxBuffered)
	return &quic.Config{
		HandshakeIdleTimeout:             o.HandshakeTimeout,
		MaxIdleTimeout:                   o.IdleTimeout,
		KeepAlivePeriod:                  max(o.KeepAlive, 0),
		InitialStreamReceiveWindow:       min(initialStreamWindow, most),
		MaxStreamReceiveWindow:           min(maxStreamWindow, most),
		InitialConnectionReceiveWindow:   min(initialConnWindow, most),
		MaxConnectionReceiveWindow:       most,
		MaxIncomingStreams:               int64(o.MaxStreams),
		MaxIncomingUniStreams:            int64(o.MaxUniStreams),
		EnableDatagrams:                  true,
		Tracer:                           quicTracer(o),
		EnableStreamResetPartialDelivery: true,
	}
}

// quicConn is a Conn over raw QUIC.
type quicConn struct {
	*quic.Conn
	info   Info
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// newQUICConn makes a Conn of a connection; info has the rest of what is known of it.
func newQUICConn(qc *quic.Conn, o *Options, info Info) (*quicConn, error) {
	st := qc.ConnectionState()
	if !slices.Contains(o.Protocols, st.TLS.NegotiatedProtocol) {
		err := &SessionError{Code: wire.VersionNegotiationFailed, Reason: "protocol " + st.TLS.NegotiatedProtocol}
		qc.CloseWithError(quic.ApplicationErrorCode(err.Code), err.Reason)
		return nil, err
	}
	if !st.SupportsDatagrams.Remote {
		// §3.1: datagrams must be negotiated.
		err := &SessionError{Code: wire.ProtocolViolation, Reason: "no QUIC datagrams"}
		qc.CloseWithError(quic.ApplicationErrorCode(err.Code), err.Reason)
		return nil, err
	}
	info.Protocol, info.Network, info.Native = st.TLS.NegotiatedProtocol, "quic", true
	if certs := st.TLS.PeerCertificates; len(certs) > 0 {
		info.PeerCertificate = certs[0]
	}
	c := &quicConn{Conn: qc, info: info}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	context.AfterFunc(qc.Context(), func() { c.cancel(connError(context.Cause(qc.Context()))) })
	return c, nil
}

// connError translates the end of a connection.
func connError(err error) error {
	var app *quic.ApplicationError
	if errors.As(err, &app) {
		return &SessionError{Code: wire.SessionCode(app.ErrorCode), Reason: app.ErrorMessage, Remote: app.Remote}
	}
	return err
}

// streamError translates errors of streams.
func streamError(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	var se *quic.StreamError
	if errors.As(err, &se) {
		return &StreamResetError{Code: wire.ResetCode(se.ErrorCode), Remote: se.Remote}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return connError(err)
}

func (c *quicConn) Info() Info               { return c.info }
func (c *quicConn) Context() context.Context { return c.ctx }

func (c *quicConn) CloseWithError(code wire.SessionCode, reason string) error {
	return c.Conn.CloseWithError(quic.ApplicationErrorCode(code), reason)
}

func (c *quicConn) OpenStream(ctx context.Context) (Stream, error) {
	st, err := c.Conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, streamError(err)
	}
	return quicStream{quicSendStream{st}, quicReceiveStream{st}}, nil
}

func (c *quicConn) OpenUniStream(ctx context.Context) (SendStream, error) {
	st, err := c.Conn.OpenUniStreamSync(ctx)
	if err != nil {
		return nil, streamError(err)
	}
	return quicSendStream{st}, nil
}

func (c *quicConn) AcceptStream(ctx context.Context) (Stream, error) {
	st, err := c.Conn.AcceptStream(ctx)
	if err != nil {
		return nil, streamError(err)
	}
	return quicStream{quicSendStream{st}, quicReceiveStream{st}}, nil
}

func (c *quicConn) AcceptUniStream(ctx context.Context) (ReceiveStream, error) {
	st, err := c.Conn.AcceptUniStream(ctx)
	if err != nil {
		return nil, streamError(err)
	}
	return quicReceiveStream{st}, nil
}

func (c *quicConn) SendDatagram(b []byte) error {
	err := c.Conn.SendDatagram(b)
	var big *quic.DatagramTooLargeError
	if errors.As(err, &big) {
		return nil // §10.3: dropped without notice
	}
	return connError(err)
}

func (c *quicConn) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	b, err := c.Conn.ReceiveDatagram(ctx)
	return b, connError(err)
}

// sendStream and receiveStream are the halves of quic.Stream, quic.SendStream and quic.ReceiveStream in use here.
type sendStream interface {
	io.WriteCloser
	CancelWrite(quic.StreamErrorCode)
	SetPriority(urgency int8, incremental bool)
	SetWriteDeadline(time.Time) error
	Context() context.Context
	StreamID() quic.StreamID
}

type receiveStream interface {
	io.Reader
	StreamID() quic.StreamID
	CancelRead(quic.StreamErrorCode)
	SetReadDeadline(time.Time) error
}

type quicSendStream struct{ st sendStream }

func (s quicSendStream) Write(p []byte) (int, error) {
	n, err := s.st.Write(p)
	return n, streamError(err)
}

func (s quicSendStream) Close() error { return streamError(s.closed()) }

// closed sends FIN. quic-go reports a stream that was reset only by an error text; the context of the stream tells which side
// reset it.
func (s quicSendStream) closed() error {
	err := s.st.Close()
	if cause, ok := errors.AsType[*quic.StreamError](context.Cause(s.st.Context())); ok && err != nil {
		return cause
	}
	return err
}

func (s quicSendStream) CancelWrite(code wire.ResetCode) {
	s.st.CancelWrite(quic.StreamErrorCode(code))
}
func (s quicSendStream) SetPriority(urgency int8, inc bool) { s.st.SetPriority(urgency, inc) }
func (s quicSendStream) SetWriteDeadline(t time.Time) error { return s.st.SetWriteDeadline(t) }
func (s quicSendStream) Context() context.Context           { return s.st.Context() }
func (s quicSendStream) StreamID() uint64                   { return uint64(s.st.StreamID()) }

// SetReliableBoundary does nothing: quic-go 0.64.1 counts up to a packet of data that it still holds back into the final
// size of RESET_STREAM_AT, so resetting a stream while the peer gives no credit would break the connection's flow control
// and with it the session (shown by lib/relay TestSlowSubscriber, every time).
func (s quicSendStream) SetReliableBoundary() {}

type quicReceiveStream struct{ st receiveStream }

func (s quicReceiveStream) Read(p []byte) (int, error) {
	n, err := s.st.Read(p)
	return n, streamError(err)
}
func (s quicReceiveStream) CancelRead(code wire.ResetCode) {
	s.st.CancelRead(quic.StreamErrorCode(code))
}
func (s quicReceiveStream) SetReadDeadline(t time.Time) error { return s.st.SetReadDeadline(t) }
func (s quicReceiveStream) StreamID() uint64                  { return uint64(s.st.StreamID()) }

type quicStream struct {
	quicSendStream
	quicReceiveStream
}

// StreamID is that of both halves.
func (s quicStream) StreamID() uint64 { return s.quicSendStream.StreamID() }
