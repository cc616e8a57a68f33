package transport

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// PipeOptions shape an in-memory connection.
type PipeOptions struct {
	Protocol      string // of both ends
	MaxStreams    int    // bidirectional streams that each end may have open at a time; default 100
	MaxUniStreams int    // unidirectional ones; default MaxStreams
	Window        int    // bytes a stream holds before its writer blocks; default 64 KiB
	WebLike       bool   // Native is false, as over WebTransport
}

// Pipe connects two ends in memory, within a process and for tests without a network: streams have flow control and credit, resets and
// FIN behave as in QUIC, nothing is lost or reordered.
func Pipe(o PipeOptions) (client, server Conn) {
	o.MaxStreams, o.Window = cmp.Or(o.MaxStreams, 100), cmp.Or(o.Window, 64<<10)
	o.MaxUniStreams = cmp.Or(o.MaxUniStreams, o.MaxStreams)
	mk := func() *pipeConn {
		c := &pipeConn{
			o: o, uni: make(chan *pipeStream, o.MaxUniStreams), bidi: make(chan *pipeStream, o.MaxStreams),
			uniCredit: make(chan struct{}, o.MaxUniStreams), bidiCredit: make(chan struct{}, o.MaxStreams), datagrams: make(chan []byte, 256),
		}
		c.ctx, c.cancel = context.WithCancelCause(context.Background())
		return c
	}
	a, b := mk(), mk()
	a.peer, b.peer = b, a
	return a, b
}

// pipeConn is one end. Streams the peer opened arrive in uni and bidi; uniCredit holds one token per stream this end opened.
type pipeConn struct {
	o                     PipeOptions
	peer                  *pipeConn
	ctx                   context.Context
	cancel                context.CancelCauseFunc
	uni, bidi             chan *pipeStream
	uniCredit, bidiCredit chan struct{}
	datagrams             chan []byte
	mu                    sync.Mutex
	halves                map[*pipeHalf]struct{}
}

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

func (c *pipeConn) Info() Info {
	return Info{Protocol: c.o.Protocol, Network: "memory", Native: !c.o.WebLike}
}
func (c *pipeConn) Context() context.Context { return c.ctx }
func (c *pipeConn) LocalAddr() net.Addr      { return pipeAddr("pipe") }
func (c *pipeConn) RemoteAddr() net.Addr     { return pipeAddr("pipe") }

func (c *pipeConn) CloseWithError(code wire.SessionCode, reason string) error {
	c.shut(&SessionError{Code: code, Reason: reason})
	c.peer.shut(&SessionError{Code: code, Reason: reason, Remote: true})
	return nil
}

