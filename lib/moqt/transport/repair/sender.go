package repair

import (
	"time"
	"unsafe"
)

// sender numbers datagrams, keeps them to send them again, and makes parity. Its path's lock guards it.
type sender struct {
	pool  *share
	codes *codes
	seal  sealer

	next   uint64 // the number of the next datagram
	ring   []sent // nil while nothing gets numbers
	oldest uint64 // from here on slots may have buffers

	shape   shape
	base    uint64 // the first number of the group that is open
	began   time.Duration
	longest int      // shard in it
	ready   [][]byte // parity frames to be sent between datagrams, in buffers of the pool
	turn    int      // datagrams since the last of them

	tokens float64 // bytes that may be sent again
	spare  int     // bytes of shards that parity may have
	lastTx time.Duration
	heads  int // how often the end was told since then

	stats struct{ parity, resent uint64 }
}

// sent is a datagram that may be asked for.
type sent struct {
	num   uint64
	buf   []byte // as a shard; nil: not kept
	at    time.Duration
	again time.Duration // when it was sent again last
}

// shape is how groups are made: k datagrams, or as many as there are within a time, get m parity frames.
type shape struct {
	k, m   int
	within time.Duration
}

const (
	keepSent    = time.Second
	mostKept    = 3 * time.Second
	sentsLen    = ringLen * int(unsafe.Sizeof(sent{}))
	tokenEach   = 0.5 // a datagram earns so much of itself to be sent again, and as much parity as itself
	mostTokens  = 256 * maxInner
	mostSpare   = maxGroup * maxInner
	mostReady   = 4 * maxParity
	betweenEach = 2 // datagrams between two parity frames
)

// starts makes numbers be remembered, if there is memory for that.
func (t *sender) starts() bool {
	if t.ring == nil {
		if !t.pool.reserve(sentsLen) {
			return false
		}
		t.ring = make([]sent, ringLen)
		t.oldest, t.base = t.next, t.next
	}
	return true
}

// data appends the frame of a datagram and keeps it. There is a ring.
func (t *sender) data(b []byte, now time.Duration, inner []byte) []byte {
	num := t.next
	t.next++
	from := len(b)
	b = head{typeData, t.seal.path, uint32(num)}.append(b)
	b = t.seal.seal(append(b, inner...), from, 0, num)
	s := &t.ring[num%ringLen]
	t.pool.put(s.buf)
	*s = sent{num: num, buf: t.pool.get(), at: now}
	if s.buf != nil {
		fill(s.buf, inner)
	}
	if num == t.base {
		t.began, t.longest = now, 0
	}
	t.longest = max(t.longest, len(inner)+2)
	t.tokens = min(t.tokens+tokenEach*float64(len(inner)), mostTokens)
	t.spare = min(t.spare+len(inner), mostSpare)
	t.lastTx, t.heads = now, 0
	t.turn++
	return b
}

// due reports whether the group that is open should end.
func (t *sender) due(now time.Duration) bool {
	n := t.next - t.base
	return n >= uint64(t.shape.k) || n > 0 && now-t.began >= t.shape.within
}

// endGroup makes the parity frames of the group that is open; a short group gets fewer.
func (t *sender) endGroup() {
	base, k, m := t.base, int(t.next-t.base), t.shape.m
	t.base = t.next
	if m == 0 || k == 0 {
		return
	}
	if full := t.shape.k; k < full {
		m = min((m*k+full-1)/full+1, m)
	}
	if m = min(m, t.spare/t.longest); m == 0 {
		return
	}
	shards := make([][]byte, k+m)
	for i := range k {
		s := &t.ring[(base+uint64(i))%ringLen]
		if s.num != base+uint64(i) || s.buf == nil {
			return // memory was short
		}
		if shards[i] = shard(s.buf, t.longest); shards[i] == nil {
			return
		}
	}
	frames := make([][]byte, m)
	defer func() {
		for _, f := range frames {
			t.pool.put(f)
		}
	}()
	for i := range m {
		if frames[i] = t.pool.get(); frames[i] == nil {
			return
		}
		shards[k+i] = frames[i][parityPre : parityPre+t.longest]
	}
	code, err := t.codes.get(k, m)
	if err != nil || code.Encode(shards) != nil {
		return
	}
	t.spare -= m * t.longest
	for i, f := range frames {
		h := append(head{typeParity, t.seal.path, uint32(base)}.append(f[:0]), byte(k), byte(m), byte(i))
		t.ready = append(t.ready, t.seal.seal(f[:len(h)+t.longest], 0, byte(i), base))
		frames[i] = nil
	}
	for len(t.ready) > mostReady {
		t.pool.put(t.ready[0][:0])
		t.ready = append(t.ready[:0], t.ready[1:]...)
	}
}

// parity appends a parity frame to b if it is one's turn, or in any case if all is set.
func (t *sender) parity(b []byte, all bool) []byte {
	if len(t.ready) == 0 || t.turn < betweenEach && !all {
		return b
	}
	f := t.ready[0]
	b = append(b, f...)
	t.pool.put(f)
	t.ready = append(t.ready[:0], t.ready[1:]...)
	t.turn = 0
	t.stats.parity++
	return b
}

// resend appends a datagram that the peer asked for, or returns b as it is.
func (t *sender) resend(b []byte, now time.Duration, low uint32, rtt time.Duration) []byte {
	if t.ring == nil || t.next == 0 {
		return b
	}
	num := expand(low, t.next)
	if num >= t.next {
		return b
	}
	s := &t.ring[num%ringLen]
	if s.num != num || s.buf == nil || s.again > 0 && now-s.again < rtt/2 || !t.pays(len(content(s.buf))) {
		return b
	}
	t.stats.resent++
	s.again = now
	from := len(b)
	b = head{typeResend, t.seal.path, uint32(num)}.append(b)
	return t.seal.seal(append(b, content(s.buf)...), from, 0, num)
}

// pays takes so many bytes of what may be sent again.
func (t *sender) pays(bytes int) bool {
	if t.tokens < float64(bytes) {
		return false
	}
	t.tokens -= float64(bytes)
	return true
}

// prune lets go what nobody will ask for any more.
func (t *sender) prune(now, rtt time.Duration) {
	keep := min(max(keepSent, 3*rtt), mostKept)
	for ; t.ring != nil && t.oldest < t.next; t.oldest++ {
		s := &t.ring[t.oldest%ringLen]
		if s.num == t.oldest {
			if now-s.at < keep {
				return
			}
			t.forget(t.oldest)
		}
	}
}

// forget lets one datagram go.
func (t *sender) forget(num uint64) {
	s := &t.ring[num%ringLen]
	if s.num == num {
		t.pool.put(s.buf)
		s.buf = nil
	}
}

// drop gives all memory back.
func (t *sender) drop() {
	for i := range t.ring {
		t.pool.put(t.ring[i].buf)
	}
	for _, f := range t.ready {
		t.pool.put(f)
	}
	if t.ring != nil {
		t.pool.release(sentsLen)
	}
	t.ring, t.ready = nil, nil
}
