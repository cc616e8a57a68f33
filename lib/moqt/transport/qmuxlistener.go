package transport

import (
	"cmp"
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

	"every.channel/ec/lib/activate"
	"every.channel/ec/lib/moqt/transport/qmux"
	"every.channel/ec/lib/moqt/wire"
)

// pendingQMux bounds the connections of a listener on which QMux is not set up yet; more are closed.
const pendingQMux = 256

// qmuxListener accepts connections over QMux.
type qmuxListener struct {
	l       net.Listener
	url     url.URL
	o       *Options // with defaults
	ctx     context.Context
	cancel  context.CancelFunc
	ready   chan Conn
	pending chan struct{} // holds a token for each connection on which QMux is not set up yet
	running sync.WaitGroup
	http    *http.Server // of WebSockets

	mu     sync.Mutex // guards what follows
	conns  map[*qmuxConn]struct{}
	closed bool
	err    error
}

func listenQMux(u *url.URL, tlsConf *tls.Config, o *Options) (*qmuxListener, error) {
	var nl net.Listener
	var err error
	if u.Scheme == "wss" && tlsConf == nil {
		return nil, errors.New("wss needs a TLS configuration with a certificate")
	}
	if u.Scheme == "unix" {
		nl, err = listenUnix(u.Path)
	} else {
		nl, err = ListenTCP(u.Host)
	}
	if err != nil {
		return nil, err
	}
	l := newQMuxListener(nl, *u, o)
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

func newQMuxListener(nl net.Listener, u url.URL, o *Options) *qmuxListener {
	l := &qmuxListener{
		l: nl, url: u, o: o, ready: make(chan Conn), pending: make(chan struct{}, pendingQMux),
		conns: map[*qmuxConn]struct{}{},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// ListenOn accepts connections over QMux on the sockets of a listener, which name describes.
func ListenOn(nl net.Listener, name string, o *Options) Listener {
	l := newQMuxListener(nl, url.URL{Opaque: name}, o.withDefaults())
	l.running.Go(func() { l.end(l.serveSockets()) })
	return l
}

// ListenTCP listens for TCP sockets on which QMux may run: few unsent bytes wait in them.
func ListenTCP(addr string) (net.Listener, error) {
	if l, ok := activate.Stream("tcp", addr).(*net.TCPListener); ok {
		raw, err := l.SyscallConn()
		if err == nil {
			err = tcpSocket("tcp", addr, raw)
		}
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		return l, nil
	}
	lc := net.ListenConfig{Control: tcpSocket}
	lc.SetMultipathTCP(false) // sockets of multipath TCP do not know the option
	return lc.Listen(context.Background(), "tcp", addr)
}

// listenUnix makes a socket that only this user may open. It replaces a socket that an ended process left behind.
func listenUnix(path string) (net.Listener, error) {
	if l := activate.Stream("unix", path); l != nil {
		return l, nil // with the mode that the service manager gave it
	}
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

// admit counts a connection on which QMux is not set up yet; done is called once it is, or has ended. ok is false if there are
// too many.
func (l *qmuxListener) admit(from net.Addr) (done func(), ok bool) {
	over, ok := l.o.Admit(from)
	if !ok {
		return nil, false
	}
	select {
	case l.pending <- struct{}{}:
		return sync.OnceFunc(func() { <-l.pending; over() }), true
	default:
		over()
		return nil, false
	}
}

// serveSockets takes connections until Close.
func (l *qmuxListener) serveSockets() error {
	for {
		nc, err := l.l.Accept()
		if err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
				select {
				case <-time.After(50 * time.Millisecond): // connections may end meanwhile
					continue
				case <-l.ctx.Done():
				}
			}
			return err
		}
		done, ok := l.admit(nc.RemoteAddr())
		if !ok {
			nc.Close()
			continue
		}
		l.start(nc, func() {
			conn, err := l.establish(onSocket(nc))
			done()
			if err != nil {
				l.o.Logger.Debug("QMux refused", "peer", nc.RemoteAddr(), "err", err)
				return
			}
			l.offer(conn)
		})
	}
}

// start serves a connection, unless the listener was closed.
func (l *qmuxListener) start(c io.Closer, serve func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return
	}
	l.running.Go(serve)
}

// establish exchanges transport parameters.
func (l *qmuxListener) establish(p qmuxPeer) (*qmuxConn, error) {
	qc, err := qmux.Server(l.ctx, p.t, p.config(l.o))
	if err != nil {
		return nil, err
	}
	conn, err := newQMuxConn(qc, p, l.o)
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

// offer hands a connection to Accept, unless it or the listener ends before.
func (l *qmuxListener) offer(conn *qmuxConn) {
	select {
	case l.ready <- conn:
	case <-conn.Context().Done():
	case <-l.ctx.Done():
		conn.CloseWithError(wire.NoError, "")
	}
}

// Accept returns the next connection.
func (l *qmuxListener) Accept(ctx context.Context) (Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		return nil, cmp.Or(l.err, error(ErrClosed))
	}
}

// Addr is the address listened on; it prints as what Dial takes.
func (l *qmuxListener) Addr() net.Addr { return qmuxAddr{l.l.Addr(), l.url.String()} }

type qmuxAddr struct {
	net.Addr
	url string
}

func (a qmuxAddr) String() string { return a.url }

// end notes why the listener has ended.
func (l *qmuxListener) end(err error) {
	l.mu.Lock()
	l.err = cmp.Or(l.err, err)
	l.mu.Unlock()
	l.cancel()
}

// Close stops listening, removes the socket from the file system, and closes every connection accepted.
func (l *qmuxListener) Close() error {
	l.mu.Lock()
	l.closed, l.err = true, cmp.Or(l.err, error(ErrClosed))
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
