package qmux

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Config holds the limits of a connection. The zero value is usable.
type Config struct {
	// Protocols are the application protocols to negotiate, most preferred first. Without one in common the connection
	// fails.
	Protocols []string
	// Protocol is the protocol if it was agreed on in another way, such as by a WebSocket subprotocol; Protocols is not used
	// then.
	Protocol string
	// MaxStreams bounds the streams the peer may have open, of each direction. Default 1024, range 1–65,536.
	MaxStreams int
	// StreamWindow is how many bytes of one stream may wait to be read, while few do. Default 1 MiB, at least 16 KiB.
	StreamWindow int
	// SharedWindow is how many bytes of all streams may wait to be read beyond the 16 KiB that each may have. Default
	// 16 MiB. With the default MaxStreams 48 MiB may wait in all.
	SharedWindow int
	// MaxDatagrams is how many datagrams wait to be read, and to be sent; of more, the oldest are dropped. Default 128.
	MaxDatagrams int
	// HandshakeTimeout bounds the wait for the peer's transport parameters. Default 10 s.
	HandshakeTimeout time.Duration
	// IdleTimeout ends a connection on which nothing arrived, or nothing left that should have. Default 30 s.
	IdleTimeout time.Duration
	// KeepAlive is the interval of pings when nothing else is sent; they are sent three times per idle timeout at
	// least. Default 10 s; negative turns them off.
	KeepAlive time.Duration
}

func (c Config) withDefaults() Config {
	c.MaxStreams = cmp.Or(c.MaxStreams, 1024)
	c.StreamWindow = max(cmp.Or(c.StreamWindow, 1<<20), firstWindow)
	c.SharedWindow = cmp.Or(c.SharedWindow, 16<<20)
	c.MaxDatagrams = cmp.Or(c.MaxDatagrams, 128)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 10*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 30*time.Second)
	c.KeepAlive = cmp.Or(c.KeepAlive, 10*time.Second)
	return c
}

// closeTimeout is how long a connection that ends waits for its last frames to leave, and for the peer to stop.
const closeTimeout = time.Second

// Directions of streams, as bit 1 of their id has them (RFC 9000 §2.1).
const (
	bidi = 0
	uni  = 1
)

// Conn is one connection. Its methods may be called concurrently.
type Conn struct {
	t        Transport
	conf     Config
	server   uint64 // bit 0 of the ids of this side's streams
	ctx      context.Context
	cancel   context.CancelCauseFunc
	ready    chan struct{}        // closed when the peer's parameters are known
	flushed  chan struct{}        // closed when the writer is over
	wake     chan struct{}        // for the writer
	take     func() *recordBuffer // takes the buffer of the record being read, if the transport has such; else nil
	protocol string               // valid once ready
	peer     parameters           // valid once ready

	consumed atomic.Uint64 // bytes of streams the application took or that will never be delivered
	recvMax  atomic.Uint64 // MAX_DATA announced
	heard    atomic.Int64  // when the last record arrived, in ns since began
	said     atomic.Int64  // when the last record left
	writing  atomic.Int64  // since when the writer waits for the transport, 0 if it does not
	began    time.Time

	mu                      sync.Mutex // guards what follows
	err                     error      // why the connection ended
	streams                 map[uint64]*Stream
	own                     [2]ownStreams
	theirs                  [2]peerStreams
	credit                  chan struct{} // closed and replaced when own streams may be opened
	opened                  uint64        // streams of both sides so far, for their order
	received, sent, sendMax uint64        // bytes of all streams
	shared                  int           // what streams have of Config.SharedWindow
	due                     due
	control                 []*Stream     // streams with control frames due
	levels                  [8]level      // streams with data, by urgency
	datagrams               ring          // received
	outgoing                ring          // to be sent
	arrived                 chan struct{} // a datagram arrived
	pinged, ponged          uint64        // sequence numbers: of the last ping sent, of the last one received
	timer                   *time.Timer
}

// ownStreams are the streams of one direction that this side opens.
type ownStreams struct{ next, limit uint64 }

// peerStreams are the streams of one direction that the peer opens.
type peerStreams struct {
	next, granted, over uint64
	queue               []*Stream // not accepted yet
	arrived             chan struct{}
}

// due are the connection's control frames that are to be sent.
type due struct {
	parameters, maxData, ping, pong bool
	maxStreams                      [2]bool
}

// Client exchanges transport parameters with a server. The connection takes t over, also when it fails.
func Client(ctx context.Context, t Transport, conf Config) (*Conn, error) {
	return start(ctx, t, conf, 0)
}

// Server exchanges transport parameters with a client. The connection takes t over, also when it fails.
func Server(ctx context.Context, t Transport, conf Config) (*Conn, error) {
	return start(ctx, t, conf, 1)
}