func (c *pipeConn) shut(err error) {
	c.cancel(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	for h := range c.halves {
		h.wake()
	}
	c.halves = nil
}

// half makes one direction of a stream, from c to its peer.
func (c *pipeConn) half(release func()) *pipeHalf {
	h := &pipeHalf{from: c, to: c.peer, window: c.o.Window, release: release}
	h.cond = sync.NewCond(&h.mu)
	h.ctx, h.cancel = context.WithCancelCause(c.ctx)
	for _, end := range []*pipeConn{c, c.peer} {
		end.mu.Lock()
		if end.ctx.Err() == nil {
			if end.halves == nil {
				end.halves = map[*pipeHalf]struct{}{}
			}
			end.halves[h] = struct{}{}
		}
		end.mu.Unlock()
	}
	return h
}

func (c *pipeConn) open(ctx context.Context, credit chan struct{}) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	select {
	case credit <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

func (c *pipeConn) OpenStream(ctx context.Context) (Stream, error) {
	if err := c.open(ctx, c.bidiCredit); err != nil {
		return nil, err
	}
	var over atomic.Int32 // both directions must be over before the credit returns
	release := func() {
		if over.Add(1) == 2 {
			<-c.bidiCredit
		}
	}
	out, in := c.half(release), c.peer.half(release)
	c.peer.bidi <- &pipeStream{pipeSend{in}, pipeReceive{out}}
	return &pipeStream{pipeSend{out}, pipeReceive{in}}, nil
}

func (c *pipeConn) OpenUniStream(ctx context.Context) (SendStream, error) {
	if err := c.open(ctx, c.uniCredit); err != nil {
		return nil, err
	}
	h := c.half(func() { <-c.uniCredit })
	c.peer.uni <- &pipeStream{pipeReceive: pipeReceive{h}}
	return pipeSend{h}, nil
}

func (c *pipeConn) accept(ctx context.Context, from chan *pipeStream) (*pipeStream, error) {
	select {
	case st := <-from:
		return st, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	}
}

func (c *pipeConn) AcceptStream(ctx context.Context) (Stream, error) {
	st, err := c.accept(ctx, c.bidi)
	if err != nil {
		return nil, err
	}
	return st, nil
}

func (c *pipeConn) AcceptUniStream(ctx context.Context) (ReceiveStream, error) {
	st, err := c.accept(ctx, c.uni)
	if err != nil {
		return nil, err
	}
	return st.pipeReceive, nil
}

func (c *pipeConn) SendDatagram(b []byte) error {
	select {
	case c.peer.datagrams <- append([]byte(nil), b...):
	default: // datagrams may be dropped when the peer does not read
	}
	return nil
}

func (c *pipeConn) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	select {
	case b := <-c.datagrams:
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	}
}

// pipeHalf is one direction of a stream.
type pipeHalf struct {
	from, to *pipeConn
	window   int
	ctx      context.Context // of the writer
	cancel   context.CancelCauseFunc
	release  func() // returns the stream credit

	mu             sync.Mutex
	cond           *sync.Cond
	buf            []byte
	written        int // bytes written in all
	read           int // bytes read in all
	reliable       int // bytes that survive a reset
	fin            bool
	reset          *StreamResetError // by the writer
	stopped        *StreamResetError // by the reader
	released       bool
	rdl, wdl       time.Time
	rtimer, wtimer *time.Timer // wake those that wait, at these times; nil: there was none yet
}

func (h *pipeHalf) wake() {
	h.mu.Lock()
	h.cond.Broadcast()
	h.mu.Unlock()
}

// over gives the stream credit back once the reader has seen the end; mu is held.
func (h *pipeHalf) over() {
	if !h.released {
		h.released = true
		for _, end := range []*pipeConn{h.from, h.to} {
			go func() { // in a goroutine, because locks are taken in the other order elsewhere
				end.mu.Lock()
				delete(end.halves, h)
				end.mu.Unlock()
			}()
		}
		h.release()
	}
}

// deadline sets a deadline. Its timer is used again for the next one, because control messages have one each.
func (h *pipeHalf) deadline(t *time.Time, timer **time.Timer, at time.Time) error {
	h.mu.Lock()
	*t = at
	switch d := time.Until(at); {
	case at.IsZero() || d <= 0:
		if *timer != nil {
			(*timer).Stop()
		}
	case *timer == nil:
		*timer = time.AfterFunc(d, h.wake)
	default:
		(*timer).Reset(d)
	}
	h.mu.Unlock()
	h.cond.Broadcast()
	return nil
}

func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

type pipeStream struct {
	pipeSend
	pipeReceive
}

type pipeSend struct{ h *pipeHalf }

func (s pipeSend) Write(p []byte) (n int, err error) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.reset != nil:
			return n, h.reset
		case h.stopped != nil:
			return n, &StreamResetError{Code: h.stopped.Code, Remote: true}
		case h.fin:
			return n, errors.New("write after close")
		case h.from.ctx.Err() != nil:
			return n, context.Cause(h.from.ctx)
		case passed(h.wdl):
			return n, os.ErrDeadlineExceeded
		}
		if room := h.window - len(h.buf); room > 0 && len(p) > 0 {
			k := min(room, len(p))
			h.buf = append(h.buf, p[:k]...)
			h.written += k
			n += k
			p = p[k:]
			h.cond.Broadcast()
		}
		if len(p) == 0 {
			return n, nil
		}
		h.cond.Wait()
	}
}

func (s pipeSend) Close() error {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reset == nil && h.stopped == nil {
		h.fin = true
		h.cancel(nil)
		h.cond.Broadcast()
	}
	return nil
}

func (s pipeSend) CancelWrite(code wire.ResetCode) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reset != nil || h.fin && len(h.buf) == 0 {
		return
	}
	h.reset = &StreamResetError{Code: code}
	keep := max(0, h.reliable-h.read)
	h.buf = h.buf[:min(keep, len(h.buf))]
	if h.stopped != nil {
		h.over()
	}
	h.cancel(h.reset)
	h.cond.Broadcast()
}

func (s pipeSend) SetReliableBoundary() {
	s.h.mu.Lock()
	s.h.reliable = s.h.written
	s.h.mu.Unlock()
}

func (s pipeSend) SetPriority(int8, bool)             {}
func (s pipeSend) SetWriteDeadline(t time.Time) error { return s.h.deadline(&s.h.wdl, &s.h.wtimer, t) }
func (s pipeSend) Context() context.Context           { return s.h.ctx }

type pipeReceive struct{ h *pipeHalf }

func (s pipeReceive) Read(p []byte) (int, error) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.stopped != nil:
			return 0, h.stopped
		case h.to.ctx.Err() != nil:
			return 0, context.Cause(h.to.ctx)
		case passed(h.rdl):
			return 0, os.ErrDeadlineExceeded
		case len(h.buf) > 0:
			n := copy(p, h.buf)
			h.buf = append(h.buf[:0], h.buf[n:]...)
			h.read += n
			h.cond.Broadcast()
			return n, nil
		case h.reset != nil:
			h.over()
			return 0, &StreamResetError{Code: h.reset.Code, Remote: true}
		case h.fin:
			h.over()
			return 0, io.EOF
		}
		h.cond.Wait()
	}
}

func (s pipeReceive) CancelRead(code wire.ResetCode) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped != nil {
		return
	}
	h.stopped = &StreamResetError{Code: code}
	h.buf = nil
	h.over() // as if the writer had answered with RESET_STREAM already
	h.cancel(&StreamResetError{Code: code, Remote: true})
	h.cond.Broadcast()
}

func (s pipeReceive) SetReadDeadline(t time.Time) error {
	return s.h.deadline(&s.h.rdl, &s.h.rtimer, t)
}
