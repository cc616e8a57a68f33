package repair

import (
	"net"
	"time"
	"unsafe"
)

// ringLen is how many numbers either side of a path remembers.
const ringLen = 2048

// slot is what a receiver knows of one number.
type slot struct {
	num    uint64
	buf    []byte // the datagram as a shard, and its control messages; nil: not kept
	from   *net.UDPAddr
	at     time.Duration // when it came or was missed
	asked  time.Duration
	state  slotState
	came   bool // as itself, which says that the path did not lose it
	oobLen byte
	tries  byte
}

type slotState byte

const (
	unknown slotState = iota
	missing
	held     // here, and something before it is missing
	released // handed up; the buffer may still help to repair others
	givenUp
)

// receiver brings numbered datagrams into order. Its path's lock guards it.
type receiver struct {
	pool  *share
	codes *codes
	up    func(inner, oob []byte, from net.Addr) // hands a datagram up; keeps nothing of it

	ring     []slot // nil until the first number came, when none did for some time, and without memory
	lastAt   time.Duration
	next     uint64 // the first number that was not handed up
	high     uint64 // one more than the highest number seen
	kept     uint64 // from here on slots may have buffers
	holes    int    // numbers missing between next and high
	groups   []*group
	parked   []parked
	parityAt time.Duration // when parity came last; 0: never
	reorder  time.Duration // how late a datagram may be that is not lost

	got, runs, short             uint32 // for the peer
	missed, coded, again, gaveUp uint64
}

const (
	leastReorder = 3 * time.Millisecond
	mostReorder  = 80 * time.Millisecond
	parityWait   = 16 * time.Millisecond // for the parity of the group before a number is asked for
	mostTries    = 8
	keepFor      = 200 * time.Millisecond // buffers of datagrams that were handed up
	ringIdle     = 3 * time.Second        // after which either side remembers no numbers
	slotsLen     = ringLen * int(unsafe.Sizeof(slot{}))
)

// parked is a datagram without a number that came when others were missing which were sent before.
type parked struct {
	until  uint64 // handed up when all before this number were
	buf    []byte
	oobLen byte
	from   *net.UDPAddr
}

// mostParked bounds them: QUIC looks for the path's MTU with one datagram at a time.
const mostParked = 4

// unnumbered takes a datagram without a number in its turn: QUIC would take all that is missing for lost as soon as its peer has acknowledged
// something later.
func (r *receiver) unnumbered(inner, oob []byte, from *net.UDPAddr) {
	if r.next == r.high || len(r.parked) >= mostParked || len(inner) > maxInner {
		r.up(inner, oob, from)
		return
	}
	k := parked{until: r.high, buf: r.pool.get(), from: from}
	if k.buf == nil {
		r.up(inner, oob, from)
		return
	}
	fill(k.buf, inner)
	if len(oob) <= maxOOB {
		k.oobLen = byte(copy(k.buf[oobAt:], oob))
	}
	r.parked = append(r.parked, k)
}

// unpark hands up those whose turn has come.
func (r *receiver) unpark() {
	for len(r.parked) > 0 && r.parked[0].until <= r.next {
		k := r.parked[0]
		r.parked = append(r.parked[:0], r.parked[1:]...)
		r.up(content(k.buf), k.buf[oobAt:][:k.oobLen], k.from)
		r.pool.put(k.buf)
	}
}

// data takes a numbered datagram.
func (r *receiver) data(now time.Duration, num uint64, inner, oob []byte, from *net.UDPAddr, again bool) {
	if num+ringLen <= r.high {
		return // too old to tell whether it was here before
	}
	r.lastAt = now
	if r.ring == nil && num < r.high || !r.reach(now, num) { // QUIC knows what was here before
		r.got++
		r.up(inner, oob, from)
		return
	}
	s := r.slot(num)
	if !again && !s.came {
		s.came = true
		r.got++
	}
	switch s.state {
	case held, released:
		return
	case missing:
		r.holes--
		if again {
			r.again++
		}
	}
	if !again && s.state != unknown {
		r.reorder = min(max(r.reorder, (now-s.at)*5/4), mostReorder)
	}
	late := num < r.next
	s.at = now
	if late || num == r.next && r.holes == 0 && !r.coding(now) { // nothing to wait for
		r.up(inner, oob, from)
		s.state = released
	} else {
		r.hold(s, inner, oob, from)
	}
	r.release()
	r.repair(now, num, oob, from)
}

// reach makes num one of the numbers in the ring, and all before it missing that are unknown yet; false if there is no memory for a ring.
func (r *receiver) reach(now time.Duration, num uint64) bool {
	if r.ring == nil {
		if !r.pool.reserve(slotsLen) {
			r.next, r.high, r.kept = num+1, num+1, num+1
			return false
		}
		r.ring = make([]slot, ringLen)
	}
	if num < r.high {
		return true
	}
	if num >= r.high+ringLen { // nothing in between can be brought back
		r.flush()
		clear(r.ring)
		r.next, r.high = num, num
	}
	for r.next+ringLen <= num {
		r.skip(r.next)
		r.release()
	}
	if num > r.high {
		r.runs++
	}
	for ; r.high < num; r.high++ {
		s := r.fresh(r.high)
		s.state, s.at = missing, now
		r.holes++
		r.missed++
	}
	r.fresh(num)
	r.high = num + 1
	return true
}

