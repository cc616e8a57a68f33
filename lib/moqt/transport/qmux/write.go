package qmux

import "slices"

// writeLoop sends what is due until the connection ends, and says why then.
func (c *Conn) writeLoop() {
	defer close(c.flushed)
	var buf *recordBuffer
	release := func() {
		if buf != nil {
			records.Put(buf)
			buf = nil
		}
	}
	defer release()
	for {
		if buf == nil {
			buf = records.Get().(*recordBuffer)
		}
		limit := Headroom + defaultMaxRecordSize
		c.mu.Lock()
		if c.known() {
			limit = Headroom + int(min(c.peer.maxRecordSize, maxRecord))
		}
		b := c.fill(buf[:Headroom:limit])
		err := c.err
		c.mu.Unlock()
		if err != nil {
			c.farewell(buf[:Headroom:limit], err)
			return
		}
		if len(b) == Headroom {
			release()
			<-c.wake // also after the end
			continue
		}
		if err := c.write(b); err != nil {
			c.fail(lost(err))
			return
		}
	}
}

func (c *Conn) write(b []byte) error {
	c.writing.Store(c.since())
	err := c.t.WriteRecord(b)
	c.writing.Store(0)
	c.said.Store(c.since())
	return err
}

// farewell sends CONNECTION_CLOSE and ends this side of the transport (§8.2, §8.3).
func (c *Conn) farewell(b []byte, err error) {
	if quiet(err) {
		c.t.CloseWrite()
		return
	}
	c.mu.Lock()
	first := c.due.parameters
	c.mu.Unlock()
	if first { // whatever comes first, transport parameters do
		own := c.parameters()
		b = own.append(b)
	}
	if c.write(appendClose(b, err)) == nil {
		c.t.CloseWrite()
	}
}

// fill puts frames into the room of b: first what others wait for, then datagrams, then streams by urgency. mu is held,
// but not while payload is copied.
func (c *Conn) fill(b []byte) []byte {
	if c.err != nil {
		return b
	}
	b = c.fillDue(b)
	done := 0
	for ; done < len(c.control) && cap(b)-len(b) >= 4*maxSmallFrame; done++ {
		b = c.control[done].fillDue(b)
	}
	c.control = slices.Delete(c.control, 0, done)
	for c.outgoing.n > 0 {
		d := c.outgoing.slots[c.outgoing.first]
		if cap(b)-len(b) < 1+4+len(d) {
			if len(b) > Headroom {
				return b
			}
			c.outgoing.pop() // never fits
			continue
		}
		b = append(appendVarints(b, frameDatagramLen, uint64(len(d))), d...)
		c.outgoing.pop()
	}
	for cap(b)-len(b) >= maxStreamHeader+64 && c.sent < c.sendMax {
		st := c.pick()
		if st == nil {
			break
		}
		b = st.fillData(b)
		if c.err != nil {
			break
		}
	}
	return b
}

// fillDue adds the control frames of the connection.
func (c *Conn) fillDue(b []byte) []byte {
	d := &c.due
	if d.parameters {
		d.parameters = false
		own := c.parameters()
		return own.append(b)
	}
	if d.maxData {
		d.maxData = false
		max := c.consumed.Load() + c.conf.window() + slack
		c.recvMax.Store(max)
		b = appendVarints(b, frameMaxData, max)
	}
	for i := range d.maxStreams {
		if d.maxStreams[i] {
			d.maxStreams[i] = false
			p := &c.theirs[i]
			p.granted = p.over + uint64(c.conf.MaxStreams)
			b = appendVarints(b, frameMaxStreamsBidi+uint64(i), p.granted)
		}
	}
	if d.ping {
		d.ping = false
		c.pinged++
		b = appendVarints(b, framePing, c.pinged)
	}
	if d.pong {
		d.pong = false
		b = appendVarints(b, framePong, c.ponged)
	}
	return b
}

// list puts a stream among those with control frames due; c.mu is held.
func (st *Stream) list() {
	if !st.due.listed && st.c.err == nil {
		st.due.listed = true
		st.c.control = append(st.c.control, st)
		st.c.signal()
	}
}

// fillDue adds the control frames of a stream.
func (st *Stream) fillDue(b []byte) []byte {
	d, s, r := st.due, &st.send, &st.recv
	st.due.listed, st.due.reset, st.due.stop, st.due.maxData, st.due.fin = false, false, false, false, false
	switch {
	case s.over:
	case d.reset:
		b = appendVarints(b, frameResetStream, st.id, min(s.resetCode, maxVarint), s.sent)
		st.sendOver()
	case d.fin:
		b = appendStreamHeader(b, st.id, s.sent, 0, true)
		st.sendOver()
	}
	if d.stop && !r.ended {
		b = appendVarints(b, frameStopSending, st.id, min(r.stopCode, maxVarint))
	}
	if d.maxData && !r.ended {
		b = appendVarints(b, frameMaxStreamData, st.id, r.max)
	}
	return b
}

