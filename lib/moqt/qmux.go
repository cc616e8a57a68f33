package moqt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"

	"every.channel/ec/lib/moqt/transport/qmux"
	"every.channel/ec/lib/moqt/wire"
)

// dialSocket connects over a Unix or TCP socket.
func dialSocket(ctx context.Context, u *url.URL, conf *Config) (*Session, error) {
	c := conf.withDefaults()
	dctx, cancel := context.WithTimeout(ctx, c.HandshakeTimeout)
	defer cancel()
	addr := u.Host
	if u.Scheme == "unix" {
		addr = u.Path
	}
	nc, err := (&net.Dialer{Control: shortQueue}).DialContext(dctx, u.Scheme, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u, err)
	}
	return qmuxClient(ctx, u, qmux.Bytes(nc), nc.LocalAddr(), nc.RemoteAddr(), "", nc, conf)
}

// qmuxClient makes a session over a transport, whose protocol was agreed on already or else is negotiated. socket is what is below, nil for
// a WebSocket.
func qmuxClient(ctx context.Context, u *url.URL, t qmux.Transport, local, remote net.Addr, protocol string, socket net.Conn, conf *Config) (*Session, error) {
	qconf := qmuxConfig(conf.withDefaults())
	qconf.Protocol = protocol
	qc, err := qmux.Client(ctx, t, qconf)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u, qmuxError(err))
	}
	conn, err := newQMuxConn(qc, local, remote, protocol == "")
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u, err)
	}
	conn.socket = socket
	authority, path := "", ""
	if conn.native {
		authority, path = u.Host, requestPath(u)
	}
	s := NewClient(conn, authority, path, conf)
	if err := s.Handshake(ctx); err != nil {
		return nil, fmt.Errorf("dial %s: %w", u, err)
	}
	return s, nil
}

// qmuxConfig offers every draft, newest first.
func qmuxConfig(c *Config) qmux.Config {
	return qmux.Config{
		Protocols: alpns(c), MaxStreams: c.MaxStreams + 1, // and the control stream
		HandshakeTimeout: c.HandshakeTimeout,
		IdleTimeout:      c.IdleTimeout, KeepAlive: c.KeepAlive,
		SharedWindow: int(min(c.MaxBuffered/2, 16<<20)),
	}
}

// qmuxConn is a Conn over QMux.
type qmuxConn struct {
	c             *qmux.Conn
	v             Version
	local, remote net.Addr
	native        bool
	socket        net.Conn // nil over a WebSocket
	ctx           context.Context
	cancel        context.CancelCauseFunc
}

func newQMuxConn(qc *qmux.Conn, local, remote net.Addr, native bool) (*qmuxConn, error) {
	v, ok := wire.VersionByALPN(qc.Protocol())
	if !ok {
		err := &SessionError{Code: wire.VersionNegotiationFailed, Reason: "protocol " + qc.Protocol()}
		qc.CloseWithError(uint64(err.Code), err.Reason)
		return nil, err
	}
	c := &qmuxConn{c: qc, v: v, local: local, remote: remote, native: native}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	context.AfterFunc(qc.Context(), func() { c.cancel(qmuxError(context.Cause(qc.Context()))) })
	return c, nil
}

// qmuxError translates errors of streams and of the end of a connection.
func qmuxError(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if e, ok := errors.AsType[*qmux.StreamError](err); ok {
		return &StreamResetError{Code: ResetCode(e.Code), Remote: e.Remote}
	}
	if e, ok := errors.AsType[*qmux.ApplicationError](err); ok {
		return &SessionError{Code: SessionCode(e.Code), Reason: e.Reason, Remote: e.Remote}
	}
	if e, ok := errors.AsType[*qmux.TransportError](err); ok && e.Code == qmux.NoApplicationProtocol {
		return &SessionError{Code: wire.VersionNegotiationFailed, Reason: e.Error(), Remote: e.Remote}
	}
	return err
}

func (c *qmuxConn) Version() Version         { return c.v }
func (c *qmuxConn) Native() bool             { return c.native }
func (c *qmuxConn) Context() context.Context { return c.ctx }
func (c *qmuxConn) LocalAddr() net.Addr      { return c.local }
func (c *qmuxConn) RemoteAddr() net.Addr     { return c.remote }

func (c *qmuxConn) CloseWithError(code SessionCode, reason string) error {
	return c.c.CloseWithError(uint64(code), reason)
}

func (c *qmuxConn) OpenStream(ctx context.Context) (Stream, error) {
	st, err := c.c.OpenStream(ctx)
	if err != nil {
		return nil, qmuxError(err)
	}
	return qmuxStream{st}, nil
}

func (c *qmuxConn) OpenUniStream(ctx context.Context) (SendStream, error) {
	st, err := c.c.OpenUniStream(ctx)
	if err != nil {
		return nil, qmuxError(err)
	}
	return qmuxStream{st}, nil
}

func (c *qmuxConn) AcceptStream(ctx context.Context) (Stream, error) {
	st, err := c.c.AcceptStream(ctx)
	if err != nil {
		return nil, qmuxError(err)
	}
	return qmuxStream{st}, nil
}

func (c *qmuxConn) AcceptUniStream(ctx context.Context) (ReceiveStream, error) {
	st, err := c.c.AcceptUniStream(ctx)
	if err != nil {
		return nil, qmuxError(err)
	}
	return qmuxStream{st}, nil
}

func (c *qmuxConn) SendDatagram(b []byte) error { return qmuxError(c.c.SendDatagram(b)) }

func (c *qmuxConn) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	b, err := c.c.ReceiveDatagram(ctx)
	return b, qmuxError(err)
}

type qmuxStream struct{ *qmux.Stream }

func (s qmuxStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	return n, qmuxError(err)
}

func (s qmuxStream) Write(p []byte) (int, error) {
	n, err := s.Stream.Write(p)
	return n, qmuxError(err)
}

func (s qmuxStream) Close() error               { return qmuxError(s.Stream.Close()) }
func (s qmuxStream) StreamID() uint64           { return s.Stream.ID() }
func (s qmuxStream) CancelRead(code ResetCode)  { s.Stream.CancelRead(uint64(code)) }
func (s qmuxStream) CancelWrite(code ResetCode) { s.Stream.CancelWrite(uint64(code)) }
