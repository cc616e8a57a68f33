package qmux

import (
	"context"
	"io"
	"os"
	"sync"
	"time"
)

// Stream is one stream, or the half of it this side has: a stream opened with OpenUniStream is only written, one from
// AcceptUniStream only read.
type Stream struct {
	c    *Conn
	id   uint64
	send sendHalf
	recv recvHalf
	// Control frames due, guarded by c.mu.
	due struct{ listed, reset, stop, maxData, fin bool }
}

// ID is the stream's number (RFC 9000 §2.1).
func (st *Stream) ID() uint64 { return st.id }

// smallWrite bounds the bytes of short writes that a stream keeps and that need not wait. So a header leaves together with the
// payload after it.
const smallWrite = 4 << 10

// defaultUrgency is that of RFC 9218 §4.1.
const defaultUrgency = 3

// sendHalf is the half of a stream that this side writes. All of it is guarded by c.mu, except that the writer copies from
// current without it while busy.
type sendHalf struct {
	one         sync.Mutex // one Write at a time
	cond        sync.Cond
	pending     []byte // of small writes
	current     []byte // what the Write that waits has left
	busy        bool
	sent, max   uint64 // bytes sent, and those the peer allows
	reliable    uint64 // bytes a reset keeps
	fin         bool
	reset       *StreamError // by this side or the peer
	resetCode   uint64
	resetLater  bool // after the pending bytes, which the reset keeps
	over        bool
	deadline    deadline
	ctx         context.Context
	cancel      context.CancelCauseFunc
	order       uint64
	urgency     int8
	incremental bool
	queued      bool
}

// deadline is a point in time, with the timer that wakes the calls which wait for it.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(at time.Time, wake func()) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = at
	if left := time.Until(at); !at.IsZero() && left > 0 {
		d.timer = time.AfterFunc(left, wake)
	}
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// Write blocks while the peer gives no credit, but for a few bytes. It returns with a prefix written when the deadline
// passes.
func (st *Stream) Write(p []byte) (int, error) {
	s := &st.send
	s.one.Lock()
	defer s.one.Unlock()
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if err := st.writable(); err != nil || len(p) == 0 {
		return 0, err
	}
	if len(s.pending)+len(p) <= smallWrite {
		s.pending = append(s.pending, p...)
		st.schedule()
		return len(p), nil
	}
	s.current = p
	st.schedule()
	for s.busy || len(s.current) > 0 {
		if !s.busy {
			if err := st.writable(); err != nil {
				n := len(p) - len(s.current)
				s.current = nil
				return n, err
			}
		}
		s.cond.Wait()
	}
	s.current = nil
	return len(p), nil
}

// writable reports why nothing may be written; c.mu is held.
func (st *Stream) writable() error {
	s := &st.send
	switch {
	case s.reset != nil:
		return s.reset
	case st.c.err != nil:
		return st.c.err
	case s.fin || s.over:
		return ErrWriteAfterClose
	case s.deadline.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Close ends the stream with FIN after what was written.
func (st *Stream) Close() error {
	c, s := st.c, &st.send
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if s.reset != nil || s.fin || s.over {
		return nil
	}
	s.fin = true
	if len(s.pending)+len(s.current) == 0 && !s.busy {
		st.due.fin = true
		st.list()
	}
	s.end(nil)
	return nil
}

// CancelWrite ends the stream with RESET_STREAM; what was not sent is dropped, but for what SetReliableBoundary keeps.
func (st *Stream) CancelWrite(code uint64) {
	c, s := st.c, &st.send
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || s.reset != nil || s.over {
		return
	}
	s.reset = &StreamError{Code: code}
	s.cond.Broadcast()
	if keep := int64(s.reliable) - int64(s.sent); keep > 0 && !s.busy {
		s.pending = s.pending[:min(int(keep), len(s.pending))]
		s.resetLater, s.resetCode = true, code
	} else {
		st.resetNow(code)
	}
	s.end(s.reset)
}

// resetNow drops what was not sent; c.mu is held.
func (st *Stream) resetNow(code uint64) {
	s := &st.send
	s.pending, s.fin, s.resetLater, s.resetCode = nil, false, false, code
	st.due.reset, st.due.fin = true, false
	st.list()
}

// SetReliableBoundary makes a later CancelWrite deliver what was written so far.
func (st *Stream) SetReliableBoundary() {
	st.c.mu.Lock()
	st.send.reliable = st.send.sent + uint64(len(st.send.pending))
	st.c.mu.Unlock()
}

// SetPriority takes the priority of RFC 9218: urgency 0, first, to 7; streams of equal urgency go in the order in which
// they were opened, or in turns if incremental.
func (st *Stream) SetPriority(urgency int8, incremental bool) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.send.queued {
		c.levels[st.send.urgency].remove(st)
	}
	st.send.urgency, st.send.incremental = max(0, min(urgency, 7)), incremental
	st.schedule()
}

// SetWriteDeadline ends a Write that waits; the zero time means never.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	st.send.deadline.set(t, func() {
		c.mu.Lock()
		st.send.cond.Broadcast()
		c.mu.Unlock()
	})
	st.send.cond.Broadcast()
	return nil
}

// Context ends when the stream was closed or reset on this side, or refused by the peer.
func (st *Stream) Context() context.Context {
	c, s := st.c, &st.send
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
		switch {
		case s.reset != nil:
			s.cancel(s.reset)
		case c.err != nil:
			s.cancel(c.err)
		case s.fin || s.over:
			s.cancel(nil)
		}
	}
	return s.ctx
}

