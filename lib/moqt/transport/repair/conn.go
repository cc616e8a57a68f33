package repair

import (
	"crypto/ecdh"
	"crypto/rand"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Socket is a UDP socket. Only one goroutine reads from it at a time.
type Socket interface {
	// ReadDatagram waits for a datagram. What it returns is valid until the next call.
	ReadDatagram() (b, oob []byte, from *net.UDPAddr, err error)
	// Pending reports whether ReadDatagram has one without waiting.
	Pending() bool
	WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error)
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	LocalAddr() net.Addr
	Close() error
}

// Options of a Conn; the zero value works.
type Options struct {
	// Accept answers peers that ask whether this side has the layer; a side that only dials need not. Default: no.
	Accept bool
	// MaxPaths bounds the peers with the layer, of which one host has 64 at most. Of more, the one that was silent longest is forgotten, if
	// it was for 10 s, or the new one goes without repair. Default 4,096.
	MaxPaths int
	// MaxBytes bounds what is held for all peers together: datagrams, and what remembers their numbers. Without memory they pass, but are
	// not repaired. Default 64 MiB.
	MaxBytes int
}

// Conn is the layer on one socket.
type Conn struct {
	socket Socket
	o      Options
	start  time.Time
	pool   pool
	codes  codes

	key       *ecdh.PrivateKey
	cookieKey [32]byte

	some   atomic.Bool  // there is a path
	mu     sync.RWMutex // guards what follows; taken before path.mu
	byID   map[uint32]*path
	by     map[netip.AddrPort]*path
	was    map[netip.AddrPort]*path // where peers were before, and QUIC thinks that they are, until somebody else says something from there
	moved  atomic.Bool              // there is one
	all    []*path
	offers []*offer

	queued   atomic.Bool // the queue is not empty
	reading  *path       // for the reader alone: where the last datagram without a number came from
	readMu   sync.Mutex  // guards what follows; nothing is locked under it
	queue    []packet
	spare    [][]byte
	deadline time.Time // QUIC's

	clockMu sync.Mutex // guards what follows
	kick    chan struct{}
	stop    chan struct{}
	closed  bool
	ticking sync.WaitGroup
	ticked  []*path // for the clock alone
}

// New makes the layer on a socket. Close ends it.
func New(s Socket, o Options) (*Conn, error) {
	if o.MaxPaths == 0 {
		o.MaxPaths = 4096
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
	}
	c := &Conn{socket: s, o: o, start: time.Now().Add(-time.Second), byID: map[uint32]*path{}, by: map[netip.AddrPort]*path{}, was: map[netip.AddrPort]*path{}}
	c.pool.most = o.MaxBytes / bufLen
	var err error
	if c.key, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	if _, err = rand.Read(c.cookieKey[:]); err != nil {
		return nil, err
	}
	return c, nil
}

// now is the time since a second before the layer began, so that it is never 0.
func (c *Conn) now() time.Duration { return time.Since(c.start) }

