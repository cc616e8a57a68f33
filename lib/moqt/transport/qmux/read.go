package qmux

import (
	"errors"
	"io"
)

// readLoop takes in records until the transport ends, and closes it then.
func (c *Conn) readLoop() {
	defer c.t.Close()
	for first := true; ; first = false {
		b, err := c.t.ReadRecord(maxRecord)
		if err != nil {
			if _, ok := errors.AsType[*TransportError](err); !ok {
				err = lost(err)
			}
			c.fail(err)
			break // of a record too large the next one's beginning is not known
		}
		c.heard.Store(c.since())
		if err := c.record(b, first); err != nil {
			c.fail(err)
			if quiet(err) {
				break
			}
		}
		if c.ctx.Err() != nil {
			c.drain()
			break
		}
	}
	c.mu.Lock()
	over := quiet(c.err)
	c.mu.Unlock()
	if over {
		c.t.Close() // the writer has nothing to say
	}
	<-c.flushed
	c.mu.Lock()
	c.timer.Stop()
	c.mu.Unlock()
}

// drain reads on without a look, so that what the peer has under way does not reset the transport before the peer read
// why the connection ends (§8.2). The timer of fail ends it.
func (c *Conn) drain() {
	for {
		if _, err := c.t.ReadRecord(maxRecord); err != nil {
			return
		}
	}
}

// record handles the frames of one record. QX_TRANSPORT_PARAMETERS is the first frame and only that (§4.2).
func (c *Conn) record(b []byte, first bool) error {
	for len(b) > 0 {
		f, rest, err := parseFrame(b)
		if err != nil {
			return err
		}
		b = rest
		if f.kind == framePadding {
			continue
		}
		if known := c.known(); known == (f.kind == frameParameters) {
			return broken(ProtocolViolation, "frame %#x with transport parameters known: %v", f.kind, known)
		}
		f.last = len(b) == 0
		if err := c.frame(&f); err != nil {
			return err
		}
	}
	if first && !c.known() {
		return broken(ProtocolViolation, "no transport parameters")
	}
	return nil
}

func (c *Conn) known() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

