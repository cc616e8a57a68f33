package transport

import (
	"net"
	"net/http"
	"net/url"
	"sync"
)

// WebSocketHandler accepts connections over WebSocket from the requests that an HTTP server hands to it.
type WebSocketHandler struct {
	*qmuxListener
}

// NewWebSocketHandler makes a handler; name is its address, for Addr. Close must be called.
func NewWebSocketHandler(name string, o *Options) *WebSocketHandler {
	return &WebSocketHandler{newQMuxListener(&handed{done: make(chan struct{})}, url.URL{Opaque: name}, o.withDefaults())}
}

// ServeHTTP makes a connection of a request, or refuses the request.
func (h *WebSocketHandler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	done, ok := h.admit(requestAddr(r.RemoteAddr))
	if !ok {
		rw.Header().Set("Retry-After", "10")
		http.Error(rw, "too many sessions at once", http.StatusServiceUnavailable)
		return
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		local = requestAddr("")
	}
	if !h.serveWebSocket(rw, r, &admitted{requestConn{nil, local, requestAddr(r.RemoteAddr)}, done}) {
		done()
	}
}

// handed is a listener that gets its connections from ServeHTTP and not from a socket.
type handed struct {
	once sync.Once
	done chan struct{}
}

func (l *handed) Accept() (net.Conn, error) {
	<-l.done
	return nil, net.ErrClosed
}

func (l *handed) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *handed) Addr() net.Addr { return requestAddr("") }

// requestConn is the connection of a request, with the addresses of its ends.
type requestConn struct {
	net.Conn
	local, remote net.Addr
}

func (c requestConn) LocalAddr() net.Addr  { return c.local }
func (c requestConn) RemoteAddr() net.Addr { return c.remote }

type requestAddr string

func (requestAddr) Network() string  { return "tcp" }
func (a requestAddr) String() string { return string(a) }