func start(ctx context.Context, t Transport, conf Config, server uint64) (*Conn, error) {
	c := &Conn{
		t: t, conf: conf.withDefaults(), server: server, began: time.Now(),
		ready: make(chan struct{}), flushed: make(chan struct{}), wake: make(chan struct{}, 1),
		streams: map[uint64]*Stream{}, credit: make(chan struct{}), arrived: make(chan struct{}, 1),
	}
	if bt, ok := t.(*byteTransport); ok {
		c.take = bt.take
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.recvMax.Store(c.conf.window() + slack)
	for d := range c.theirs {
		c.theirs[d] = peerStreams{granted: uint64(c.conf.MaxStreams), arrived: make(chan struct{}, 1)}
	}
	c.datagrams.init(c.conf.MaxDatagrams)
	c.outgoing.init(c.conf.MaxDatagrams)
	c.due.parameters = true
	period := c.conf.IdleTimeout / 3
	if c.conf.KeepAlive > 0 {
		period = min(period, c.conf.KeepAlive)
	}
	c.mu.Lock()
	c.timer = time.AfterFunc(period, func() { c.tick(period) })
	c.mu.Unlock()
	go c.readLoop()
	go c.writeLoop()
	ctx, cancel := context.WithTimeoutCause(ctx, c.conf.HandshakeTimeout, ErrHandshake)
	defer cancel()
	select {
	case <-c.ready:
		return c, nil
	case <-c.ctx.Done():
	case <-ctx.Done():
		c.fail(context.Cause(ctx))
	}
	<-c.flushed
	return nil, context.Cause(c.ctx)
}

// parameters are this side's.
func (c *Conn) parameters() parameters {
	p := parameters{
		maxIdleTimeout: uint64(c.conf.IdleTimeout.Milliseconds()), maxData: c.conf.window() + slack,
		maxStreamDataLocal: firstWindow, maxStreamDataRemote: firstWindow, maxStreamDataUni: firstWindow,
		maxStreamsBidi: uint64(c.conf.MaxStreams), maxStreamsUni: uint64(c.conf.MaxStreams),
		maxDatagramFrameSize: maxRecord, maxRecordSize: maxRecord,
	}
	if c.conf.Protocol == "" {
		p.protocols = c.conf.Protocols
	}
	return p
}

// learn takes over the peer's parameters.
func (c *Conn) learn(b []byte) error {
	p, err := parseParameters(b)
	if err != nil {
		return err
	}
	switch {
	case c.conf.Protocol == "":
		server, client := p.protocols, c.conf.Protocols
		if c.server == 1 {
			server, client = client, server
		}
		name, ok := agree(server, client)
		if !ok && len(c.conf.Protocols) > 0 {
			return broken(NoApplicationProtocol, "")
		}
		c.protocol = name
	case p.protocols != nil:
		return broken(TransportParameterError, "application protocol negotiated twice")
	default:
		c.protocol = c.conf.Protocol
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer = p
	c.sendMax = p.maxData
	c.own[bidi].limit, c.own[uni].limit = p.maxStreamsBidi, p.maxStreamsUni
	close(c.ready)
	return nil
}

// Protocol is the application protocol agreed on, "" for none.
func (c *Conn) Protocol() string { return c.protocol }

// Context ends with the connection; its cause is a *TransportError, an *ApplicationError or one of this package's errors.
func (c *Conn) Context() context.Context { return c.ctx }

// CloseWithError ends the connection and waits until the peer was told, for a second at most.
func (c *Conn) CloseWithError(code uint64, reason string) error {
	c.fail(&ApplicationError{Code: min(code, maxVarint), Reason: reason})
	<-c.flushed
	return nil
}

// fail ends the connection, once; the writer tells the peer if it was this side's doing.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	c.timer.Stop()
	c.timer = time.AfterFunc(closeTimeout, func() { c.t.Close() })
	c.cancel(err)
	for _, st := range c.streams {
		st.send.cond.Broadcast()
		st.send.end(err)
	}
	streams := c.streams
	c.streams, c.control, c.levels = map[uint64]*Stream{}, nil, [8]level{}
	c.mu.Unlock()
	for _, st := range streams {
		st.recv.mu.Lock()
		st.recv.drop()
		st.recv.cond.Broadcast()
		st.recv.mu.Unlock()
	}
	c.signal()
}

// quiet reports errors after which the peer is told nothing, because it has closed the connection or is gone (§8.1).
func quiet(err error) bool {
	switch e := err.(type) {
	case *ApplicationError:
		return e.Remote
	case *TransportError:
		return e.Remote
	}
	return errors.Is(err, ErrIdle) || errors.Is(err, ErrLost)
}

func (c *Conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// since is a time that is never 0.
func (c *Conn) since() int64 { return int64(time.Since(c.began)) + 1 }

// tick sends pings, and ends a connection that is idle (§8.1). Frames that this side sends do not count as activity: the peer
// answers pings.
func (c *Conn) tick(period time.Duration) {
	idle := c.conf.IdleTimeout
	select {
	case <-c.ready:
		if ms := c.peer.maxIdleTimeout; ms > 0 {
			idle = min(idle, time.Duration(min(ms, 1<<40))*time.Millisecond)
		}
	default:
	}
	now := c.since()
	if w := c.writing.Load(); now-c.heard.Load() > int64(idle) || w != 0 && now-w > int64(idle) {
		c.fail(ErrIdle)
		return
	}
	period = min(period, max(idle/3, time.Millisecond))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if c.conf.KeepAlive > 0 && now-min(c.said.Load(), c.heard.Load()) >= int64(period) {
		c.due.ping = true
		c.signal()
	}
	c.timer = time.AfterFunc(period, func() { c.tick(period) })
}

// OpenStream opens a bidirectional stream, waiting for the peer's leave until ctx is done.
func (c *Conn) OpenStream(ctx context.Context) (*Stream, error) { return c.open(ctx, bidi) }

// OpenUniStream opens a stream that this side writes.
func (c *Conn) OpenUniStream(ctx context.Context) (*Stream, error) { return c.open(ctx, uni) }

func (c *Conn) open(ctx context.Context, direction uint64) (*Stream, error) {
	for {
		c.mu.Lock()
		if c.err != nil {
			c.mu.Unlock()
			return nil, c.err
		}
		if o := &c.own[direction]; o.next < o.limit {
			limit := c.peer.maxStreamDataUni
			if direction == bidi {
				limit = c.peer.maxStreamDataRemote
			}
			st := c.newStream(o.next<<2|direction<<1|c.server, limit)
			o.next++
			st.recv.over, st.recv.fin = direction == uni, direction == uni
			if direction == bidi {
				c.shared += firstWindow // MaxStreams bounds those of the peer's only
			}
			c.mu.Unlock()
			return st, nil
		}
		credit := c.credit
		c.mu.Unlock()
		select {
		case <-credit:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-c.ctx.Done():
		}
	}
}

// AcceptStream returns the next bidirectional stream of the peer.
func (c *Conn) AcceptStream(ctx context.Context) (*Stream, error) { return c.accept(ctx, bidi) }

// AcceptUniStream returns the next stream that the peer writes.
func (c *Conn) AcceptUniStream(ctx context.Context) (*Stream, error) { return c.accept(ctx, uni) }

func (c *Conn) accept(ctx context.Context, direction int) (*Stream, error) {
	p := &c.theirs[direction]
	for {
		c.mu.Lock()
		if c.err != nil {
			c.mu.Unlock()
			return nil, c.err
		}
		if len(p.queue) > 0 {
			st := p.queue[0]
			p.queue[0] = nil
			p.queue = p.queue[1:]
			if len(p.queue) > 0 {
				notify(p.arrived) // others may wait
			}
			c.mu.Unlock()
			return st, nil
		}
		c.mu.Unlock()
		select {
		case <-p.arrived:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-c.ctx.Done():
		}
	}
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// newStream registers a stream; mu is held.
func (c *Conn) newStream(id, sendMax uint64) *Stream {
	st := &Stream{c: c, id: id}
	st.send.max, st.send.order = sendMax, c.opened
	st.send.urgency, st.send.incremental = defaultUrgency, false
	st.send.cond.L = &c.mu
	st.recv.window, st.recv.max, st.recv.half = firstWindow, firstWindow, firstWindow/2
	st.recv.cond.L = &st.recv.mu
	c.opened++
	c.streams[id] = st
	return st
}

// retire forgets a stream of which both halves are over; mu is held.
func (c *Conn) retire(st *Stream) {
	if !st.send.over || !st.recv.over || c.streams[st.id] != st {
		return
	}
	delete(c.streams, st.id)
	if st.id&1 == c.server {
		if st.id>>1&1 == bidi {
			c.shared -= firstWindow
		}
		return
	}
	d := st.id >> 1 & 1
	p := &c.theirs[d]
	p.over++
	// Credit is given back an eighth at a time.
	if max := uint64(c.conf.MaxStreams); p.over+max-p.granted >= (max+7)/8 {
		c.due.maxStreams[d] = true
		c.signal()
	}
}

// ring holds the last datagrams; their memory is used again.
type ring struct {
	slots [][]byte
	first int
	n     int
}

func (r *ring) init(size int) { r.slots = make([][]byte, size) }

// push copies b, over the oldest if there is no room.
func (r *ring) push(b []byte) {
	if r.n == len(r.slots) {
		r.pop()
	}
	i := (r.first + r.n) % len(r.slots)
	r.slots[i] = append(r.slots[i][:0], b...)
	r.n++
}

// pop returns the oldest; it is valid until the next push.
func (r *ring) pop() []byte {
	b := r.slots[r.first]
	r.first = (r.first + 1) % len(r.slots)
	r.n--
	return b
}

// SendDatagram queues a datagram; b may be used again. One that the peer does not take is dropped.
func (c *Conn) SendDatagram(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if len(b)+1+4 > int(min(c.peer.maxDatagramFrameSize, c.peer.maxRecordSize, maxRecord)) {
		return nil
	}
	c.outgoing.push(b)
	c.signal()
	return nil
}

// ReceiveDatagram returns the next datagram.
func (c *Conn) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	for {
		c.mu.Lock()
		if c.datagrams.n > 0 {
			b := append([]byte(nil), c.datagrams.pop()...)
			if c.datagrams.n > 0 {
				notify(c.arrived)
			}
			c.mu.Unlock()
			return b, nil
		}
		err := c.err
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-c.arrived:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-c.ctx.Done():
		}
	}
}