func (c *Conn) frame(f *frame) error {
	switch f.kind {
	case frameParameters:
		return c.learn(f.data)
	case frameStream, frameResetStream:
		return c.receive(f)
	case frameStopSending, frameMaxStreamData:
		return c.govern(f)
	case frameDatagram:
		c.mu.Lock()
		c.datagrams.push(f.data)
		c.mu.Unlock()
		notify(c.arrived)
	case frameConnectionClose:
		return &TransportError{Code: TransportCode(f.code), Reason: string(f.data), Remote: true}
	case frameApplicationClose:
		return &ApplicationError{Code: f.code, Reason: string(f.data), Remote: true}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.kind {
	case frameMaxData:
		if f.value > c.sendMax {
			c.sendMax = f.value
			c.signal()
		}
	case frameMaxStreamsBidi, frameMaxStreamsUni:
		if o := &c.own[f.kind-frameMaxStreamsBidi]; f.value > o.limit {
			o.limit = f.value
			close(c.credit)
			c.credit = make(chan struct{})
		}
	case framePing:
		if f.value < c.ponged {
			return broken(ProtocolViolation, "ping %d after %d", f.value, c.ponged)
		}
		c.ponged = f.value
		c.due.pong = true
		c.signal()
	case framePong:
		if f.value > c.pinged {
			return broken(ProtocolViolation, "answer to ping %d", f.value)
		}
	}
	return nil // DATA_BLOCKED and its like: credit is given as it comes free
}

// find returns the stream of a frame, opening those of the peer up to it (RFC 9000 §3.2), or nil for one that is over.
// sent says that the frame speaks of what this side sends. mu is held.
func (c *Conn) find(id uint64, sent bool) (*Stream, error) {
	direction, index, mine := id>>1&1, id>>2, id&1 == c.server
	if direction == uni && mine != sent {
		return nil, broken(StreamStateError, "stream %d goes the other way", id)
	}
	if mine {
		if index >= c.own[direction].next {
			return nil, broken(StreamStateError, "stream %d was not opened", id)
		}
		return c.streams[id], nil
	}
	p := &c.theirs[direction]
	if index >= p.granted {
		return nil, broken(StreamLimitError, "stream %d", id)
	}
	for ; p.next <= index; p.next++ {
		st := c.newStream(p.next<<2|direction<<1|id&1, c.peer.maxStreamDataLocal)
		st.send.over = direction == uni
		p.queue = append(p.queue, st)
		notify(p.arrived)
	}
	return c.streams[id], nil
}

// receive handles STREAM and RESET_STREAM.
func (c *Conn) receive(f *frame) error {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil
	}
	st, err := c.find(f.stream, false)
	if err != nil || st == nil || st.recv.over {
		c.mu.Unlock()
		if err == nil && len(f.data) > 0 {
			err = broken(FinalSizeError, "stream %d goes on after its end", f.stream)
		}
		return err
	}
	r := &st.recv
	if r.ended { // a second RESET_STREAM, or one after FIN, changes nothing
		c.mu.Unlock()
		if f.kind == frameStream && len(f.data) > 0 {
			return broken(FinalSizeError, "stream %d goes on after its end", f.stream)
		}
		return nil
	}
	end := r.received
	if f.kind == frameStream {
		// Offsets are redundant; senders of moq-dev before 0.4 left them out.
		if f.hasOff && f.value != end {
			c.mu.Unlock()
			return broken(ProtocolViolation, "stream %d: offset %d, want %d", f.stream, f.value, end)
		}
		end += uint64(len(f.data))
	} else {
		// Senders of moq-dev before 0.5 wrote a final size below the number of bytes that they had sent.
		end = max(end, f.value)
	}
	n := end - r.received
	switch {
	case end > r.max:
		err = broken(FlowControlError, "stream %d: %d bytes over its credit", f.stream, end-r.max)
	case c.received+n > c.recvMax.Load():
		err = broken(FlowControlError, "connection: %d bytes over its credit", c.received+n-c.recvMax.Load())
	}
	if err != nil {
		c.mu.Unlock()
		return err
	}
	c.received += n
	first := r.received == 0
	r.received = end
	r.ended = f.kind == frameResetStream || f.fin
	if r.ended {
		st.narrow(end)
	} else if first && n > 0 {
		st.allow(0)
	}
	c.mu.Unlock()
	if n == 0 && !r.ended {
		return nil
	}

	r.mu.Lock()
	discard, finished := r.stopped != nil, false
	if !discard && f.kind == frameStream {
		var take func() *recordBuffer
		if f.last {
			take = c.take
		}
		r.append(f.data, take)
	}
	if r.ended {
		r.fin = f.kind == frameStream
		if !r.fin {
			r.reset = &StreamError{Code: f.code, Remote: true}
		}
		finished = discard
	}
	r.cond.Signal()
	r.mu.Unlock()
	if discard || f.kind == frameResetStream {
		c.took(int(n))
	}
	if finished {
		st.receiveOver()
	}
	return nil
}

// govern handles STOP_SENDING and MAX_STREAM_DATA.
func (c *Conn) govern(f *frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil
	}
	st, err := c.find(f.stream, true)
	if err != nil || st == nil || st.send.over {
		return err
	}
	if f.kind == frameMaxStreamData {
		if f.value > st.send.max {
			st.send.max = f.value
			st.schedule()
		}
		return nil
	}
	if st.send.reset == nil {
		st.send.reset = &StreamError{Code: f.code, Remote: true}
		st.resetNow(f.code)
		st.send.cond.Broadcast()
		st.send.end(st.send.reset)
	}
	return nil
}

var _ io.ReadWriteCloser = (*Stream)(nil)