// lookup returns the path to an address, or nil.
func (c *Conn) lookup(a netip.AddrPort) *path {
	if !c.some.Load() {
		return nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.by[key(a)]
}

// reach returns the path to whoever QUIC believes to be at an address, and the address at which that peer is; or nil.
func (c *Conn) reach(to *net.UDPAddr) (*path, *net.UDPAddr) {
	if p := c.lookup(to.AddrPort()); p != nil || !c.moved.Load() {
		return p, to
	}
	c.mu.RLock()
	p := c.was[key(to.AddrPort())]
	c.mu.RUnlock()
	if p == nil {
		return nil, to
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p, p.addr
}

// left forgets that a peer was at an address, from which something came now that is not of its path: somebody else is there.
func (c *Conn) left(a netip.AddrPort) {
	if !c.moved.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.was, key(a))
	c.moved.Store(len(c.was) > 0)
}

// add lists a path in place of one to the same address; false if there is no room. c.mu is held.
func (c *Conn) add(p *path) bool {
	a := key(p.addr.AddrPort())
	if c.byID[p.open.path] != nil {
		return false
	}
	if old := c.by[a]; old != nil {
		c.remove(old)
	}
	every := func(*path) bool { return true }
	near := func(o *path) bool { return host(o.listed) == host(a) }
	if c.count(near) >= maxPerHost && !c.evict(near) || len(c.all) >= c.o.MaxPaths && !c.evict(every) {
		return false
	}
	delete(c.was, a)
	c.byID[p.open.path], c.by[a], p.listed = p, p, a
	c.all = append(c.all, p)
	c.some.Store(true)
	return true
}

// maxPerHost bounds the paths to one host, or to one network of IPv6.
const maxPerHost = 64

// host is what one attacker has all of: an address of IPv4, or a /64 of IPv6.
func host(a netip.AddrPort) netip.Prefix {
	bits := 64
	if a.Addr().Is4() {
		bits = 32
	}
	p, _ := a.Addr().Prefix(bits)
	return p
}

// count counts paths of a kind. c.mu is held.
func (c *Conn) count(kind func(*path) bool) (n int) {
	for _, p := range c.all {
		if kind(p) {
			n++
		}
	}
	return n
}

// evict forgets the path of a kind that was silent longest, if that is long. c.mu is held.
func (c *Conn) evict(kind func(*path) bool) bool {
	var oldest *path
	var since time.Duration
	for _, p := range c.all {
		if !kind(p) {
			continue
		}
		p.mu.Lock()
		if oldest == nil || p.came < since {
			oldest, since = p, p.came
		}
		p.mu.Unlock()
	}
	if oldest == nil || c.now()-since < 10*time.Second {
		return false
	}
	c.remove(oldest)
	return true
}

// remove forgets a path. c.mu is held.
func (c *Conn) remove(p *path) {
	if c.byID[p.open.path] != p {
		return
	}
	delete(c.byID, p.open.path)
	for i := range c.all {
		if c.all[i] == p {
			c.all = append(c.all[:i], c.all[i+1:]...)
			break
		}
	}
	if c.by[p.listed] == p {
		delete(c.by, p.listed)
	}
	for _, a := range p.was {
		if c.was[a] == p {
			delete(c.was, a)
		}
	}
	c.moved.Store(len(c.was) > 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	p.rx.drop()
	p.tx.drop()
	c.some.Store(len(c.all) > 0)
}

// mostWas is how many earlier addresses of a peer are remembered.
const mostWas = 8

// relocate lists a path by the address that its peer has now.
func (c *Conn) relocate(p *path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID[p.open.path] != p {
		return
	}
	p.mu.Lock()
	a := key(p.addr.AddrPort())
	p.mu.Unlock()
	if old := c.by[a]; old != nil && old != p {
		c.remove(old)
	}
	delete(c.by, p.listed)
	delete(c.was, a)
	if a != p.listed {
		c.was[p.listed] = p
		p.was = append(slices.DeleteFunc(p.was, func(o netip.AddrPort) bool { return c.was[o] != p || o == p.listed }), p.listed)
	}
	if len(p.was) > mostWas { // not the oldest: QUIC may be there still, as it follows only so many changes
		delete(c.was, p.was[1])
		p.was = slices.Delete(p.was, 1, 2)
	}
	c.by[a], p.listed = p, a
	c.moved.Store(len(c.was) > 0)
}

// Stats tells of the path to an address; the zero value if the peer has no such layer.
func (c *Conn) Stats(to net.Addr) Stats {
	a, ok := to.(*net.UDPAddr)
	if !ok {
		return Stats{}
	}
	if p := c.lookup(a.AddrPort()); p != nil {
		return p.stats()
	}
	return Stats{}
}

// Close closes the socket and waits for what was started.
func (c *Conn) Close() error {
	c.clockMu.Lock()
	if !c.closed {
		c.closed = true
		if c.stop != nil {
			close(c.stop)
		}
	}
	c.clockMu.Unlock()
	err := c.socket.Close()
	c.ticking.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.all) > 0 {
		c.remove(c.all[0])
	}
	return err
}
