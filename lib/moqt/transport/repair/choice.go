package repair

import "time"

// choice is whether datagrams to the peer get numbers.
type choice struct {
	framed bool
	since  time.Duration
	size   float64 // mean size of datagrams lately
	seen   float64 // datagrams that the peer has reported of
	last   time.Duration
}

const (
	bulkFrom   = 500 // mean bytes: what has less are acknowledgments, which need no order and no repair
	bulkTo     = 200
	learnFrom  = 10 * time.Millisecond // of round trip: where loss would be felt, numbers are given until the loss is known
	learn      = 400                   // datagrams
	firstGuess = 8                     // parity frames of a group until then,
	longGuess  = 12                    // and on long paths, where slow start (RFC 9002 §7.3.1) must not end early
	dwell      = 2 * time.Second
)

// choose decides how the next n datagrams go out.
func (p *path) choose(now time.Duration, size, n int) bool {
	c := &p.choice
	weight := float64(n) / 16
	if float64(size) > c.size {
		weight = float64(n) / 4
	}
	c.size += (float64(size) - c.size) * min(weight, 1)
	if c.last, now = now, max(now, c.last); now-c.since < dwell && c.framed && !p.breaker.open(now) {
		return true
	}
	if want := p.wants(now); want != c.framed {
		c.framed, c.since = want, now
		if !want {
			p.tx.endGroup()
		}
	}
	return c.framed
}

// wants says whether it is worth it.
func (p *path) wants(now time.Duration) bool {
	c := &p.choice
	bulk := c.size > bulkFrom || c.framed && c.size > bulkTo
	silent := p.unheard > 0 && now-p.unheard > max(silentFor, 8*p.rtt.smooth)
	if silent || p.breaker.open(now) || p.rtt.smooth == 0 {
		return false
	}
	if c.seen < learn { // of whatever size: slow start ends with the first datagram that is lost
		return p.rtt.least() >= learnFrom
	}
	if !bulk {
		return false
	}
	if c.framed {
		return p.loss.lost > 0.1 && p.loss.carries(p.rtt.smooth) < plentyRate
	}
	return p.loss.lost > 1.5 && p.loss.carries(p.rtt.smooth) < enoughRate
}

// groups is how groups are made now.
func (p *path) groups() shape {
	s := shape{k: 20, within: 10 * time.Millisecond}
	guess := firstGuess
	if p.rtt.smooth > longPath {
		s, guess = shape{k: maxGroup, within: 20 * time.Millisecond}, longGuess
	}
	s.m = p.loss.parityFor(s.k, p.rtt.smooth)
	if p.choice.seen < learn {
		s.m = max(s.m, guess)
	}
	if p.rtt.queued(p.rtt.smooth) { // parity would only make the queue longer: what is lost is sent again
		s.m = 0
	}
	return s
}
