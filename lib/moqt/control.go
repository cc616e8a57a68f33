package moqt

import (
	"errors"
	"io"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// controlTimeout is the default of Config.ControlTimeout.
const controlTimeout = 30 * time.Second

// controlStream carries messages over a stream: the control stream or pair of streams, or that of a request.
type controlStream struct {
	st   Stream
	v    Version
	qlog *qlog  // nil: none
	id   uint64 // of the stream, for qlog
	in   uint64 // of that of the other direction, where there are two

	timeout time.Duration // Config.ControlTimeout
	parse   func(v Version, typ uint64, payload []byte) (wire.Message, error)

	wmu    sync.Mutex
	wbuf   []byte
	broken func(error) // a message may have been cut: told once the stream is of no use

	// The reading half belongs to one goroutine.
	buf []byte // unread bytes are buf[r:]
	r   int
	fin bool
}

func newControlStream(st Stream, v Version) *controlStream {
	return &controlStream{st: st, v: v, timeout: controlTimeout, parse: wire.ParseMessage, buf: make([]byte, 0, 4096)}
}

// controlStream is a stream of control messages of this session.
func (s *Session) controlStream(st Stream) *controlStream {
	c := newControlStream(st, s.v)
	c.timeout = s.cfg.ControlTimeout
	if s.qlog != nil {
		c.qlog, c.id = s.qlog, s.qlog.streamID(st)
		c.in = c.id
	}
	return c
}

// send writes one message. It may block while the peer does not read, up to Config.ControlTimeout.
func (c *controlStream) send(m wire.Message) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	b, err := wire.AppendMessage(c.wbuf[:0], c.v, m)
	if err != nil {
		return err
	}
	c.wbuf = b
	if c.qlog != nil {
		c.qlog.message(true, c.id, len(b), m)
	}
	c.st.SetWriteDeadline(time.Now().Add(c.timeout))
	if _, err = c.st.Write(b); err != nil && c.broken != nil {
		c.broken(err)
	}
	return err
}

// whyOver returns why the sending half is over. A write says so on every transport, and writes nothing then; a message that is being sent ends first.
func (c *controlStream) whyOver() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_, err := c.st.Write([]byte{0})
	return err
}

// receive reads one message. io.EOF: the peer closed the stream between messages.
func (c *controlStream) receive() (wire.Message, error) {
	for {
		typ, length, n, err := wire.MessageHeader(c.buf[c.r:], c.v)
		if err != nil {
			return nil, err
		}
		if n > 0 && len(c.buf)-c.r >= n+length {
			payload := c.buf[c.r+n : c.r+n+length]
			c.r += n + length
			m, err := c.parse(c.v, typ, payload)
			if c.qlog != nil && err == nil {
				c.qlog.message(false, c.in, n+length, m)
			}
			return m, err
		}
		if err := c.fill(n + length); err != nil {
			if err == io.EOF && len(c.buf) > c.r {
				return nil, violation("stream ended inside a message")
			}
			return nil, err
		}
	}
}

// fill reads more, making room for a message of need bytes. What is kept never exceeds one message of 2^16-1 bytes.
func (c *controlStream) fill(need int) error {
	if c.fin {
		return io.EOF
	}
	if c.r > 0 {
		c.buf = append(c.buf[:0], c.buf[c.r:]...)
		c.r = 0
	}
	if cap(c.buf) < max(need, len(c.buf)+1) {
		grown := make([]byte, len(c.buf), max(need, 2*cap(c.buf)))
		copy(grown, c.buf)
		c.buf = grown
	}
	n, err := c.st.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		c.fin = errors.Is(err, io.EOF)
		return nil
	}
	return err
}

// readControl dispatches the messages of the control stream, in order.
func (s *Session) readControl() error {
	for {
		m, err := s.control.receive()
		if errors.Is(err, io.EOF) {
			return s.carrier.controlEnded()
		}
		var reset *StreamResetError
		if errors.As(err, &reset) && s.ctx.Err() == nil {
			return violation("control stream reset")
		}
		if err != nil {
			return err
		}
		if err := s.dispatch(m); err != nil {
			return err
		}
	}
}

// dispatch handles one control message. It must not block: it runs in the only reader of the control stream. Answers are
// written by goroutines of their own, so that two peers cannot block each other.
func (s *Session) dispatch(m wire.Message) error {
	if goaway, ok := m.(*wire.GoAway); ok {
		return s.onGoAway(goaway)
	}
	return s.carrier.control(m)
}