// known makes the numbers below end missing that did not come: the peer has sent them.
func (r *receiver) known(now time.Duration, end uint64) {
	if end <= r.high || end > r.high+ringLen/2 {
		return
	}
	if end-1 == r.high {
		r.runs++
	}
	if !r.reach(now, end-1) {
		return
	}
	if s := r.slot(end - 1); s.state == unknown {
		s.state, s.at = missing, now
		r.holes++
		r.missed++
	}
}

func (r *receiver) slot(num uint64) *slot { return &r.ring[num%ringLen] }

// fresh returns the slot of a number that is seen for the first time.
func (r *receiver) fresh(num uint64) *slot {
	s := r.slot(num)
	r.pool.put(s.buf)
	*s = slot{num: num}
	r.kept = max(r.kept, num+1-min(num+1, ringLen))
	return s
}

// hold keeps a datagram until those before it are here, and for the parity of its group.
func (r *receiver) hold(s *slot, inner, oob []byte, from *net.UDPAddr) {
	if s.buf = r.pool.get(); s.buf == nil {
		r.up(inner, oob, from) // out of order rather than not at all
		s.state = released
		return
	}
	fill(s.buf, inner)
	if s.oobLen = 0; len(oob) <= maxOOB {
		s.oobLen = byte(copy(s.buf[oobAt:], oob))
	}
	s.from, s.state = from, held
}

// release hands up what nothing is missing before.
func (r *receiver) release() {
	defer r.unpark()
	for ; r.next < r.high; r.next++ {
		r.unpark()
		s := r.slot(r.next)
		switch s.state {
		case held:
			r.up(content(s.buf), s.buf[oobAt:][:s.oobLen], s.from)
			s.state, s.from = released, nil
		case missing, unknown:
			return
		}
	}
}

// skip gives a number up.
func (r *receiver) skip(num uint64) {
	if s := r.slot(num); s.state == missing {
		s.state = givenUp
		r.holes--
		r.gaveUp++
	}
}

// flush hands up all that is held, gives up what is missing, and gives buffers back.
func (r *receiver) flush() {
	for n := r.next; n < r.high; n++ {
		r.skip(n)
	}
	r.release()
	for ; r.kept < r.high; r.kept++ {
		s := r.slot(r.kept)
		r.pool.put(s.buf)
		s.buf = nil
	}
	for _, g := range r.groups {
		g.drop(r.pool)
	}
	r.groups, r.holes, r.next = nil, 0, r.high
	r.unpark()
}

// drop does so, and forgets everything.
func (r *receiver) drop() {
	r.flush()
	if r.ring != nil {
		r.pool.release(slotsLen)
	}
	r.ring = nil
}

// coding reports whether the peer sends parity these days.
func (r *receiver) coding(now time.Duration) bool {
	return r.parityAt > 0 && now-r.parityAt < time.Second
}

// tick gives up what did not come in time and returns what the peer is to be asked for.
func (r *receiver) tick(now, rtt time.Duration) (ask []span) {
	for ; r.kept < r.next; r.kept++ {
		s := r.slot(r.kept)
		if now-s.at < keepFor {
			break
		}
		r.pool.put(s.buf)
		s.buf = nil
	}
	r.reorder -= r.reorder / 8192 // fades within half a minute
	patience := patience(rtt)
	r.outdated(now, patience+keepFor)
	if r.ring != nil && r.kept == r.high && now-r.lastAt > ringIdle {
		r.drop()
	}
	if r.holes == 0 {
		return nil
	}
	first := max(r.reorder, leastReorder)
	if r.coding(now) {
		first = max(first, parityWait)
	}
	for n := r.next; n < r.high; n++ {
		s := r.slot(n)
		if s.state != missing {
			continue
		}
		switch {
		case now-s.at > patience:
			r.skip(n)
		case s.tries == 0 && now-s.at < first, s.tries > 0 && now-s.asked < askAgain(rtt), s.tries >= mostTries:
		case len(ask) > 0 && ask[len(ask)-1].first+uint32(ask[len(ask)-1].n) == uint32(n) && ask[len(ask)-1].n < 255:
			ask[len(ask)-1].n++
			r.asked(s, now)
		case len(ask) < maxSpans:
			ask = append(ask, span{uint32(n), 1})
			r.asked(s, now)
		}
	}
	r.release()
	return ask
}

// patience is how long a missing datagram is waited for: as long as it may be asked for, but on long paths not so long that QUIC takes the
// wait for a queue.
func patience(rtt time.Duration) time.Duration {
	every := min(parityWait+mostTries*askAgain(rtt)+rtt, 500*time.Millisecond)
	return min(max(every, rtt*5/2+80*time.Millisecond, 150*time.Millisecond), 800*time.Millisecond)
}

// askAgain is how long an answer is waited for.
func askAgain(rtt time.Duration) time.Duration { return rtt*9/8 + 8*time.Millisecond }

func (r *receiver) asked(s *slot, now time.Duration) {
	if s.tries == 0 && r.coding(now) {
		r.short++
	}
	s.tries++
	s.asked = now
}
