package relay

import (
	"errors"
	"sync"
	"time"

	"every.channel/ec/lib/moqt"
)

// An upstream may stop answering, or answer a byte at a time, without its session ending. Nobody waits for it longer than this:
const (
	// answerPatience bounds the wait of a subscriber for upstreams, and of a FETCH for anything to come.
	answerPatience = 5 * time.Second
	// leastProgress is how many bytes must come of a FETCH in that time.
	leastProgress = 4 << 10
	// entryWeight is what an entry of a FETCH counts beside its payload.
	entryWeight = 64
	// graceOfOthers is how long those that have not answered yet are waited for when one has.
	graceOfOthers = 300 * time.Millisecond
	// nearPatience is how long upstreams may take for the live edge before a FETCH is answered with what is here: whoever asks has
	// patience of the same kind.
	nearPatience = 2 * time.Second
	// stallPause is how long an upstream is not asked that stalled, twice as long every time, until longestStallPause.
	stallPause, longestStallPause = 10 * time.Second, time.Minute
	// muchFaster is how many times faster another upstream must be, as far as that is known, to be asked instead of one that is slow.
	muchFaster = 8
	// fastEnough is what an upstream is taken for that was not asked yet, in bytes a second.
	fastEnough = 1 << 20
)

var (
	errStallsUpstream = errors.New("the upstream stalls")
	errSlowUpstream   = errors.New("another upstream is faster")
)

// patience is that with upstreams for a request that came through some relays: a relay before this one has waited longer already.
func patience(through []string) time.Duration {
	return answerPatience - time.Duration(len(through))*answerPatience/(2*maxHops)
}

// conduct is what is known of how an upstream answers. Relay.mu guards it.
type conduct struct {
	stalls int
	until  time.Time // not to be asked before

	bytes  int64 // that came, and
	waited time.Duration
}

// stalled notes that an upstream did not answer, or not on.
func (u *upstream) stalled(what string) {
	u.r.mu.Lock()
	pause := min(stallPause<<min(u.stalls, 8), longestStallPause)
	u.stalls++
	u.until = time.Now().Add(pause)
	u.r.mu.Unlock()
	u.r.log.Warn("upstream stalls, not asked for a while", "upstream", u.name(), "asked", what, "pause", pause)
}

// brought notes how fast something came that came to its end, or goes on.
func (u *upstream) brought(bytes int64, waited time.Duration, over bool) {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	if over {
		u.stalls = 0
	}
	u.bytes, u.waited = u.bytes+bytes, u.waited+waited
	if u.waited > 2*answerPatience { // what was long ago counts less and less
		u.bytes, u.waited = u.bytes/2, u.waited/2
	}
}

// speed is about how many bytes a second an upstream brings; Relay.mu is held.
func (u *upstream) speed() float64 {
	if u.waited < 100*time.Millisecond {
		return fastEnough
	}
	return float64(u.bytes) / u.waited.Seconds()
}

// rests reports whether an upstream is not to be asked; Relay.mu is held.
func (u *upstream) rests(now time.Time) bool { return now.Before(u.until) }

// fastest is the speed of the fastest of some upstreams; none: 0.
func (r *Relay) fastest(list []*upstream) (best float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, u := range list {
		if u.s != nil && !u.rests(now) {
			best = max(best, u.speed())
		}
	}
	return best
}

// patient reads the response to a FETCH and ends it when too little comes of it. Only the time counts in which it is waited for.
type patient struct {
	r     *moqt.FetchReader
	u     *upstream
	limit time.Duration
	// better is the speed of the fastest of those that can be asked instead; 0: nobody can.
	better func() float64

	mu     sync.Mutex // guards what follows, against the timer
	timer  *time.Timer
	since  time.Time     // when the wait began; zero: none is on
	waited time.Duration // since the last look,
	came   int64         // and what came meanwhile
	why    error         // it was ended
}

// wait runs what waits for the upstream, and says how many bytes came.
func (p *patient) wait(read func() (int, error)) error {
	p.mu.Lock()
	p.since = time.Now()
	if p.timer == nil {
		p.timer = time.AfterFunc(p.limit, p.late)
	} else {
		p.timer.Reset(p.limit - p.waited)
	}
	p.mu.Unlock()
	n, err := read()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer.Stop()
	p.came += int64(n)
	p.look()
	p.since = time.Time{}
	if p.why != nil {
		return p.why
	}
	return err
}

// late looks while the wait is on.
func (p *patient) late() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() || p.why != nil {
		return
	}
	if p.look(); p.why == nil {
		p.timer.Reset(p.limit - p.waited)
	}
}

// look judges what came when the time is over.
func (p *patient) look() {
	now := time.Now()
	p.waited += now.Sub(p.since)
	p.since = now
	if p.waited < p.limit || p.why != nil {
		return
	}
	came, waited := p.came, p.waited
	p.came, p.waited = 0, 0
	if came < leastProgress {
		p.why = errStallsUpstream
	} else {
		p.u.brought(came, waited, false)
		if p.better() >= muchFaster*float64(came)/waited.Seconds() {
			p.why = errSlowUpstream
		}
	}
	if p.why != nil {
		p.r.Cancel()
	}
}

// next is the next entry.
func (p *patient) next() (o moqt.FetchObject, err error) {
	err = p.wait(func() (int, error) {
		if o, err = p.r.Next(); err != nil {
			return 0, err
		}
		return entryWeight + len(o.Properties), nil
	})
	return o, err
}

// Read reads of the entry's payload.
func (p *patient) Read(b []byte) (n int, err error) {
	err = p.wait(func() (int, error) {
		n, err = p.r.Read(b)
		return n, err
	})
	return n, err
}

// over ends the wait for all.
func (p *patient) over(good bool) {
	p.mu.Lock()
	came, waited, why := p.came, p.waited, p.why
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	if why == nil {
		p.u.brought(came, waited, good)
	}
}
