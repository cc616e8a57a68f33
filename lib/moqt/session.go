package moqt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// Session is one MoQ session; both ends can publish and subscribe on it. Its methods may be called
// concurrently, before and while Run runs.
type Session struct {
	conn   Conn
	cfg    *Config
	log    *slog.Logger
	v      Version
	ways   ways // of v
	client bool
	target target // client: where to, for CLIENT_SETUP; server with HTTP below: where the client wanted to

	ctx    context.Context // ends with the session, cause *SessionError
	cancel context.CancelCauseFunc

	setup struct {
		sync.Mutex
		done bool
		err  error
	}
	setupIn chan objectReader // the peer's control stream, in drafts that have one in each direction
	ready   chan struct{}     // closed when setup messages were exchanged
	peer    PeerInfo          // valid once ready

	control  *controlStream
	carrier  carrier // of requests
	requests *requestTable
	aliases  *aliasTable
	leaving  leaving
	handlers sync.WaitGroup
	inTokens tokenCache
	slots    chan struct{} // one token per incoming data stream
	open     chan struct{} // one token per stream of a request of the peer
	fills    chan struct{} // one token per fill
	count    counters
	qlog     *qlog // nil: none

	mu      sync.Mutex // guards what follows; no other lock is taken under it
	stopped bool       // Run is over: nothing may be spawned
}

// target is the moqt URL of a client, as far as CLIENT_SETUP carries it.
type target struct{ authority, path, bearer string }

// NewClient makes a session over a connection this side dialed. authority and path are those of the moqt URL; they
// are sent only if there is no HTTP below. The protocol of the connection is the name of a draft; else the session is over at once.
func NewClient(conn Conn, authority, path string, conf *Config) *Session {
	s := newSession(conn, conf, true)
	s.target = target{authority: authority, path: path}
	return s
}

// NewServer makes a session over a connection the peer dialed.
func NewServer(conn Conn, conf *Config) *Session {
	s := newSession(conn, conf, false)
	if to := conn.Info(); !to.Native {
		s.target = target{to.Authority, to.Path, to.Bearer}
	}
	return s
}

func newSession(conn Conn, conf *Config, client bool) *Session {
	v, known := wire.VersionByALPN(conn.Info().Protocol)
	if !known {
		v = wire.Versions()[0] // for the little that is left to do
	}
	s := &Session{
		conn: conn, cfg: conf.withDefaults(), v: v, client: client,
		ready:   make(chan struct{}),
		setupIn: make(chan objectReader, 1),
	}
	s.ways = waysOf(v)
	s.ways.carry(s)
	s.open, s.fills = make(chan struct{}, s.cfg.MaxRequests), make(chan struct{}, s.cfg.MaxRequests)
	s.slots = make(chan struct{}, s.cfg.MaxStreams)
	s.log = s.cfg.Logger.With("peer", conn.RemoteAddr())
	if s.cfg.QLogDir != "" {
		s.qlog = openQLog(s.cfg.QLogDir, s.cfg.QLogSize, client, conn, s.log)
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if s.qlog != nil {
		context.AfterFunc(s.ctx, func() { s.qlog.close(s.ctx) })
	}
	s.requests, s.aliases = newRequestTable(client, s.carrier.overtake() > 0), newAliasTable()
	s.inTokens.init(s.cfg.MaxTokenCache)
	s.leaving.came = make(chan struct{})
	if !known {
		s.Close(wire.VersionNegotiationFailed, "protocol "+conn.Info().Protocol)
	}
	return s
}

// Run exchanges setup messages if that has not happened yet, then serves the session until it ends or ctx
// does, and waits for everything it started, the handlers and the log included. It returns nil after a regular close
// (NO_ERROR by either side), ctx's cause, or the *SessionError that ended the session.
func (s *Session) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.Close(wire.NoError, "") })
	defer stop()
	s.cfg.Tally.begin(s)
	defer func() { s.cfg.Tally.end(s, context.Cause(s.ctx)) }()
	// The transport may end by itself; the session ends with it, with the transport's reason.
	unwatch := context.AfterFunc(s.conn.Context(), func() { s.cancel(asSessionError(context.Cause(s.conn.Context()))) })
	defer unwatch()

	err := s.Handshake(ctx)
	if err == nil {
		var loops sync.WaitGroup
		for _, loop := range []func() error{s.readControl, s.acceptStreams, s.receiveDatagrams} {
			loops.Go(func() { s.fail(loop()) })
		}
		<-s.ctx.Done()
		loops.Wait()
	}
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.endEverything() // so that handlers that wait for a subscription of this session go on
	s.handlers.Wait()
	s.endEverything()
	s.qlog.close(s.ctx)
	cause := context.Cause(s.ctx)
	var se *SessionError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(cause, &se) && se.Code == wire.NoError:
		return nil
	case cause != nil:
		return cause
	}
	return err
}

