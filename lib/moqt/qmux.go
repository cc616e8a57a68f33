package moqt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/qmux"
	"every.channel/ec/lib/moqt/wire"
)

// DialQMux connects to unix:///path/of/socket or tcp://host:port/path over QMux and exchanges setup messages. Run must be
// called next. Nothing is encrypted: these are for the same host or a trusted network. As with moq-dev, the path a relay
// gets over a Unix socket is that of the query: unix:///socket?path=/x.
func DialQMux(ctx context.Context, rawURL string, conf *Config) (*Session, error) {
	network, addr, u, err := qmuxAddr(rawURL)
	if err != nil {
		return nil, err
	}
	c := conf.withDefaults()
	dctx, cancel := context.WithTimeout(ctx, c.HandshakeTimeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(dctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", rawURL, err)
	}
	qc, err := qmux.Client(ctx, qmux.Bytes(nc), qmuxConfig(c))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", rawURL, qmuxError(err))
	}
	conn, err := newQMuxConn(qc, nc.LocalAddr(), nc.RemoteAddr(), true)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", rawURL, err)
	}
	path := u.EscapedPath()
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	if network == "unix" {
		path = or(u.Query().Get("path"), "/")
	}
	s := NewClient(conn, u.Host, path, conf)
	if err := s.Handshake(ctx); err != nil {
		return nil, fmt.Errorf("dial %s: %w", rawURL, err)
	}
	return s, nil
}

// IsQMux reports addresses that DialQMux and ListenQMux take.
func IsQMux(rawURL string) bool {
	return strings.HasPrefix(rawURL, "unix://") || strings.HasPrefix(rawURL, "tcp://")
}

// qmuxAddr takes unix:///path or tcp://host:port apart.
func qmuxAddr(rawURL string) (network, addr string, u *url.URL, err error) {
	u, err = url.Parse(rawURL)
	if err != nil {
		return "", "", nil, fmt.Errorf("QMux URL: %w", err)
	}
	switch {
	case u.Scheme == "unix" && u.Host == "" && len(u.Path) > 1:
		return "unix", u.Path, u, nil
	case u.Scheme == "tcp" && u.Hostname() != "" && u.Port() != "":
		return "tcp", u.Host, u, nil
	}
	return "", "", nil, fmt.Errorf("QMux URL %q: want unix:///path or tcp://host:port", rawURL)
}

// qmuxConfig offers every draft, newest first.
func qmuxConfig(c *Config) qmux.Config {
	return qmux.Config{
		Protocols: alpns(c), MaxStreams: c.MaxStreams + 1, // and the control stream
		HandshakeTimeout: c.HandshakeTimeout,
		IdleTimeout:      c.IdleTimeout, KeepAlive: c.KeepAlive,
	}
}

// pendingQMux bounds the connections of a QMuxListener that have not sent transport parameters yet; more are refused.
const pendingQMux = 256

// QMuxListener accepts sessions over QMux.
type QMuxListener struct {
	l       net.Listener
	url     string
	conf    *Config
	ctx     context.Context
	cancel  context.CancelFunc
	ready   chan *Session
	running sync.WaitGroup
	mu      sync.Mutex
	conns   map[*qmuxConn]struct{}
	err     error
}

// ListenQMux listens at unix:///path/of/socket, which only this user may open, or at tcp://host:port. A socket that nobody
// listens at any more is replaced.
func ListenQMux(rawURL string, conf *Config) (*QMuxListener, error) {
	network, addr, u, err := qmuxAddr(rawURL)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		if st, err := os.Lstat(addr); err == nil && st.Mode()&os.ModeSocket != 0 {
			if c, err := net.DialTimeout(network, addr, time.Second); err == nil {
				c.Close()
				return nil, fmt.Errorf("listen %s: somebody listens there already", rawURL)
			}
			os.Remove(addr)
		}
	}
	nl, err := net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		if err := os.Chmod(addr, 0o600); err != nil {
			return nil, errors.Join(err, nl.Close())
		}
	} else {
		u.Host = nl.Addr().String() // the port may have been 0
	}
	l := &QMuxListener{l: nl, url: u.String(), conf: conf, ready: make(chan *Session), conns: map[*qmuxConn]struct{}{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.running.Go(l.serve)
	return l, nil
}

func (l *QMuxListener) serve() {
	defer l.cancel()
	pending := make(chan struct{}, pendingQMux)
	for {
		nc, err := l.l.Accept()
		if err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				continue
			}
			l.mu.Lock()
			l.err = or(l.err, err)
			l.mu.Unlock()
			return
		}
		select {
		case pending <- struct{}{}:
		default:
			nc.Close()
			continue
		}
		l.running.Go(func() {
			s, conn := l.establish(nc)
			<-pending
			if s == nil {
				return
			}
			select {
			case l.ready <- s:
			case <-l.ctx.Done():
				conn.CloseWithError(wire.NoError, "")
			}
		})
	}
}

func (l *QMuxListener) establish(nc net.Conn) (*Session, *qmuxConn) {
	qc, err := qmux.Server(l.ctx, qmux.Bytes(nc), qmuxConfig(l.conf.withDefaults()))
	if err != nil {
		return nil, nil
	}
	conn, err := newQMuxConn(qc, nc.LocalAddr(), nc.RemoteAddr(), true)
	if err != nil {
		return nil, nil
	}
	l.mu.Lock()
	l.conns[conn] = struct{}{}
	l.mu.Unlock()
	context.AfterFunc(qc.Context(), func() {
		l.mu.Lock()
		delete(l.conns, conn)
		l.mu.Unlock()
	})
	return NewServer(conn, l.conf), conn
}

// Accept returns the next connection; its setup happens in Run, so a slow client delays nobody.
func (l *QMuxListener) Accept(ctx context.Context) (*Session, error) {
	select {
	case s := <-l.ready:
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		return nil, or(l.err, error(ErrClosed))
	}
}

// Addr is the address listened on.
func (l *QMuxListener) Addr() net.Addr { return l.l.Addr() }

// URL is the address as DialQMux takes it.
func (l *QMuxListener) URL() string { return l.url }

// Close stops listening and closes every connection accepted.
func (l *QMuxListener) Close() error {
	l.mu.Lock()
	l.err = or(l.err, error(ErrClosed))
	var conns []*qmuxConn
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	err := l.l.Close()
	l.cancel()
	var closing sync.WaitGroup
	for _, c := range conns {
		closing.Go(func() { c.CloseWithError(wire.NoError, "") })
	}
	closing.Wait()
	l.running.Wait()
	return err
}

// NewQMuxServer makes a session over a transport whose protocol was agreed on otherwise, such as a WebSocket with the
// subprotocol qmux-01.moqt-16 (qmux.ParseSubprotocol), where the path is that of the HTTP request.
func NewQMuxServer(ctx context.Context, t qmux.Transport, protocol string, local, remote net.Addr, conf *Config) (*Session, error) {
	c := qmuxConfig(conf.withDefaults())
	c.Protocol = protocol
	qc, err := qmux.Server(ctx, t, c)
	if err != nil {
		return nil, qmuxError(err)
	}
	conn, err := newQMuxConn(qc, local, remote, false)
	if err != nil {
		return nil, err
	}
	return NewServer(conn, conf), nil
}

// qmuxConn is a Conn over QMux.
type qmuxConn struct {
	c             *qmux.Conn
	v             Version
	local, remote net.Addr
	native        bool
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
func (s qmuxStream) CancelRead(code ResetCode)  { s.Stream.CancelRead(uint64(code)) }
func (s qmuxStream) CancelWrite(code ResetCode) { s.Stream.CancelWrite(uint64(code)) }
