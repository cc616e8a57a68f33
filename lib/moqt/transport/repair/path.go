package repair

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// path is what is between this side and a peer that has the layer, too.
type path struct {
	conn   *Conn
	peer   [32]byte         // the client's public key, by which a server knows a path again
	listed netip.AddrPort   // in Conn.by; Conn.mu guards it
	was    []netip.AddrPort // in Conn.was, the oldest first; the same

	gotPlain atomic.Uint32 // datagrams that came without a number
	active   atomic.Bool   // since the last tick something went either way

	mu    sync.Mutex   // guards what follows. Conn.mu is taken before it, pool.mu and codes.mu under it
	gone  bool         // forgotten: nobody would give back what it takes from the pool
	open  sealer       // of frames that come; the other direction's is in tx
	addr  *net.UDPAddr // where the peer has shown to be
	next  candidate
	oob   []byte // goes with frames of our own: the source address and ECN, as QUIC sent them last
	oobAt time.Duration
	tx    sender
	rx    receiver
	own   *share // of memory
	rtt   rtt
	out   []byte // for frames that are being made

	loss     loss
	breaker  breaker
	choice   choice
	heard    report // from the peer
	reported bool
	settled  uint32 // stamp: reports that answer to earlier ones are not counted; 0: all are

	number  uint64 // of the next control frame
	busy    bool   // the clock runs fast
	window  window // numbers of control frames that came
	echo    uint32 // the newest stamp of the peer
	echoAt  time.Duration
	answer  uint64 // to the peer's challenge; 0: none is due
	plain   uint32 // datagrams sent without a number
	snap    uint32 // gotPlain when echo came
	marks   [16]mark
	told    time.Duration // when the last control frame went out
	came    time.Duration // when the last one came; the path begins with one
	flow    uint32        // datagrams of QUIC that had come
	quiet   time.Duration // when the last of them came
	calls   int           // how often this side has said something since then
	unheard time.Duration // when the first one went out since then; 0: none did
	probed  int           // the size of the last datagram that was larger than proven
	times   int
	proven  int
}

// report are the sums in the peer's last control frame.
type report struct{ plainThen, gotPlain, high, got, runs, short uint32 }

// mark is a control frame that was sent: how many datagrams had been sent without a number.
type mark struct{ stamp, plain uint32 }

// window refuses numbers of control frames that came before.
type window struct {
	high uint64 // one more than the highest
	bits uint64
}

func (w *window) fresh(num uint64) bool {
	if num >= w.high {
		if d := num + 1 - w.high; d < 64 {
			w.bits = w.bits<<d | 1
		} else {
			w.bits = 1
		}
		w.high = num + 1
		return true
	}
	d := w.high - 1 - num
	if d >= 64 || w.bits>>d&1 == 1 {
		return false
	}
	w.bits |= 1 << d
	return true
}

// provenAtFirst is a size of datagrams for which every path has room, with what repair adds: quic-go starts with no more.
const provenAtFirst = 1280

func newPath(c *Conn, seal, open sealer, addr *net.UDPAddr) *path {
	p := &path{conn: c, open: open, addr: addr, proven: provenAtFirst}
	p.own = &share{pool: &c.pool}
	p.tx = sender{pool: p.own, codes: &c.codes, seal: seal}
	p.rx = receiver{pool: p.own, codes: &c.codes, up: c.deliver, reorder: leastReorder}
	p.came = c.now()
	return p
}

// emit sends frames of our own, of which there are several of one size if size is set.
func (p *path) emit(b []byte, size int) {
	if len(b) == 0 {
		return
	}
	p.conn.socket.WriteMsgUDP(b, withSegment(p.oob, size), p.addr) // a frame that cannot be sent is lost
}