// Close ends the session and tells the peer why; Run then returns.
func (s *Session) Close(code SessionCode, reason string) error {
	s.cancel(&SessionError{Code: code, Reason: reason})
	return s.conn.CloseWithError(code, wire.ClipReason(reason))
}

// fail ends the session because of an error found on this side: with the draft's code if the peer broke the protocol.
func (s *Session) fail(err error) {
	if err == nil || s.ctx.Err() != nil {
		return
	}
	var we *wire.Error
	if !errors.As(err, &we) {
		// Not the peer's doing as far as we know: the connection broke, or was closed by the peer.
		se := asSessionError(err)
		s.cancel(se)
		s.conn.CloseWithError(se.Code, se.Reason)
		return
	}
	if we.Code == wire.AuthTokenCacheOverflow {
		s.count.limit(limitTokenCache)
	}
	s.log.Warn("protocol violation", "code", we.Code, "err", err)
	s.Close(we.Code, err.Error())
}

func asSessionError(err error) *SessionError {
	var se *SessionError
	if errors.As(err, &se) {
		return se
	}
	if err == nil {
		return &SessionError{}
	}
	return &SessionError{Code: wire.InternalError, Reason: err.Error()}
}

// violation makes the error that closes a session with PROTOCOL_VIOLATION.
func violation(format string, args ...any) error {
	return &wire.Error{Code: wire.ProtocolViolation, What: fmt.Sprintf(format, args...)}
}

// Context ends with the session; its cause is the *SessionError.
func (s *Session) Context() context.Context { return s.ctx }

// Version is the draft spoken on this session.
func (s *Session) Version() Version { return s.v }

// LocalAddr is this side's address.
func (s *Session) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr is the peer's address.
func (s *Session) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Peer is what the other side said in its setup message; it waits for that until ctx is done.
func (s *Session) Peer(ctx context.Context) (PeerInfo, error) {
	if err := s.waitReady(ctx); err != nil {
		return PeerInfo{}, err
	}
	return s.peer, nil
}

func (s *Session) waitReady(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	default:
	}
	select {
	case <-s.ready:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// endEverything ends all contexts handed out, after the session ended.
func (s *Session) endEverything() {
	cause := context.Cause(s.ctx)
	for _, r := range s.requests.all() {
		if r.end() {
			r.ownedBy().ended(cause)
		}
	}
}

// spawn runs f as part of the session, so that Run waits for it. After Run it does nothing.
func (s *Session) spawn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.handlers.Go(f)
	}
}

// responseContext bounds the wait for an answer if the caller did not.
func (s *Session) responseContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, s.cfg.ResponseTimeout, errResponseTimeout)
}

var errResponseTimeout = fmt.Errorf("no answer to the request: %w", context.DeadlineExceeded)

func milliseconds(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d + time.Millisecond - 1) / time.Millisecond)
}

// duration turns milliseconds of the wire into a Duration without overflowing.
func duration(ms uint64) time.Duration {
	const most = uint64(1<<63-1) / uint64(time.Millisecond)
	return time.Duration(min(ms, most)) * time.Millisecond
}