// end ends the context; c.mu is held.
func (s *sendHalf) end(err error) {
	if s.cancel != nil {
		s.cancel(err)
	}
}

const chunkSize = 16 << 10

// chunk is a piece of the data that wait to be read; all streams use the same pieces again.
type chunk struct {
	next       *chunk
	head, tail int
	b          []byte
	record     *recordBuffer // that b is a part of; nil: b is the chunk's own
}

var (
	chunks = sync.Pool{New: func() any { return &chunk{b: make([]byte, chunkSize)} }}
	taken  = sync.Pool{New: func() any { return new(chunk) }}
)

// recvHalf is the half of a stream that this side reads.
type recvHalf struct {
	// Guarded by c.mu.
	received uint64 // bytes that arrived, or never will
	max      uint64 // bytes allowed
	window   int    // bytes that may wait
	stopping bool   // this side reads no more
	ended    bool   // the peer ended the stream
	over     bool
	stopCode uint64 // of STOP_SENDING

	mu          sync.Mutex // guards what follows; c.mu is never taken under it, nor the other way
	cond        sync.Cond
	first, last *chunk
	read        uint64 // bytes read in all
	asked, half uint64 // read when MAX_STREAM_DATA was last asked for; half a window, after which it is again
	fin         bool
	reset       *StreamError // by the peer
	stopped     *StreamError // by this side
	deadline    deadline
}

// append keeps a copy of b, or b itself if it is most of a record whose buffer it may have.
func (r *recvHalf) append(b []byte, take func() *recordBuffer) {
	if take != nil && len(b) >= maxRecord/2 {
		if record := take(); record != nil {
			k := taken.Get().(*chunk)
			k.b, k.record, k.tail = b, record, len(b)
			r.add(k)
			return
		}
	}
	for len(b) > 0 {
		if r.last == nil || r.last.tail == len(r.last.b) {
			r.add(chunks.Get().(*chunk))
		}
		n := copy(r.last.b[r.last.tail:], b)
		r.last.tail += n
		b = b[n:]
	}
}

func (r *recvHalf) add(k *chunk) {
	if r.last == nil {
		r.first = k
	} else {
		r.last.next = k
	}
	r.last = k
}

// remove drops the first piece.
func (r *recvHalf) remove() {
	k := r.first
	if r.first = k.next; r.first == nil {
		r.last = nil
	}
	k.next, k.head, k.tail = nil, 0, 0
	if k.record == nil {
		chunks.Put(k)
		return
	}
	records.Put(k.record)
	k.b, k.record = nil, nil
	taken.Put(k)
}

// take moves the bytes that are there to p.
func (r *recvHalf) take(p []byte) (n int) {
	for r.first != nil && n < len(p) {
		k := r.first
		m := copy(p[n:], k.b[k.head:k.tail])
		k.head += m
		n += m
		if k.head == k.tail {
			r.remove()
		}
	}
	return n
}

// drop returns how many bytes were not read.
func (r *recvHalf) drop() (n int) {
	for r.first != nil {
		n += r.first.tail - r.first.head
		r.remove()
	}
	return n
}

// Read returns what arrived, also before a reset. The end is io.EOF or a *StreamError.
func (st *Stream) Read(p []byte) (int, error) {
	r := &st.recv
	r.mu.Lock()
	for {
		var err error
		switch {
		case r.stopped != nil:
			err = r.stopped
		case st.c.ctx.Err() != nil:
			err = context.Cause(st.c.ctx)
		case r.deadline.passed():
			err = os.ErrDeadlineExceeded
		case len(p) == 0:
		case r.first != nil:
			n := r.take(p)
			r.read += uint64(n)
			more := !r.fin && r.reset == nil && r.read-r.asked >= r.half
			read := r.read
			if more {
				r.asked = read
			}
			r.mu.Unlock()
			st.c.took(n)
			if more {
				st.c.mu.Lock()
				st.allow(read)
				half := uint64(st.recv.window) / 2
				st.c.mu.Unlock()
				r.mu.Lock()
				r.half = half
				r.mu.Unlock()
			}
			return n, nil
		case r.reset != nil:
			err = r.reset
		case r.fin:
			err = io.EOF
		default:
			r.cond.Wait()
			continue
		}
		ended := err == io.EOF || err != nil && err == error(r.reset)
		r.mu.Unlock()
		if ended {
			st.receiveOver()
		}
		return 0, err
	}
}

// receiveOver retires the half that is read.
func (st *Stream) receiveOver() {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if !st.recv.over {
		st.narrow(0)
		st.recv.over = true
		st.c.retire(st)
	}
}

// CancelRead asks the peer to stop with STOP_SENDING and drops what arrived.
func (st *Stream) CancelRead(code uint64) {
	c, r := st.c, &st.recv
	r.mu.Lock()
	if r.stopped != nil {
		r.mu.Unlock()
		return
	}
	r.stopped = &StreamError{Code: code}
	dropped := r.drop()
	ended := r.fin || r.reset != nil
	r.cond.Broadcast()
	r.mu.Unlock()
	c.took(dropped)
	if ended {
		st.receiveOver()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st.narrow(0) // nothing waits here any more
	r.stopping = true
	if c.err == nil && !r.over && !r.ended {
		st.due.stop, r.stopCode = true, code
		st.list()
	}
}

// SetReadDeadline ends a Read that waits; the zero time means never.
func (st *Stream) SetReadDeadline(t time.Time) error {
	r := &st.recv
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline.set(t, func() {
		r.mu.Lock()
		r.cond.Broadcast()
		r.mu.Unlock()
	})
	r.cond.Broadcast()
	return nil
}
