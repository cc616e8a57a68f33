package moqt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"every.channel/ec/lib/moqt/transport/qmux"
	"every.channel/ec/lib/moqt/wire"
)

// pendingQMux bounds the connections of a QMuxListener that have no session yet; more are closed.
const pendingQMux = 256

// QMuxListener accepts sessions over QMux.
type QMuxListener struct {
	l       net.Listener
	url     url.URL
	conf    *Config // with defaults
	ctx     context.Context
	cancel  context.CancelFunc
	ready   chan *Session
	pending chan struct{} // holds a token of every connection without a session
	running sync.WaitGroup
	http    *http.Server // of WebSockets

	mu     sync.Mutex // guards what follows
	conns  map[*qmuxConn]struct{}
	closed bool
	err    error
}

func listenQMux(u *url.URL, tlsConf *tls.Config, conf *Config) (*QMuxListener, error) {
	var nl net.Listener
	var err error
	if u.Scheme == "wss" && tlsConf == nil {
		return nil, errors.New("wss needs a TLS configuration with a certificate")
	}
	if u.Scheme == "unix" {
		nl, err = listenUnix(u.Path)
	} else {
		nl, err = listenTCP(u.Host)
	}
	if err != nil {
		return nil, err
	}
	l := newQMuxListener(nl, *u, conf)
	if u.Scheme != "unix" {
		l.url.Host = nl.Addr().String() // the port may have been 0
	}
	switch u.Scheme {
	case "ws", "wss":
		l.http = l.webSocketServer()
		nl = &admitting{nl, l}
		if u.Scheme == "wss" {
			tc := tlsConf.Clone()
			tc.NextProtos = []string{"http/1.1"}
			nl = tls.NewListener(nl, tc)
		}
		l.running.Go(func() { l.end(l.http.Serve(nl)) })
	default:
		l.running.Go(func() { l.end(l.serveSockets()) })
	}
	return l, nil
}

func newQMuxListener(nl net.Listener, u url.URL, conf *Config) *QMuxListener {
	l := &QMuxListener{
		l: nl, url: u, conf: conf.withDefaults(), ready: make(chan *Session), pending: make(chan struct{}, pendingQMux),
		conns: map[*qmuxConn]struct{}{},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// ListenTCP listens for connections on which sessions over QMux may come: little waits unsent in their sockets.
func ListenTCP(addr string) (net.Listener, error) { return listenTCP(addr) }

func listenTCP(addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: shortQueue}
	lc.SetMultipathTCP(false) // its sockets do not know the option
	return lc.Listen(context.Background(), "tcp", addr)
}

// listenUnix makes a socket that this user alone may open. One that was left behind by a process that is gone is replaced.
func listenUnix(path string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		c, err := net.DialTimeout("unix", path, time.Second)
		switch {
		case err == nil:
			return nil, errors.Join(fmt.Errorf("%s: %w", path, syscall.EADDRINUSE), c.Close())
		case errors.Is(err, syscall.ECONNREFUSED):
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	nl, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// Until here the umask decides; with any usual one others may not write, which connecting takes.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, nl.Close())
	}
	return nl, nil
}

// admit counts a connection without a session; done says that it has one, or ended. Too many are not admitted.
func (l *QMuxListener) admit() (done func(), ok bool) {
	select {
	case l.pending <- struct{}{}:
		return sync.OnceFunc(func() { <-l.pending }), true
	default:
		return nil, false
	}
}

// serveSockets takes connections until Close.
func (l *QMuxListener) serveSockets() error {
	for {
		nc, err := l.l.Accept()
		if err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() || errors.Is(err, syscall.EMFILE) {
				select {
				case <-time.After(50 * time.Millisecond): // others end meanwhile
					continue
				case <-l.ctx.Done():
				}
			}
			return err
		}
		done, ok := l.admit()
		if !ok {
			nc.Close()
			continue
		}
		l.start(nc, func() {
			conn, err := l.establish(qmux.Bytes(nc), nc.LocalAddr(), nc.RemoteAddr(), "")
			done()
			if err != nil {
				l.conf.Logger.Debug("QMux refused", "peer", nc.RemoteAddr(), "err", err)
				return
			}
			conn.socket = nc
			l.offer(conn, NewServer(conn, l.conf))
		})
	}
}

// start serves a connection, unless the listener was closed.
func (l *QMuxListener) start(c io.Closer, serve func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return
	}
	l.running.Go(serve)
}

// establish exchanges transport parameters. A protocol that was not agreed on before is negotiated.
func (l *QMuxListener) establish(t qmux.Transport, local, remote net.Addr, protocol string) (*qmuxConn, error) {
	qconf := qmuxConfig(l.conf)
	qconf.Protocol = protocol
	qc, err := qmux.Server(l.ctx, t, qconf)
	if err != nil {
		return nil, err
	}
	conn, err := newQMuxConn(qc, local, remote, protocol == "")
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.conns[conn] = struct{}{}
	l.mu.Unlock()
	context.AfterFunc(qc.Context(), func() {
		l.mu.Lock()
		delete(l.conns, conn)
		l.mu.Unlock()
	})
	return conn, nil
}

// offer hands a session to Accept, unless its connection or the listener ends before.
func (l *QMuxListener) offer(conn *qmuxConn, s *Session) {
	select {
	case l.ready <- s:
	case <-conn.Context().Done():
	case <-l.ctx.Done():
		conn.CloseWithError(wire.NoError, "")
	}
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

// Addr is the address listened on; it prints as what Dial takes.
func (l *QMuxListener) Addr() net.Addr { return qmuxAddr{l.l.Addr(), l.url.String()} }

type qmuxAddr struct {
	net.Addr
	url string
}

func (a qmuxAddr) String() string { return a.url }

// end notes why the listener is over.
func (l *QMuxListener) end(err error) {
	l.mu.Lock()
	l.err = or(l.err, err)
	l.mu.Unlock()
	l.cancel()
}

// Close stops listening, removes the socket from the file system, and closes every connection accepted.
func (l *QMuxListener) Close() error {
	l.mu.Lock()
	l.closed, l.err = true, or(l.err, error(ErrClosed))
	l.mu.Unlock()
	l.cancel()
	err := l.l.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if l.http != nil {
		err = errors.Join(err, l.http.Close())
	}
	l.running.Wait() // so that no connection is added any more
	l.mu.Lock()
	var conns []*qmuxConn
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	var closing sync.WaitGroup
	for _, c := range conns {
		closing.Go(func() { c.CloseWithError(wire.NoError, "") })
	}
	closing.Wait()
	return err
}
