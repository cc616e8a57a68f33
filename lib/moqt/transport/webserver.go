package transport

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"every.channel/ec/lib/moqt/transport/repair"
)

// maxWebHeader bounds the header of an HTTP/3 request, in bytes.
const maxWebHeader = 16 << 10

// webServer makes connections over WebTransport from HTTP/3 connections: one from each, by its CONNECT request (§3.1.1).
type webServer struct {
	wt *webtransport.Server
	o  *Options // with defaults
	// offer hands a connection to Accept; it waits until the connection is accepted or has ended.
	offer func(Conn)
	// repaired returns what tells of the repair below a connection.
	repaired func(*quic.Conn) func() repair.Stats
}

func newWebServer(o *Options, offer func(Conn), repaired func(*quic.Conn) func() repair.Stats) *webServer {
	w := &webServer{o: o, offer: offer, repaired: repaired}
	w.wt = &webtransport.Server{
		H3: &http3.Server{
			Handler: w, MaxHeaderBytes: maxWebHeader, Logger: w.o.Logger,
			ConnContext: func(ctx context.Context, qc *quic.Conn) context.Context {
				return context.WithValue(ctx, webClientKey{}, w.admit(qc))
			},
		},
		ApplicationProtocols: o.Protocols,
		CheckOrigin:          func(r *http.Request) bool { return o.originAllowed(r) },
		ReorderingTimeout:    w.o.HandshakeTimeout,
	}
	return w
}

// webClient is an HTTP/3 connection.
type webClient struct {
	qc    *quic.Conn
	taken atomic.Bool // the connection has a session, or is about to
	late  *time.Timer
}

type webClientKey struct{}

// admit gives a connection Options.HandshakeTimeout to ask for a session.
func (w *webServer) admit(qc *quic.Conn) *webClient {
	c := &webClient{qc: qc}
	c.late = time.AfterFunc(w.o.HandshakeTimeout, func() {
		qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "no WebTransport session")
	})
	context.AfterFunc(qc.Context(), func() { c.late.Stop() })
	return c
}

// serve serves a connection to its end.
func (w *webServer) serve(qc *quic.Conn) {
	if err := w.wt.ServeQUICConn(qc); err != nil {
		w.o.Logger.Debug("HTTP/3 connection", "peer", qc.RemoteAddr(), "err", err)
		qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeInternalError), "")
	}
}

func (w *webServer) close() error { return w.wt.Close() }

// ServeHTTP answers the requests of a connection, of which only those for WebTransport are accepted.
func (w *webServer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(webClientKey{}).(*webClient)
	switch {
	case r.Method != http.MethodConnect:
		rw.Header().Set("Allow", http.MethodConnect)
		http.Error(rw, "this is a MoQ server, for WebTransport", http.StatusMethodNotAllowed)
		return
	case !w.o.originAllowed(r):
		w.o.Logger.Warn("origin refused", "peer", c.qc.RemoteAddr(), "origin", r.Header.Get("Origin"))
		http.Error(rw, "origin not allowed", http.StatusForbidden)
		return
	case c.taken.Swap(true):
		http.Error(rw, "this connection has its session", http.StatusConflict)
		return
	}
	sess, err := w.wt.Upgrade(rw, r)
	if err != nil {
		c.taken.Store(false)
		w.o.Logger.Debug("WebTransport refused", "peer", c.qc.RemoteAddr(), "err", err)
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	c.late.Stop()
	conn, err := newWebConn(c.qc, sess, rw.(http3.HTTPStreamer).HTTPStream().StreamID(), w.o, Info{Authority: r.Host, Path: r.URL.RequestURI(), Bearer: Bearer(r), Repair: w.repaired(c.qc)})
	if err != nil {
		return // newWebConn told the peer
	}
	w.offer(conn)
	setUp(c.qc)
}