// sendOver retires the half that is written.
func (st *Stream) sendOver() {
	s := &st.send
	s.over, s.pending = true, nil
	if s.deadline.timer != nil {
		s.deadline.timer.Stop()
	}
	st.c.retire(st)
}

// fillData adds a STREAM frame and puts the stream back into its queue if it has more. mu is held, but not while the
// payload of a Write that waits is copied.
func (st *Stream) fillData(b []byte) []byte {
	c, s := st.c, &st.send
	total := st.waiting()
	n := int(min(uint64(min(total, cap(b)-len(b)-maxStreamHeader)), s.max-s.sent, c.sendMax-c.sent))
	fin := s.fin && n == total
	b = appendStreamHeader(b, st.id, s.sent, n, fin)
	k := min(n, len(s.pending))
	b = append(b, s.pending[:k]...)
	if k == len(s.pending) {
		s.pending = s.pending[:0]
	} else {
		s.pending = s.pending[:copy(s.pending, s.pending[k:])]
	}
	s.sent += uint64(n)
	c.sent += uint64(n)
	if k < n {
		piece := s.current[:n-k]
		s.busy = true
		c.mu.Unlock()
		b = append(b, piece...)
		c.mu.Lock()
		st.copied(n - k)
	}
	switch {
	case fin && s.reset == nil:
		st.sendOver()
	case s.resetLater && len(s.pending) == 0:
		st.resetNow(s.resetCode)
	case s.fin && st.waiting() == 0: // closed while the last bytes were copied
		st.due.fin = true
		st.list()
	default:
		st.schedule()
	}
	return b
}

// copied notes that so many bytes of a Write that waits were copied, and wakes that if it has nothing to wait for any more: what ended the wait
// may have come meanwhile. c.mu is held.
func (st *Stream) copied(n int) {
	s := &st.send
	s.busy = false
	s.current = s.current[n:]
	if len(s.current) == 0 || s.reset != nil || st.c.err != nil || s.deadline.passed() {
		s.cond.Broadcast()
	}
}

// waiting is how many bytes are to be sent; c.mu is held.
func (st *Stream) waiting() int {
	if st.send.resetLater { // its Write is being told
		return len(st.send.pending)
	}
	return len(st.send.pending) + len(st.send.current)
}

// schedule puts a stream that may send into the queue of its urgency; c.mu is held.
func (st *Stream) schedule() {
	s := &st.send
	if s.queued || s.over || s.sent >= s.max || s.reset != nil && !s.resetLater || st.c.err != nil {
		return
	}
	if st.waiting() == 0 {
		return
	}
	s.queued = true
	st.c.levels[s.urgency].add(st)
	st.c.signal()
}

// pick takes the stream to send from next out of its queue.
func (c *Conn) pick() *Stream {
	for i := range c.levels {
		for {
			st := c.levels[i].next()
			if st == nil {
				break
			}
			s := &st.send
			if st.waiting() > 0 && !s.over && (s.reset == nil || s.resetLater) {
				return st
			}
		}
	}
	return nil
}

// level holds the streams of one urgency that may send.
type level struct {
	ordered []*Stream // by order of opening
	turns   []*Stream // in turns
	flip    bool      // whose turn it is when both have some
}

func (l *level) add(st *Stream) {
	if st.send.incremental {
		l.turns = append(l.turns, st)
		return
	}
	i, _ := slices.BinarySearchFunc(l.ordered, st.send.order, func(o *Stream, order uint64) int {
		if o.send.order < order {
			return -1
		}
		return 1
	})
	l.ordered = slices.Insert(l.ordered, i, st)
}

func (l *level) remove(st *Stream) {
	st.send.queued = false
	same := func(o *Stream) bool { return o == st }
	l.ordered = slices.DeleteFunc(l.ordered, same)
	l.turns = slices.DeleteFunc(l.turns, same)
}

func (l *level) next() *Stream {
	from := &l.ordered
	if len(*from) == 0 || l.flip && len(l.turns) > 0 {
		from = &l.turns
	}
	l.flip = !l.flip
	if len(*from) == 0 {
		return nil
	}
	st := (*from)[0]
	n := copy(*from, (*from)[1:])
	(*from)[n] = nil
	*from = (*from)[:n]
	st.send.queued = false
	return st
}
