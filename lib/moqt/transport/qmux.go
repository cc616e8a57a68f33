package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"

	"every.channel/ec/lib/moqt/transport/qmux"
	"every.channel/ec/lib/moqt/wire"
)

// dialSocket connects over a Unix or TCP socket.
func dialSocket(ctx context.Context, u *url.URL, o *Options) (Conn, error) {
	dctx, cancel := context.WithTimeout(ctx, o.HandshakeTimeout)
	defer cancel()
	addr := u.Host
	if u.Scheme == "unix" {
		addr = u.Path
	}
	nc, err := (&net.Dialer{Control: tcpSocket}).DialContext(dctx, u.Scheme, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u, err)
	}
	return qmuxClient(ctx, u, onSocket(nc), o)
}

// qmuxPeer is the connection on which QMux is to run, and what is known of its other end.
type qmuxPeer struct {
	t             qmux.Transport
	local, remote net.Addr
	protocol      string // agreed on already, as over WebSocket; "": QMux negotiates it
	info          Info   // the rest of what is known
}

// onSocket returns the qmuxPeer of a Unix or TCP socket, or of one like it.
func onSocket(nc net.Conn) qmuxPeer {
	return qmuxPeer{t: qmux.Bytes(nc), local: nc.LocalAddr(), remote: nc.RemoteAddr(), info: Info{Socket: nc}}
}

// qmuxClient makes a connection to a server that was dialed at u.
func qmuxClient(ctx context.Context, u *url.URL, p qmuxPeer, o *Options) (Conn, error) {
	to := target(u)
	p.info.Authority, p.info.Path = to.Authority, to.Path
	qc, err := qmux.Client(ctx, p.t, p.config(o))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u, qmuxError(err))
	}
	conn, err := newQMuxConn(qc, p, o)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u, err)
	}
	return conn, nil
}

func (p *qmuxPeer) config(o *Options) qmux.Config {
	return qmux.Config{
		Protocols: o.Protocols, Protocol: p.protocol, MaxStreams: max(o.MaxStreams, o.MaxUniStreams), // of each direction
		HandshakeTimeout: o.HandshakeTimeout,
		IdleTimeout:      o.IdleTimeout, KeepAlive: o.KeepAlive,
		SharedWindow: int(min(o.MaxBuffered/2, 16<<20)),
	}
}

// qmuxConn is a Conn over QMux.
type qmuxConn struct {
	c             *qmux.Conn
	info          Info
	local, remote net.Addr
	ctx           context.Context
	cancel        context.CancelCauseFunc
}

func newQMuxConn(qc *qmux.Conn, p qmuxPeer, o *Options) (*qmuxConn, error) {
	if !slices.Contains(o.Protocols, qc.Protocol()) {
		err := &SessionError{Code: wire.VersionNegotiationFailed, Reason: "protocol " + qc.Protocol()}
		qc.CloseWithError(uint64(err.Code), err.Reason)
		return nil, err
	}
	info := p.info
	info.Protocol, info.Network, info.Native = qc.Protocol(), p.remote.Network(), p.protocol == ""
	if !info.Native {
		info.Network = "websocket"
	}
	c := &qmuxConn{c: qc, info: info, local: p.local, remote: p.remote}
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
		return &StreamResetError{Code: wire.ResetCode(e.Code), Remote: e.Remote}
	}
	if e, ok := errors.AsType[*qmux.ApplicationError](err); ok {
		return &SessionError{Code: wire.SessionCode(e.Code), Reason: e.Reason, Remote: e.Remote}
	}
	if e, ok := errors.AsType[*qmux.TransportError](err); ok && e.Code == qmux.NoApplicationProtocol {
		return &SessionError{Code: wire.VersionNegotiationFailed, Reason: e.Error(), Remote: e.Remote}
	}
	return err
}

func (c *qmuxConn) Info() Info               { return c.info }
func (c *qmuxConn) Context() context.Context { return c.ctx }
func (c *qmuxConn) LocalAddr() net.Addr      { return c.local }
func (c *qmuxConn) RemoteAddr() net.Addr     { return c.remote }

func (c *qmuxConn) CloseWithError(code wire.SessionCode, reason string) error {
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

func (s qmuxStream) Close() error                    { return qmuxError(s.Stream.Close()) }
func (s qmuxStream) StreamID() uint64                { return s.Stream.ID() }
func (s qmuxStream) CancelRead(code wire.ResetCode)  { s.Stream.CancelRead(uint64(code)) }
func (s qmuxStream) CancelWrite(code wire.ResetCode) { s.Stream.CancelWrite(uint64(code)) }
