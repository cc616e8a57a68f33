package home

import (
	"context"
	"sync"
	"sync/atomic"

	"every.channel/ec/lib/ts"
)

// blockSize is what one read of a tuner's stream asks for: at 40 Mbit/s 13 ms.
const blockSize = 64 << 10 / ts.PacketSize * ts.PacketSize

// maxQueued bounds what waits for one channel's ec-chop: at 40 Mbit/s 1.6 s. What comes when the queue is full is left out, so that a channel
// whose programs have stopped holds up no other.
const maxQueued = 8 << 20

// block is a run of whole packets that several channels read. Who has the last reference gives it back.
type block struct {
	b    []byte
	refs atomic.Int32
}

var blocks = sync.Pool{New: func() any { return &block{b: make([]byte, 0, blockSize)} }}

func (b *block) release() {
	if b.refs.Add(-1) == 0 {
		b.b = b.b[:0]
		blocks.Put(b)
	}
}

// queue holds what came for one channel and was not taken yet.
type queue struct {
	mu      sync.Mutex // guards what follows
	closed  bool       // nobody reads: what comes is for nobody
	waiting []*block
	bytes   int
	dropped int64         // bytes that were left out
	wake    chan struct{} // has room for one
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// put adds a reference to a block, or leaves the block out.
func (q *queue) put(b *block) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if q.bytes+len(b.b) > maxQueued {
		q.dropped += int64(len(b.b))
		return
	}
	b.refs.Add(1)
	q.waiting = append(q.waiting, b)
	q.bytes += len(b.b)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next takes the oldest block, which the caller releases, or waits for one until ctx ends.
func (q *queue) next(ctx context.Context) (*block, error) {
	for {
		q.mu.Lock()
		if len(q.waiting) > 0 {
			b := q.waiting[0]
			q.waiting[0] = nil
			q.waiting = q.waiting[1:]
			q.bytes -= len(b.b)
			q.mu.Unlock()
			return b, nil
		}
		q.mu.Unlock()
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// open takes what comes from now on, and close nothing more: who starts anew begins with what comes then.
func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = false
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, b := range q.waiting {
		b.release()
	}
	q.waiting, q.bytes = nil, 0
}

// lost is how many bytes were left out since it was asked last.
func (q *queue) lost() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.dropped
	q.dropped = 0
	return n
}

// splitter makes blocks of whole packets of a stream that comes in pieces of any size, and hands each to all queues.
type splitter struct {
	queues func() []*queue
	cur    *block
}

func (s *splitter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if s.cur == nil {
			s.cur = blocks.Get().(*block)
			s.cur.refs.Store(1)
		}
		take := min(len(p), blockSize-len(s.cur.b))
		s.cur.b = append(s.cur.b, p[:take]...)
		p = p[take:]
		if len(s.cur.b) == blockSize {
			s.send(s.cur)
			s.cur = nil
		}
	}
	// What is whole goes on at once: a channel of low rate must not wait until a block is full.
	if s.cur != nil {
		if whole := len(s.cur.b) / ts.PacketSize * ts.PacketSize; whole > 0 {
			full := s.cur
			s.cur = nil
			if rest := full.b[whole:]; len(rest) > 0 {
				s.cur = blocks.Get().(*block)
				s.cur.refs.Store(1)
				s.cur.b = append(s.cur.b, rest...)
			}
			full.b = full.b[:whole]
			s.send(full)
		}
	}
	return n, nil
}

func (s *splitter) send(b *block) {
	for _, q := range s.queues() {
		q.put(b)
	}
	b.release()
}

// cut forgets the beginning of a packet whose end does not come.
func (s *splitter) cut() {
	if s.cur != nil {
		s.cur.release()
		s.cur = nil
	}
}
