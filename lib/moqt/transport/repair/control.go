package repair

import (
	"net"
	"time"
)

const (
	reportEach = 100 * time.Millisecond
	silentFor  = 2 * time.Second // without a report while something is sent: the peer has forgotten the path
	headEach   = 10 * time.Millisecond
	heads      = 3
	mostRTT    = 10 * time.Second
	mostWaited = uint32(time.Second / time.Microsecond)
	callFirst  = 150 * time.Millisecond // after which a client says where it is, when nothing comes any more
	mostCalls  = 4
	copiesLoss = 0.02 // on a long path that loses more, what is sent again is sent twice
)

func (p *path) stamp(now time.Duration) uint32 { return uint32(now / time.Microsecond) }

// tick sends what time asks for: parity, what is missing, reports. It returns whether the path needs ticks soon.
func (p *path) tick() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return false
	}
	now := p.conn.now()
	if p.own.over() > 0 {
		p.shed()
	}
	ask := p.rx.tick(now, p.rtt.smooth)
	if p.tx.ring != nil {
		if p.tx.due(now) {
			p.tx.endGroup()
		}
		if idle := now-p.tx.lastTx > headEach/2; idle || !p.choice.framed {
			for n := len(p.tx.ready); n > 0; n-- {
				p.emit(p.tx.parity(p.out[:0], true), 0)
			}
		}
		p.tx.prune(now, p.rtt.smooth)
		if p.tx.oldest == p.tx.next && (!p.choice.framed || now-p.tx.lastTx > ringIdle) && len(p.tx.ready) == 0 {
			p.tx.drop()
		}
	}
	if p.calling(now) {
		p.told = 0
	}
	tail := p.choice.framed && p.tx.heads < heads && now-p.tx.lastTx > headEach<<p.tx.heads
	if tail {
		p.tx.heads++
	}
	if len(ask) > 0 || tail || (p.active.Load() || p.next.addr != nil) && now-p.told >= reportEach || p.told == 0 {
		p.tell(now, ask)
	}
	p.busy = p.choice.framed && now-p.tx.lastTx < time.Second || p.tx.ring != nil || p.rx.holes > 0 || p.rx.kept < p.rx.next
	return p.busy
}

// calling reports whether a client should say something because what came has ceased: perhaps its address is another one now, which a server
// learns from what the client says, and a client that only receives says nothing then.
func (p *path) calling(now time.Duration) bool {
	if p.conn.o.Accept {
		return false
	}
	if flow := p.gotPlain.Load() + p.rx.got; flow != p.flow {
		p.flow, p.quiet, p.calls = flow, now, 0
		return false
	}
	if p.flow == 0 || p.calls >= mostCalls || now-p.quiet < max(callFirst, 2*p.rtt.smooth)<<p.calls {
		return false
	}
	p.calls++
	return true
}

// shed gives up what others need: first what was sent, the oldest first, then what came.
func (p *path) shed() {
	for p.tx.ring != nil && p.tx.oldest < p.tx.next && p.own.over() > 0 {
		p.tx.forget(p.tx.oldest)
		p.tx.oldest++
	}
	if p.own.over() > 0 {
		p.rx.flush()
	}
}

// tell sends a control frame.
func (p *path) tell(now time.Duration, ask []span) {
	p.active.Store(false)
	p.told = now
	if p.unheard == 0 {
		p.unheard = now
	}
	c := control{
		stamp: p.stamp(now), echo: p.echo, waited: nothingYet, plain: p.plain, next: uint32(p.tx.next),
		gotPlain: p.snap, high: uint32(p.rx.high), got: p.rx.got, runs: p.rx.runs, short: p.rx.short, missing: ask,
		challenge: p.next.challenge, answer: p.answer,
	}
	p.answer = 0
	if p.next.addr != nil && !p.next.affords(headLen+controlFixed+5*len(ask)+2*8+tagLen) {
		c.missing = nil
	}
	if p.echoAt > 0 {
		c.waited = uint32((now - p.echoAt) / time.Microsecond)
	}
	p.marks[p.number%uint64(len(p.marks))] = mark{c.stamp, p.plain}
	p.number++
	p.out = c.append(head{typeControl, p.tx.seal.path, uint32(p.number)}.append(p.out[:0]))
	p.out = p.tx.seal.seal(p.out, 0, 0, p.number)
	p.say(p.out)
}

// control takes a control frame. It reports whether the path has another address since.
func (p *path) control(now time.Duration, c control, from *net.UDPAddr) (moved bool) {
	p.came, p.unheard = now, 0
	if p.echoAt == 0 || int32(c.stamp-p.echo) > 0 {
		p.echo, p.echoAt, p.snap = c.stamp, now, p.gotPlain.Load()
	}
	if c.challenge != 0 {
		p.answer, p.told = c.challenge, 0
	}
	moved = p.arrived(c.answer, from)
	p.rx.known(now, expand(c.next, p.rx.high))
	if c.waited != nothingYet {
		p.heed(now, c)
	}
	if !same(from, p.addr) {
		return moved // who has not shown to be there gets nothing again
	}
	copies := 1
	if p.rtt.smooth > longPath && p.loss.rate() >= copiesLoss {
		copies = 2
	}
	for _, s := range c.missing {
		for i := range uint32(s.n) {
			p.out = p.tx.resend(p.out[:0], now, s.first+i, p.rtt.smooth)
			for n := range copies {
				if n == 0 || p.tx.pays(len(p.out)) {
					p.emit(p.out, 0)
				}
			}
		}
	}
	return moved
}

// rtt is the round trip that a report shows. One that waited long shows how two clocks drift, and one that lies shows nothing.
func (c control) rtt(now uint32) (d time.Duration, ok bool) {
	d = time.Duration(int32(now-c.echo-c.waited)) * time.Microsecond
	return d, d >= 0 && d < mostRTT && c.waited < mostWaited
}

// heed takes the peer's report.
func (p *path) heed(now time.Duration, c control) {
	for i := range p.marks {
		m := &p.marks[i]
		if m.stamp != c.echo || m.stamp == 0 {
			continue
		}
		if d, ok := c.rtt(p.stamp(now)); ok {
			p.rtt.add(now, d)
		}
		if p.next.addr != nil || !p.reported && p.settled != 0 && int32(c.echo-p.settled) < 0 {
			return // what goes to either address meanwhile is not counted as what the peer reports
		}
		r := report{m.plain, c.gotPlain, c.high, c.got, c.runs, c.short}
		was, first := p.heard, !p.reported
		p.heard, p.reported = r, true
		m.stamp = 0
		if first {
			return // a sum says nothing without the one before
		}
		sent := float64(int32(r.plainThen-was.plainThen)) + float64(int32(r.high-was.high))
		got := float64(int32(r.gotPlain-was.gotPlain)) + float64(int32(r.got-was.got))
		if sent < 0 {
			p.heard = was // overtaken by a later one
			return
		}
		p.choice.seen += sent
		p.loss.add(now, sent, sent-got, float64(int32(r.runs-was.runs)), float64(int32(r.short-was.short)))
		p.breaker.look(now, &p.loss, &p.rtt)
		return
	}
}
