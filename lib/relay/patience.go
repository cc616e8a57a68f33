package relay

import (
	"errors"
	"sync"
	"time"

	"every.channel/ec/lib/moqt"
)

// An upstream may stop answering, or answer a byte at a time, without its session ending. These are the bounds of how long it is
// waited for.
const (
	// answerPatience is how long a subscriber waits for an upstream's answer, and a FETCH for the next bytes.
	answerPatience = 5 * time.Second
	// leastProgress is how many bytes of a FETCH must come in that time.
	leastProgress = 4 << 10
	// entryWeight is how many bytes an entry of a FETCH counts in addition to its payload.
	entryWeight = 64
	// graceOfOthers is how long the other upstreams are waited for once one has answered.
	graceOfOthers = 300 * time.Millisecond
	// nearPatience is how long upstreams may take to fill the live edge. Then a FETCH is answered with what is stored here,
	// because the client that asked may not wait longer either.
	nearPatience = 2 * time.Second
	// stallPause is how long an upstream that stalled is not asked. It doubles each further time, up to longestStallPause.
	stallPause, longestStallPause = 10 * time.Second, time.Minute
	// muchFaster is how many times faster another upstream must be, as far as its speed is known, to be asked in place of a slow
	// one.
	muchFaster = 8
	// fastEnough is the speed, in bytes a second, that is assumed of an upstream that was not asked yet.
	fastEnough = 1 << 20
)

var (
	errStallsUpstream = errors.New("the upstream stalls")
	errSlowUpstream   = errors.New("another upstream is faster")
)

// patience is how long upstreams are waited for. It is shorter for a request that came through other relays, because a relay
// before this one has been waiting since earlier.
func patience(through []string) time.Duration {
	return answerPatience - time.Duration(len(through))*answerPatience/(2*maxHops)
}

// conduct is what this relay knows of how an upstream answers. Relay.mu guards it.
type conduct struct {
	stalls int
	until  time.Time // not to be asked before

	bytes  int64 // bytes that came, and the time in which they came
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

// brought notes how many bytes came in how much waiting time; over: the answer is complete.
func (u *upstream) brought(bytes int64, waited time.Duration, over bool) {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	if over {
		u.stalls = 0
	}
	u.bytes, u.waited = u.bytes+bytes, u.waited+waited
	if u.waited > 2*answerPatience { // so that old figures count less and less
		u.bytes, u.waited = u.bytes/2, u.waited/2
	}
}

// speed estimates how many bytes a second an upstream brings. Relay.mu is held.
func (u *upstream) speed() float64 {
	if u.waited < 100*time.Millisecond {
		return fastEnough
	}
	return float64(u.bytes) / u.waited.Seconds()
}

// rests reports whether an upstream must not be asked at the moment, because it stalled. Relay.mu is held.
func (u *upstream) rests(now time.Time) bool { return now.Before(u.until) }

// fastest returns the speed of the fastest upstream in a list; 0 if the list is empty.
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

// patient reads the answer to a FETCH, and gives up when too little comes of it. Only the time counts during which somebody waits
// for the answer.
type patient struct {
	r     *moqt.FetchReader
	u     *upstream
	limit time.Duration
	// better returns the speed of the fastest upstream that can be asked in place of this one; 0 if there is none.
	better func() float64

	mu     sync.Mutex // guards what follows, against the timer
	timer  *time.Timer
	since  time.Time     // when the current wait began; zero: nobody waits
	waited time.Duration // time waited since the last look,
	came   int64         // and bytes that came in that time
	why    error         // why the answer was given up
}

// wait runs read, which waits for the upstream and returns how many bytes came.
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

// late runs while a wait is on, when it may have lasted too long.
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

// look decides whether enough came in the time that is over.
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

// next returns the next entry of the answer.
func (p *patient) next() (o moqt.FetchObject, err error) {
	err = p.wait(func() (int, error) {
		if o, err = p.r.Next(); err != nil {
			return 0, err
		}
		return entryWeight + len(o.Properties), nil
	})
	return o, err
}

// Read reads from the payload of the current entry.
func (p *patient) Read(b []byte) (n int, err error) {
	err = p.wait(func() (int, error) {
		n, err = p.r.Read(b)
		return n, err
	})
	return n, err
}

// over notes that the answer is complete or given up; good: it was complete.
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
