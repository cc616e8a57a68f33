package repair

import (
	"math"
	"time"
)

// When repair is worth it: loss-based congestion control carries about 1.22 × MSS / (RTT × √loss) (RFC 5348 §3.1 has the formula).
const (
	enoughRate = 50e6  // bits a second: below that, datagrams get numbers
	plentyRate = 200e6 // above that, they lose them again
	halfLife   = 4 * time.Second
	mss        = 1400 * 8
	longPath   = 100 * time.Millisecond // of round trip: what must be sent again is noticed
)

// loss is what the peer's reports say of the datagrams sent to it; old ones fade.
type loss struct {
	sent, lost, runs, short float64
	at                      time.Duration
	recent                  [8]sample // of single reports, for the breaker
	n                       int
}

type sample struct{ sent, lost float64 }

// add takes what one report tells anew.
func (l *loss) add(now time.Duration, sent, lost, runs, short float64) {
	if l.at > 0 {
		f := math.Exp2(-float64(now-l.at) / float64(halfLife))
		l.sent, l.lost, l.runs, l.short = l.sent*f, l.lost*f, l.runs*f, l.short*f
	}
	l.at = now
	l.sent, l.lost, l.runs, l.short = l.sent+sent, l.lost+lost, l.runs+runs, l.short+short
	l.recent[l.n%len(l.recent)] = sample{sent, lost}
	l.n++
}

// rate is the part of the datagrams that is lost.
func (l *loss) rate() float64 {
	if l.sent < 1 || l.lost <= 0 {
		return 0
	}
	return min(l.lost/l.sent, 1)
}

// now is the rate of the last few reports, which say little one by one.
func (l *loss) now(reports int) (rate, sent float64) {
	var s sample
	for i := range min(reports, l.n, len(l.recent)) {
		r := l.recent[(l.n-1-i)%len(l.recent)]
		s.sent, s.lost = s.sent+r.sent, s.lost+r.lost
	}
	if s.sent < 1 {
		return 0, s.sent
	}
	return max(s.lost/s.sent, 0), s.sent
}

// burst is how many datagrams are lost together, in the mean.
func (l *loss) burst() float64 {
	if l.runs < 1 {
		return 1
	}
	return min(max(l.lost/l.runs, 1), 8)
}

// carries is the rate in bits a second at which loss would hold QUIC back.
func (l *loss) carries(rtt time.Duration) float64 {
	p := l.rate()
	if p == 0 || rtt == 0 {
		return math.Inf(1)
	}
	return 1.22 * mss / (rtt.Seconds() * math.Sqrt(p))
}

// parityFor is how many parity frames a group of k datagrams gets, so that few groups lose more than that. A long path gets more, because
// what is missing is a round trip late. Losses are counted in bursts: of a burst all or nothing is lost.
func (l *loss) parityFor(k int, rtt time.Duration) int {
	p := l.rate()
	if p < 0.0002 || l.lost < 1 {
		return 0
	}
	may := 0.01
	if rtt > longPath {
		may = 0.002
	}
	b := math.Sqrt(l.burst()) // parity is sent between later datagrams, so a burst does not take all of both
	p = min(1.2*p, 0.5)
	for m := 1; m < maxParity; m++ {
		if exceeds(float64(k+m)/b, p, float64(m)/b) < may {
			return m
		}
	}
	return maxParity
}

// exceeds is the chance that of n things, each lost with chance p, more than m are lost.
func exceeds(n, p, m float64) float64 {
	count, q := int(math.Ceil(n)), 1.0
	term := math.Pow(1-p, float64(count))
	for i := 0; i <= int(m); i++ {
		q -= term
		term *= float64(count-i) / float64(i+1) * p / (1 - p)
	}
	return max(q, 0)
}

// breaker opens where a path is full, so that hiding its losses would starve it and others.
type breaker struct {
	until time.Duration // nothing is hidden until then
	pause time.Duration // of the last time
	bad   int           // reports in a row that show a full path
	opens uint64
}

const (
	badReports  = 4
	firstBreak  = 4 * time.Second
	longBreak   = time.Minute
	fullLoss    = 0.02
	deadLoss    = 0.6 // hardly any frame passes: something on the path does not like them
	queueAtMost = 15 * time.Millisecond
)

// look takes one report: the path is full if it loses much and its queue is long.
func (b *breaker) look(now time.Duration, l *loss, t *rtt) {
	rate, sent := l.now(4)
	full := rate > fullLoss && sent > 40 && t.queued(t.recent())
	if full || rate > deadLoss && sent > 100 {
		b.bad++
	} else {
		b.bad = 0
	}
	if b.bad < badReports {
		if b.pause > 0 && now-b.until > 4*b.pause {
			b.pause = 0
		}
		return
	}
	b.bad = 0
	b.pause = min(max(firstBreak, 2*b.pause), longBreak)
	b.until = now + b.pause
	b.opens++
}

func (b *breaker) open(now time.Duration) bool { return now < b.until }

const mostGuess = time.Second

// rtt is the round-trip time as control frames see it.
type rtt struct {
	smooth time.Duration // 0: not known yet
	last   [6]time.Duration
	n      int
	lows   [2]time.Duration // the least of this minute and of the one before
	since  time.Duration
}

// guess is what the handshake says, until something was measured. A frame of it that was lost makes that too much, and a client may take 30 s.
func (r *rtt) guess(d time.Duration) { r.smooth = min(max(d, time.Millisecond), mostGuess) }

func (r *rtt) add(now, d time.Duration) {
	d = max(d, time.Microsecond)
	if r.n == 0 {
		r.smooth = d
	}
	r.smooth += (d - r.smooth) / 8
	r.last[r.n%len(r.last)] = d
	r.n++
	if r.lows[0] == 0 || d < r.lows[0] {
		r.lows[0] = d
	}
	if now-r.since > time.Minute {
		r.since = now
		r.lows[1], r.lows[0] = r.lows[0], d
	}
}

// least is the time without a queue, as far as one can know.
func (r *rtt) least() time.Duration {
	switch {
	case r.n == 0:
		return r.smooth
	case r.lows[1] > 0:
		return min(r.lows[0], r.lows[1])
	}
	return r.lows[0]
}

// queued reports whether a round trip is so much longer than the shortest one that there is a queue.
func (r *rtt) queued(d time.Duration) bool { return d-r.least() > max(queueAtMost, r.least()/4) }

// recent is the least of the last few: jitter does not raise it, a queue does.
func (r *rtt) recent() time.Duration {
	d := r.smooth
	for i := range min(r.n, len(r.last)) {
		d = min(d, r.last[i])
	}
	return d
}
