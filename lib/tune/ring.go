package tune

import (
	"io"
	"sync"
)

// ring is a bounded queue of bytes between two goroutines. A writer waits while it is full.
type ring struct {
	mu   sync.Mutex // guards what follows
	more sync.Cond  // something was written, read or closed
	buf  []byte
	at   int // of the first byte
	n    int // bytes held
	err  error
}

func newRing(size int) *ring {
	r := &ring{buf: make([]byte, size)}
	r.more.L = &r.mu
	return r
}

// Write puts all of b in, or fails when the ring was closed.
func (r *ring) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	total := len(b)
	for len(b) > 0 {
		for r.n == len(r.buf) && r.err == nil {
			r.more.Wait()
		}
		if r.err != nil {
			return total - len(b), io.ErrClosedPipe
		}
		free := r.buf[(r.at+r.n)%len(r.buf):]
		k := copy(free[:min(len(free), len(r.buf)-r.n)], b)
		r.n += k
		b = b[k:]
		r.more.Broadcast()
	}
	return total, nil
}

// Read takes what is there and waits when nothing is. What was written before close is read first.
func (r *ring) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.n == 0 && r.err == nil {
		r.more.Wait()
	}
	n := 0
	for r.n > 0 && n < len(b) {
		k := copy(b[n:], r.buf[r.at:min(len(r.buf), r.at+r.n)])
		r.at = (r.at + k) % len(r.buf)
		r.n -= k
		n += k
	}
	if n == 0 {
		return 0, r.err
	}
	r.more.Broadcast()
	return n, nil
}

// close ends both sides; readers get err once the ring is empty. The first close counts.
func (r *ring) close(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.more.Broadcast()
}

// Close is the reader's: it ends both sides.
func (r *ring) Close() error {
	r.close(io.ErrClosedPipe)
	return nil
}
