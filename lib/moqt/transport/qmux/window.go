package qmux

// How much of what the peer sends may wait to be read.
//
// Every stream may hold its window. A new one has firstWindow, and gets more with its first bytes and as it is read, up to
// Config.StreamWindow, out of Config.SharedWindow, of which it takes half of what is left at most. What may wait in all is
// the sum of both for as many streams as may be open, and the credit given for the connection is never less than that:
// streams that nobody reads can hold up no other, however many there are.
//
// quic-go and moq-dev's qmux give the connection a window smaller than the sum of those of streams, and give credit as bytes
// are read; there a few streams that nobody reads stop all others for good.

// firstWindow is how many bytes a new stream may hold: one chunk.
const firstWindow = chunkSize

// slack is how far the connection's credit may be given ahead, so that it need not be given with every read.
const slack = 4 << 20

// window bounds what waits in streams of the peer's.
func (c Config) window() uint64 { return 2*uint64(c.MaxStreams)*firstWindow + uint64(c.SharedWindow) }

// widen gives a stream a larger share; c.mu is held.
func (st *Stream) widen() {
	r, c := &st.recv, st.c
	left := max(c.conf.SharedWindow-c.shared, 0)
	more := min(c.conf.StreamWindow-r.window, left/2) / firstWindow * firstWindow
	if more > 0 {
		r.window += more
		c.shared += more
	}
}

// narrow gives back the part of a stream's share that it cannot use any more; c.mu is held.
func (st *Stream) narrow(holds uint64) {
	r := &st.recv
	if w := max(firstWindow, int(min(holds, uint64(r.window)))); w < r.window {
		st.c.shared -= r.window - w
		r.window = w
	}
}

// allow gives the peer credit for a window after what was read; c.mu is held.
func (st *Stream) allow(read uint64) {
	r := &st.recv
	if r.ended || r.over || r.stopping {
		return
	}
	st.widen()
	if max := read + uint64(r.window); max > r.max {
		r.max = max
		st.due.maxData = true
		st.list()
	}
}

// took accounts bytes that wait no longer.
func (c *Conn) took(n int) {
	if consumed := c.consumed.Add(uint64(n)); c.recvMax.Load() < consumed+c.conf.window() {
		c.mu.Lock()
		if !c.due.maxData {
			c.due.maxData = true
			c.signal()
		}
		c.mu.Unlock()
	}
}
