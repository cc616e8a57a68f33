package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/quic-go/quic-go"

	"every.channel/ec/lib/activate"
	"every.channel/ec/lib/moqt/transport/repair"
)

// quicListener accepts connections over raw QUIC and over WebTransport on one UDP port: ALPN tells them apart.
type quicListener struct {
	udp    net.PacketConn
	repair *repair.Conn // nil: nothing is repaired
	tr     *quic.Transport
	l      *quic.Listener
	web    *webServer
	o      *Options // with defaults

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	once    sync.Once      // starts serve
	ready   chan Conn      // connections that nobody accepted yet; further ones wait in quic-go, which refuses all but 32
	ended   chan struct{}  // serve is over
	err     error          // why; set before ended is closed
	serving sync.WaitGroup // connections with HTTP/3
}

// crowd is how many connections may come at the same moment without being refused.
const crowd = 256

var errCrowd = errors.New("too many connections")

// setUpKey is the key under which a connection's context has the function that is called when the connection is set up.
type setUpKey struct{}

// setUp notes that a connection is set up, or handed to whoever counts it from then on.
func setUp(qc *quic.Conn) {
	if done, ok := qc.Context().Value(setUpKey{}).(func()); ok {
		done()
	}
}

// listenQUIC listens on a UDP address.
func listenQUIC(addr string, tlsConf *tls.Config, o *Options) (*quicListener, error) {
	if tlsConf == nil {
		return nil, errors.New("listening needs a TLS configuration with a certificate")
	}
	tc := tlsConf.Clone()
	tc.NextProtos = append(slices.Clone(o.Protocols), alpnHTTP3)
	tc.MinVersion = tls.VersionTLS13
	if o.AskCertificate || o.AskWhen != nil {
		asking := tc.Clone()
		asking.ClientAuth = tls.RequestClientCert
		tc.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Contains(hello.SupportedProtos, alpnHTTP3) || !o.AskCertificate && !o.AskWhen() {
				return nil, nil
			}
			return asking, nil
		}
	}
	udp := activate.Packet(addr)
	if udp == nil {
		var err error
		if udp, err = net.ListenPacket("udp", addr); err != nil {
			return nil, err
		}
	}
	low, layer, err := repaired(udp, true, o)
	if err != nil {
		return nil, errors.Join(err, udp.Close())
	}
	tr := &quic.Transport{Conn: low, VerifySourceAddress: o.Prove, ConnContext: func(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
		done, ok := o.Admit(info.RemoteAddr)
		if !ok {
			return nil, errCrowd
		}
		context.AfterFunc(ctx, done)
		return context.WithValue(ctx, setUpKey{}, done), nil
	}}
	if o.ResetKey != nil {
		tr.StatelessResetKey = (*quic.StatelessResetKey)(o.ResetKey)
	}
	ql, err := tr.Listen(tc, quicConfig(o))
	if err != nil {
		return nil, errors.Join(err, tr.Close(), low.Close())
	}
	l := &quicListener{udp: low, repair: layer, tr: tr, l: ql, o: o, ready: make(chan Conn, crowd), ended: make(chan struct{}), err: ErrClosed}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.web = newWebServer(o, l.offer, l.repaired)
	return l, nil
}

// Accept returns the next connection.
func (l *quicListener) Accept(ctx context.Context) (Conn, error) {
	l.once.Do(func() { go l.serve() })
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.ended:
		return nil, l.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// serve takes connections until Close.
func (l *quicListener) serve() {
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
			l.serving.Go(func() { l.web.serve(qc) })
			continue
		}
		conn, err := newQUICConn(qc, l.o, Info{Repair: l.repaired(qc)})
		if err != nil {
			continue // newQUICConn told the peer
		}
		l.offer(conn)
		setUp(qc)
	}
}

// repaired returns what tells of the repair below a connection.
func (l *quicListener) repaired(qc *quic.Conn) func() repair.Stats {
	if l.repair == nil {
		return nil
	}
	return func() repair.Stats { return l.repair.Stats(qc.RemoteAddr()) }
}

// offer hands a connection to Accept, unless it or the listener ends before.
func (l *quicListener) offer(c Conn) {
	select {
	case l.ready <- c:
	case <-c.Context().Done():
	case <-l.ctx.Done():
	}
}

// Addr is the UDP address listened on.
func (l *quicListener) Addr() net.Addr { return l.l.Addr() }

// Close stops listening and closes every connection accepted.
func (l *quicListener) Close() error {
	l.cancel()
	l.once.Do(func() { close(l.ended) })
	err := errors.Join(l.l.Close(), l.web.close(), l.tr.Close(), l.udp.Close())
	<-l.ended
	l.serving.Wait()
	return err
}
