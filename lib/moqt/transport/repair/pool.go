package repair

import "sync"

// pool hands out memory for datagrams, and counts what remembers them, up to a bound which all paths of a Conn share.
type pool struct {
	mu      sync.Mutex // guards what follows; no other lock is taken under it
	most    int        // buffers
	out     int
	holders int // shares that have something
	free    [][]byte
}

const (
	oobAt    = maxInner + 2   // in the buffer of a datagram that was received: its control messages
	maxOOB   = 128            // of them; quic-go reads no more
	bufLen   = oobAt + maxOOB // a parity frame, which has 24 bytes around the shard, is shorter
	keepFree = 1024           // buffers that are kept for later
)

// share is what one path has of the pool.
type share struct {
	pool *pool
	held int // buffers, or as much memory; pool.mu guards it
}

// takes takes n buffers, or as much memory, if there is room. p.mu is held.
func (s *share) takes(n int) bool {
	p := s.pool
	if p.out+n > p.most || p.scarce() && s.held+n > p.fair() {
		return false
	}
	if s.held == 0 {
		p.holders++
	}
	p.out += n
	s.held += n
	return true
}

// gives gives n of them back. p.mu is held.
func (s *share) gives(n int) {
	s.pool.out -= n
	if s.held -= n; s.held == 0 {
		s.pool.holders--
	}
}

// scarce reports whether nobody may have more than others.
func (p *pool) scarce() bool { return p.out > p.most/8*7 }

func (p *pool) fair() int { return p.most / max(p.holders, 1) }

// over is how much of what this path has others need now.
func (s *share) over() int {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	if !s.pool.scarce() {
		return 0
	}
	return max(s.held-s.pool.fair(), 0)
}

// get returns a buffer of bufLen bytes, or nil if there is none left for this path.
func (s *share) get() []byte {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.takes(1) {
		return nil
	}
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return make([]byte, bufLen)
}

// put takes a buffer of get back; nil is nothing.
func (s *share) put(b []byte) {
	if b == nil {
		return
	}
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	s.gives(1)
	if len(p.free) < keepFree {
		p.free = append(p.free, b[:bufLen])
	}
}

// reserve counts memory as so many bytes of buffers; false if there is no room for it.
func (s *share) reserve(bytes int) bool {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.takes((bytes + bufLen - 1) / bufLen)
}

// release gives back what was reserved.
func (s *share) release(bytes int) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.gives((bytes + bufLen - 1) / bufLen)
}
