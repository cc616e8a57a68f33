package repair

import (
	"container/heap"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// lab is a network in memory for tests in a synctest bubble: sockets, and what happens to datagrams between them.
type lab struct {
	mu      sync.Mutex
	way     func(from, to netip.AddrPort) *way // the direction that a datagram goes; nil: nowhere
	sockets map[netip.AddrPort]*labSocket
	later   labQueue
	seq     int
	kick    chan struct{}
	stop    chan struct{}
	done    sync.WaitGroup
}

// way is one direction.
type way struct {
	loss, burst float64 // chance, and how many are lost together in the mean
	delay       time.Duration
	reorder     float64 // chance to be 10 ms late
	rate        float64 // bits a second; 0: any
	queue       time.Duration
	tap         func(b []byte) // sees what is sent
	drop        func(b []byte) bool

	rng               *rand.Rand
	left              int
	free              time.Time
	sent, lost, bytes int
}

type labItem struct {
	at       time.Time
	seq      int
	b        []byte
	from, to netip.AddrPort
}

type labQueue []labItem

func (q labQueue) Len() int { return len(q) }
func (q labQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].seq < q[j].seq
	}
	return q[i].at.Before(q[j].at)
}
func (q labQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *labQueue) Push(x any)   { *q = append(*q, x.(labItem)) }
func (q *labQueue) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}

// newLab makes a network whose ways are up, to the first socket, and down.
func newLab(t testing.TB, up, down *way, seed uint64) *lab {
	l := &lab{sockets: map[netip.AddrPort]*labSocket{}, kick: make(chan struct{}, 1), stop: make(chan struct{})}
	for i, w := range []*way{up, down} {
		w.rng = rand.New(rand.NewPCG(uint64(i), seed))
	}
	l.way = func(_, to netip.AddrPort) *way {
		if to.Port() == 1 {
			return up
		}
		return down
	}
	l.done.Go(l.run)
	t.Cleanup(func() {
		close(l.stop)
		l.done.Wait()
	})
	return l
}

func (l *lab) run() {
	timer := time.NewTimer(time.Hour)
	for {
		l.mu.Lock()
		for len(l.later) > 0 && !l.later[0].at.After(time.Now()) {
			it := heap.Pop(&l.later).(labItem)
			if s := l.sockets[it.to]; s != nil {
				s.arrive(it.b, it.from)
			}
		}
		wait := time.Hour
		if len(l.later) > 0 {
			wait = time.Until(l.later[0].at)
		}
		l.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-l.kick:
		case <-l.stop:
			return
		}
	}
}

func (l *lab) send(b []byte, from, to netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.way(from, to)
	if w == nil {
		return
	}
	if w.tap != nil {
		w.tap(b)
	}
	w.sent++
	w.bytes += len(b)
	now := time.Now()
	if w.drop != nil && w.drop(b) {
		return
	}
	if w.left > 0 {
		w.left--
		w.lost++
		return
	}
	if burst := max(w.burst, 1); w.rng.Float64() < w.loss/burst {
		for burst > 1 && w.rng.Float64() > 1/burst {
			w.left++
		}
		w.lost++
		return
	}
	at := now
	if w.rate > 0 {
		if w.free.Before(now) {
			w.free = now
		}
		if w.free.Sub(now) > w.queue {
			w.lost++
			return
		}
		w.free = w.free.Add(time.Duration(float64(len(b)+28) * 8 / w.rate * 1e9))
		at = w.free
	}
	at = at.Add(w.delay)
	if w.rng.Float64() < w.reorder {
		at = at.Add(10 * time.Millisecond)
	}
	l.seq++
	heap.Push(&l.later, labItem{at, l.seq, append([]byte(nil), b...), from, to})
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// labSocket is a Socket in a lab.
type labSocket struct {
	l    *lab
	addr netip.AddrPort

	mu       sync.Mutex
	inbox    []labItem
	changed  chan struct{}
	deadline time.Time
	closed   bool
}

func (l *lab) socket(port uint16) *labSocket {
	s := &labSocket{l: l, addr: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), changed: make(chan struct{})}
	l.mu.Lock()
	l.sockets[s.addr] = s
	l.mu.Unlock()
	return s
}

// move gives a socket another port, as a router does that forgot a mapping.
func (s *labSocket) move(port uint16) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	delete(s.l.sockets, s.addr)
	s.mu.Lock()
	s.addr = netip.AddrPortFrom(s.addr.Addr(), port)
	s.mu.Unlock()
	s.l.sockets[s.addr] = s
}

func (s *labSocket) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *labSocket) arrive(b []byte, from netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inbox = append(s.inbox, labItem{b: b, from: from})
	s.change()
}

func (s *labSocket) Pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.inbox) > 0
}

func (s *labSocket) ReadDatagram() (b, oob []byte, from *net.UDPAddr, err error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, nil, nil, net.ErrClosed
		}
		deadline, changed := s.deadline, s.changed
		if !deadline.IsZero() && !time.Now().Before(deadline) {
			s.mu.Unlock()
			return nil, nil, nil, os.ErrDeadlineExceeded
		}
		if len(s.inbox) > 0 {
			it := s.inbox[0]
			s.inbox = s.inbox[1:]
			s.mu.Unlock()
			return it.b, nil, net.UDPAddrFromAddrPort(it.from), nil
		}
		s.mu.Unlock()
		if deadline.IsZero() {
			<-changed
			continue
		}
		timer := time.NewTimer(time.Until(deadline))
		select {
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (s *labSocket) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (int, int, error) {
	s.mu.Lock()
	closed, from := s.closed, s.addr
	s.mu.Unlock()
	if closed {
		return 0, 0, net.ErrClosed
	}
	s.l.send(b, from, key(to.AddrPort()))
	return len(b), len(oob), nil
}

func (s *labSocket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	s.change()
	return nil
}

func (s *labSocket) SetWriteDeadline(time.Time) error { return nil }
func (s *labSocket) LocalAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return net.UDPAddrFromAddrPort(s.addr)
}

func (s *labSocket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.change()
	}
	return nil
}

func nowhere(_, _ netip.AddrPort) *way { return nil }
