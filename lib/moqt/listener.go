package moqt

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/quic-go/quic-go"
)

// Listener accepts sessions over raw QUIC and over WebTransport on one UDP port: ALPN tells them apart.
type Listener struct {
	udp  net.PacketConn
	tr   *quic.Transport
	l    *quic.Listener
	web  *webServer
	conf *Config

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	once     sync.Once      // starts serve
	sessions chan *Session  // nobody took yet; further connections wait in the transport, which refuses all but 32
	ended    chan struct{}  // serve is over
	err      error          // why; set before ended is closed
	conns    sync.WaitGroup // of connections with HTTP/3
}

// crowd is how many connections may come in an instant without being refused.
const crowd = 256

// ListenQUIC listens on a UDP address. tlsConf needs a certificate; ALPN is set here.
func ListenQUIC(addr string, tlsConf *tls.Config, conf *Config) (*Listener, error) {
	if tlsConf == nil {
		return nil, errors.New("listening needs a TLS configuration with a certificate")
	}
	tc := tlsConf.Clone()
	tc.NextProtos = append(alpns(conf), alpnHTTP3)
	tc.MinVersion = tls.VersionTLS13
	if conf != nil && conf.AskCertificate {
		asking := tc.Clone()
		asking.ClientAuth = tls.RequestClientCert
		tc.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Contains(hello.SupportedProtos, alpnHTTP3) {
				return nil, nil
			}
			return asking, nil
		}
	}
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	tr := &quic.Transport{Conn: coalescing(udp)}
	if conf != nil && conf.ResetKey != nil {
		tr.StatelessResetKey = (*quic.StatelessResetKey)(conf.ResetKey)
	}
	ql, err := tr.Listen(tc, quicConfig(conf.withDefaults()))
	if err != nil {
		return nil, errors.Join(err, tr.Close(), udp.Close())
	}
	l := &Listener{udp: udp, tr: tr, l: ql, conf: conf, sessions: make(chan *Session, crowd), ended: make(chan struct{}), err: ErrClosed}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.web = newWebServer(conf, l.offer)
	return l, nil
}

// Accept returns the next connection; its setup happens in Run, so a slow client delays nobody.
func (l *Listener) Accept(ctx context.Context) (*Session, error) {
	l.once.Do(func() { go l.serve() })
	select {
	case s := <-l.sessions:
		return s, nil
	case <-l.ended:
		return nil, l.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// serve takes connections until Close.
func (l *Listener) serve() {
	defer close(l.ended)
	for {
		qc, err := l.l.Accept(l.ctx)
		if err != nil {
			if l.ctx.Err() == nil && !errors.Is(err, quic.ErrServerClosed) {
				l.err = err
			}
			return
		}
		if qc.ConnectionState().TLS.NegotiatedProtocol == alpnHTTP3 {
			l.conns.Go(func() { l.web.serve(qc) })
			continue
		}
		conn, err := newQUICConn(qc)
		if err != nil {
			continue // newQUICConn told the peer
		}
		l.offer(conn.Context(), NewServer(conn, l.conf))
	}
}

// offer hands a session to Accept, unless its connection, whose context ctx is, or the listener ends before.
func (l *Listener) offer(ctx context.Context, s *Session) {
	select {
	case l.sessions <- s:
	case <-ctx.Done():
	case <-l.ctx.Done():
	}
}

// Addr is the UDP address listened on.
func (l *Listener) Addr() net.Addr { return l.l.Addr() }

// Close stops listening and closes every connection accepted.
func (l *Listener) Close() error {
	l.cancel()
	l.once.Do(func() { close(l.ended) })
	err := errors.Join(l.l.Close(), l.web.close(), l.tr.Close(), l.udp.Close())
	<-l.ended
	l.conns.Wait()
	return err
}