// send sends datagrams of QUIC to the path's address, of segment bytes each if that is set, and says how.
func (p *path) send(b, oob []byte, segment int, to *net.UDPAddr) (sent bool, err error) {
	size := segment
	if size == 0 {
		size = len(b)
	}
	n := (len(b) + size - 1) / max(size, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || !same(to, p.addr) {
		return false, nil
	}
	now := p.conn.now()
	if !p.active.Load() {
		p.active.Store(true)
	}
	framed := p.choose(now, size, n)
	if framed || len(p.oob) == 0 || now-p.oobAt > reportEach { // it seldom changes
		p.oob, p.oobAt = append(p.oob[:0], withSegment(oob, 0)...), now
	}
	switch {
	case size > maxInner || n == 0:
		p.plain += uint32(n)
		return false, nil
	case size > p.proven && !p.proves(size, n):
		p.number++
		p.out = appendProbe(p.out[:0], head{typeProbe, p.tx.seal.path, uint32(p.number)}, b)
		p.out = p.tx.seal.seal(p.out, 0, 0, p.number)
		_, _, err = p.conn.socket.WriteMsgUDP(p.out, oob, to)
		return true, err
	case !framed || !p.tx.starts():
		p.plain += uint32(n)
		return false, nil
	}
	p.hurry()
	if p.tx.next == p.tx.base {
		p.tx.shape = p.groups()
	}
	p.out = p.out[:0]
	for rest := b; len(rest) > 0; {
		k := min(size, len(rest))
		p.out = p.tx.data(p.out, now, rest[:k])
		rest = rest[k:]
		if p.tx.due(now) {
			p.tx.endGroup()
		}
	}
	full := 0
	if n > 1 {
		full = size + dataOver
	}
	_, _, err = p.conn.socket.WriteMsgUDP(p.out, withSegment(oob, full), to)
	for range n/betweenEach + 1 {
		p.emit(p.tx.parity(p.out[:0], false), 0)
		p.tx.turn += betweenEach * min(n-1, 1)
	}
	return true, err
}

// proves reports whether a size is one that the path has room for: QUIC sends a datagram or two of a new size, one by one, to find that out.
func (p *path) proves(size, n int) bool {
	if n > 1 {
		p.proven = size
		return true
	}
	if p.probed != size {
		p.probed, p.times = size, 0
	}
	if p.times++; p.times > 2 {
		p.proven = size
	}
	return p.times > 2
}

// frame takes a frame that may be the peer's. It reports whether the path has another address since.
func (p *path) frame(h head, b, oob []byte, from *net.UDPAddr) (moved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return false
	}
	now := p.conn.now()
	body := b[headLen : len(b)-tagLen]
	switch h.kind {
	case typeData, typeResend:
		num := expand(h.num, p.rx.high)
		if len(body) == 0 || len(body) > maxInner || !p.open.open(b, 0, num) {
			return false
		}
		p.active.Store(true)
		p.hurry()
		p.seen(from, len(b), num >= p.rx.high)
		p.rx.data(now, num, body, oob, from, h.kind == typeResend)
	case typeParity:
		pr, err := parseParity(body)
		num := expand(h.num, p.rx.high)
		if err != nil || !p.open.open(b, byte(pr.index), num) {
			return false
		}
		p.rx.parity(now, num, pr, oob, from)
	case typeControl:
		num := expand(h.num, p.window.high)
		if !p.open.open(b, 0, num) || !p.window.fresh(num) {
			return false
		}
		c, err := parseControl(body)
		if err != nil {
			return false
		}
		p.seen(from, len(b), num+1 == p.window.high)
		moved = p.control(now, c, from)
	case typeProbe:
		num := expand(h.num, p.window.high)
		if !p.open.open(b, 0, num) || !p.window.fresh(num) {
			return false
		}
		inner, err := probeInner(body)
		if err != nil || len(inner) == 0 {
			return false
		}
		p.rx.unnumbered(inner, oob, from)
	}
	return moved
}

// hurry makes the clock run faster.
func (p *path) hurry() {
	if !p.busy {
		p.busy = true
		p.conn.wake()
	}
}

// idle reports whether nothing came from the peer for so long that the path is over.
func (p *path) idle(now time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now-p.came > forget
}

// key is an address as paths are listed by.
func key(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// Stats of the path.
func (p *path) stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{
		Spoken: true, Active: p.choice.framed, Loss: p.loss.rate(), RTT: p.rtt.smooth, Sent: p.tx.next, Parity: p.tx.stats.parity, Resent: p.tx.stats.resent,
		Missing: p.rx.missed, Coded: p.rx.coded, Again: p.rx.again, GivenUp: p.rx.gaveUp, Breaks: p.breaker.opens,
	}
}
