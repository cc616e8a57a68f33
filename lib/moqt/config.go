package moqt

import (
	"context"
	"log/slog"
	"net"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// Config holds what a session needs to know. The zero value, and a nil *Config, work: such a session makes
// requests and refuses every one it gets. A Config may serve many sessions and is not modified.
type Config struct {
	// Versions are the drafts offered when dialing, best first, and accepted when listening. Default: all that are spoken,
	// newest first (wire.Versions).
	Versions []Version
	// Handler gets the peer's requests. nil refuses them all with NOT_SUPPORTED.
	Handler Handler
	// Authorize decides on a server whether a client may have a session, from the path, authority and
	// tokens of its CLIENT_SETUP. A *SessionError is sent as it is, any other error as UNAUTHORIZED.
	// nil lets everybody in.
	Authorize func(ctx context.Context, peer PeerInfo) error
	// AllowOrigins are the origins, such as https://example.org, whose pages may have a session over WebTransport on a
	// server; "*" is any. Pages from the host in the URL they dial, whatever the port, if the server is known by that name (Hosts),
	// and clients that are no pages and send no origin always may. Default: no others.
	AllowOrigins []string
	// Hosts reports whether a name, in lower case, is one of this server's. Addresses, localhost, the machine's own name and the
	// hosts of AllowOrigins are, whatever it says. Default: no others.
	Hosts func(name string) bool
	// AskCertificate makes a listener ask clients over raw QUIC for a certificate; a session without one is served alike
	// (Session.PeerCertificate). Browsers are not asked. Default: nobody is.
	AskCertificate bool
	// AskWhen does the same for the connections at whose beginning it says yes. Default: AskCertificate alone decides.
	AskWhen func() bool
	// Admit takes a connection that begins at a listener, from an address; done is called when the connection is set up or has ended.
	// What it does not take is refused, before anything is spent on it. Default: as many as may be set up at a time (docs/moqt.md).
	Admit func(from net.Addr) (done func(), ok bool)
	// Prove reports whether a client over QUIC has to prove its address first (RFC 9000 §8.1.2). Default: none has to.
	Prove func(from net.Addr) bool
	// ResetKey lets a server that was restarted tell its clients at once that their connections are gone, if it had the
	// same key before (RFC 9000 §10.3); else they find out by silence. It is a secret. Only for raw QUIC and WebTransport
	// listeners. Default: none.
	ResetKey *[32]byte
	// Tokens are sent with the client's setup.
	Tokens []Token
	// Lenient lets a peer of draft 18 break rules whose breach harms nobody but itself, where the draft wants the session
	// closed: request ids of the other side's or used before (they are given new ones), and a control stream that ends. A
	// peer that does not name its implementation is not told the largest object of a track, which a careless one may not
	// know. MediaMTX needs all three. Default: the draft's rules.
	Lenient bool
	// Implementation is sent as MOQT_IMPLEMENTATION. Default: "every.channel".
	Implementation string
	// Logger gets events of sessions at debug level and protocol violations at warn level. Default: none.
	Logger *slog.Logger
	// QLogDir is a folder in which each session writes a qlog of its MoQ events, and each QUIC connection one of its own.
	// Files that cannot be written are given up with a warning. Default: none.
	QLogDir string
	// QLogSize bounds each of these files, in bytes; a log ends before the event that does not fit. Default 64 MiB.
	QLogSize int64
	// NoRepair turns off the layer below QUIC that makes good what a path loses, if the other side has it too (package
	// transport/repair). Default: on.
	NoRepair bool
	// Tally adds up what the sessions count. Default: none; Session.Stats counts anyway.
	Tally *Tally

	// MaxRequests bounds the requests a peer may have open: in draft 16 MAX_REQUEST_ID keeps step with those that ended, in
	// draft 18 no more request streams are taken, so that further ones wait. Default 1024, range 1–1,000,000.
	MaxRequests uint64
	// MaxStreams bounds the data streams this side holds, which bounds what a peer can make it buffer: a stream counts
	// until it was read to its end or cancelled. As many again may wait in the transport. It also bounds the
	// bidirectional streams. HTTP/3 takes up to four of them for itself below WebTransport. Default 1024, range 2–65,536.
	MaxStreams int
	// MaxPendingStreams bounds the data streams whose track alias is not known yet. More are refused
	// with STOP_SENDING. Default 64.
	MaxPendingStreams int
	// MaxPendingDatagrams bounds the datagrams waiting per subscription; when full the oldest is
	// dropped, which datagrams allow. Default 64.
	MaxPendingDatagrams int
	// MaxBuffered bounds what a peer can make this side hold of streams that nobody reads, in bytes: the receive window of
	// the QUIC connection. It begins at 4 MiB, or this if less, and grows as data is read. Over QMux it is half of this, up
	// to 16 MiB, and 16 KiB for each stream. Default 32 MiB, at least 64 KiB.
	MaxBuffered int64
	// MaxObjectSize bounds the payload of one object, in bytes. A larger one resets its stream.
	// Default 64 MiB.
	MaxObjectSize uint64
	// MaxPropertiesSize bounds the property block of one object, in bytes. Default 65,535.
	MaxPropertiesSize uint64
	// MaxNamespaces bounds the namespaces a publisher may tell of in answer to one SUBSCRIBE_NAMESPACE.
	// Default 65,536.
	MaxNamespaces int
	// MaxTokenCache is the size in bytes of the authorization tokens a peer may register, by the
	// counting of §9.3.1.4. Default 16,384; negative forbids aliases.
	MaxTokenCache int

	// HandshakeTimeout bounds the transport handshake and, again, the exchange of setup messages.
	// Default 10 s.
	HandshakeTimeout time.Duration
	// IdleTimeout closes a connection on which nothing arrived. Default 30 s.
	IdleTimeout time.Duration
	// KeepAlive is the interval of keep-alive packets. Default 10 s; negative turns them off.
	KeepAlive time.Duration
	// ControlTimeout bounds how long the peer may leave control messages unread before the session is closed with
	// CONTROL_MESSAGE_TIMEOUT. Default 30 s.
	ControlTimeout time.Duration
	// AliasTimeout is how long a data stream may wait for the message that names its track alias.
	// Default 5 s.
	AliasTimeout time.Duration
	// HeaderTimeout bounds the arrival of a data stream's header after it was opened; then the stream is
	// refused. QUIC opens streams of lower number too, whose urgency may be low. Default 30 s.
	HeaderTimeout time.Duration
	// DoneTimeout is how long a subscription waits after PUBLISH_DONE for streams it was told of (§9.15).
	// Default 5 s.
	DoneTimeout time.Duration
	// ResponseTimeout bounds the wait for an answer to a request whose context has no deadline.
	// Default 30 s.
	ResponseTimeout time.Duration
}

// PeerInfo is what the other side said about itself in its setup message.
type PeerInfo struct {
	Path           string // path and query of the URL the client dialed; server only
	Authority      string // host and port of that URL; server only
	Bearer         string // token in the header Authorization of the client's HTTP request; server only
	Implementation string
	Tokens         []Token
	MaxRequestID   uint64
	// MaxRequestUpdates is how many updates of one request it lets wait for their answer; 0: any number. From draft 19 on.
	MaxRequestUpdates uint64
	RemoteAddr        string
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// withDefaults returns a copy with every default filled in, but for what only the transport needs (transport.Options).
func (c *Config) withDefaults() *Config {
	var d Config
	if c != nil {
		d = *c
	}
	if d.Handler == nil {
		d.Handler = UnimplementedHandler{}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if len(d.Versions) == 0 {
		d.Versions = wire.Versions()
	}
	d.QLogSize = or(d.QLogSize, 64<<20)
	d.Implementation = or(d.Implementation, "every.channel")
	d.MaxRequests = or(d.MaxRequests, 1024)
	d.MaxStreams = or(d.MaxStreams, 1024)
	d.MaxPendingStreams = or(d.MaxPendingStreams, 64)
	d.MaxPendingDatagrams = or(d.MaxPendingDatagrams, 64)
	d.MaxObjectSize = or(d.MaxObjectSize, 64<<20)
	d.MaxPropertiesSize = or(d.MaxPropertiesSize, wire.MaxValueLength)
	d.MaxNamespaces = or(d.MaxNamespaces, 65536)
	d.MaxTokenCache = or(d.MaxTokenCache, 16384)
	d.HandshakeTimeout = or(d.HandshakeTimeout, 10*time.Second)
	d.ControlTimeout = or(d.ControlTimeout, controlTimeout)
	d.AliasTimeout = or(d.AliasTimeout, 5*time.Second)
	d.HeaderTimeout = or(d.HeaderTimeout, 30*time.Second)
	d.DoneTimeout = or(d.DoneTimeout, 5*time.Second)
	d.ResponseTimeout = or(d.ResponseTimeout, 30*time.Second)
	return &d
}
