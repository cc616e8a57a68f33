package transport

import (
	"cmp"
	"log/slog"
	"net"
	"time"
)

// Options say how connections are made. One may serve many connections and is not modified.
type Options struct {
	// Protocols are the names of the application protocols to agree on one of, most preferred first: by ALPN, as WebTransport protocol, as
	// WebSocket subprotocol, or in QMux. Without one in common there is no connection. Default: none, and so no connection.
	Protocols []string
	// AllowOrigins are the origins, such as https://example.org, whose pages may connect to a server; "*" allows any. Two kinds
	// of clients always may: pages of the host in the URL that they dial, whatever the port, if the server is known by that name
	// (Hosts); and clients that are no pages and send no origin. Default: no others.
	AllowOrigins []string
	// Hosts reports whether a name, in lower case, is one of this server's. Addresses, localhost, the machine's own name and the
	// hosts of AllowOrigins always are. Default: no others.
	Hosts func(name string) bool
	// AskCertificate makes a listener ask clients over raw QUIC for a certificate (Info.PeerCertificate). Clients need not have
	// one, and browsers are not asked. Default: no client is asked.
	AskCertificate bool
	// AskWhen does the same for the connections at whose beginning it says yes. nil: never.
	AskWhen func() bool
	// Admit takes a connection that begins at a listener, from an address; done is called when the connection is set up or has ended.
	// A connection that it does not take is refused. Default: all are taken.
	Admit func(from net.Addr) (done func(), ok bool)
	// Prove reports whether a client over QUIC has to prove its address first, which takes a round trip and no memory of the listener (RFC 9000
	// §8.1.2). Default: none has to.
	Prove func(from net.Addr) bool
	// ResetKey lets a server that was restarted tell its clients at once that their connections are gone, if it had the same key
	// before (RFC 9000 §10.3); otherwise they find out by silence. The key is a secret. It is used by raw QUIC and WebTransport
	// listeners only. Default: none.
	ResetKey *[32]byte
	// NoRepair turns off the layer that makes good what a path loses (package repair). With it, a side that dials says once or more in
	// its first seconds that it has the layer, and a listener answers that. Default: on.
	NoRepair bool
	// Logger gets what was refused and why, at debug level, and foreign origins at warn level. Default: none.
	Logger *slog.Logger
	// QLogDir is a folder in which each QUIC connection writes a qlog. Files that cannot be written are given up with a warning.
	// Default: none.
	QLogDir string
	// QLogSize bounds each of these files, in bytes. Default 64 MiB.
	QLogSize int64

	// MaxStreams bounds the bidirectional streams that the peer may have open, also those that nobody accepted yet. Default 1024,
	// range 1–65,536. Over WebTransport HTTP/3 takes one for itself, over QMux the larger of this and MaxUniStreams is the bound of
	// each direction.
	MaxStreams int
	// MaxUniStreams bounds the unidirectional streams likewise, of which HTTP/3 takes three. Default: MaxStreams.
	MaxUniStreams int
	// MaxBuffered bounds the bytes that a peer can make this side hold of streams that nobody reads: the receive window of a QUIC
	// connection. The window begins at 4 MiB, or at MaxBuffered if that is less, and grows as data is read. Over QMux it is half
	// of MaxBuffered, up to 16 MiB, and 16 KiB for each stream. Default 32 MiB, at least 64 KiB.
	MaxBuffered int64
	// HandshakeTimeout bounds the making of a connection. Default 10 s.
	HandshakeTimeout time.Duration
	// IdleTimeout closes a connection on which nothing arrived. Default 30 s.
	IdleTimeout time.Duration
	// KeepAlive is the interval of keep-alive packets. Default 10 s; negative turns them off.
	KeepAlive time.Duration
}

// withDefaults returns a copy with every default filled in; o may be nil.
func (o *Options) withDefaults() *Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Admit == nil {
		d.Admit = func(net.Addr) (func(), bool) { return func() {}, true }
	}
	d.QLogSize = cmp.Or(d.QLogSize, 64<<20)
	d.MaxStreams = cmp.Or(d.MaxStreams, 1024)
	d.MaxUniStreams = cmp.Or(d.MaxUniStreams, d.MaxStreams)
	d.MaxBuffered = max(cmp.Or(d.MaxBuffered, 32<<20), 64<<10)
	d.HandshakeTimeout = cmp.Or(d.HandshakeTimeout, 10*time.Second)
	d.IdleTimeout = cmp.Or(d.IdleTimeout, 30*time.Second)
	d.KeepAlive = cmp.Or(d.KeepAlive, 10*time.Second)
	return &d
}
