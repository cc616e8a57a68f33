package repair

import "sync"

// pool hands out memory for datagrams up to a bound, which all paths of a Conn share.
type pool struct {
	mu   sync.Mutex // guards what follows; no other lock is taken under it
	most int        // buffers
	out  int
	free [][]byte
}

const (
	bufLen   = parityPre + maxInner + 2 + tagLen // a parity frame is the longest thing in one
	keepFree = 1024                              // buffers that are kept for later
)

// get returns a buffer of bufLen bytes, or nil if there is none left.
func (p *pool) get() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out >= p.most {
		return nil
	}
	p.out++
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return make([]byte, bufLen)
}

// put takes a buffer of get back; nil is nothing.
func (p *pool) put(b []byte) {
	if b == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out--
	if len(p.free) < keepFree {
		p.free = append(p.free, b[:bufLen])
	}
}
