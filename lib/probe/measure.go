package probe

import (
	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// Limits of TR 101 290 §5.2, in 27 MHz ticks.
const (
	ms           = clock.SystemMillisecond
	patLimit     = 500 * ms  // 1.3, 1.3.a
	pmtLimit     = 500 * ms  // 1.5
	pidLimit     = 5000 * ms // 1.6: user specified
	pcrLimit     = 100 * ms  // 2.3a, 2.3b
	pcrRecommend = 40 * ms   // of TS 101 154 §4.1.5.3
	ptsLimit     = 700 * ms  // 2.5
	accuracy     = 500       // ns, 2.4
	jumpLimit    = 10_000 * ms
)

// Priority1 and Priority2 are the counters of TR 101 290.
type (
	Priority1 = catalog.Priority1
	Priority2 = catalog.Priority2
)

// point is where a PCR was.
type point struct {
	pcr    clock.PCR
	packet int64 // index in the stream
	damage int64 // how much damage there was before it
}

// pcrStats measures one PCR PID.
type pcrStats struct {
	count         int64
	intervals     int64
	sum           clock.Ticks27
	min, max      clock.Ticks27
	over40        int64
	repetition    int64
	discontinuity int64
	announced     int64

	last   [2]point // the two PCRs before, newest first
	have   int      // how many of them follow each other
	rate   float64  // packets per tick of the interval before
	varies int64    // intervals whose rate is more than 1 % off the one before
	rates  int64    // intervals compared

	measured  int64 // PCRs whose accuracy was measured
	errors    int64 // of more than 500 ns
	worst     float64
	sumAbsErr float64
}

// add takes the next PCR; announced says that discontinuity_indicator was set. It returns the ticks since
// the PCR before, and whether the clock ran on.
func (s *pcrStats) add(p point, announced bool) (step clock.Ticks27, ok bool) {
	s.count++
	if announced {
		s.announced++
		s.have = 0
	}
	if s.have > 0 {
		step = p.pcr.Sub(s.last[0].pcr)
		ok = step > 0 && step <= jumpLimit
		if step <= 0 || step > pcrLimit {
			s.discontinuity++
		}
		if ok {
			s.interval(step)
			s.measure(p, step)
		} else {
			s.have = 0
		}
	}
	s.last[1], s.last[0] = s.last[0], p
	s.have = min(s.have+1, 2)
	return step, ok
}

func (s *pcrStats) interval(step clock.Ticks27) {
	s.intervals++
	s.sum += step
	if s.min == 0 || step < s.min {
		s.min = step
	}
	s.max = max(s.max, step)
	if step > pcrRecommend {
		s.over40++
	}
	if step > pcrLimit {
		s.repetition++
	}
}

// measure compares the PCR before with the straight line between its neighbours, by position. That is
// PCR_AC (TR 101 290 §5.3.2.3) in a multiplex of constant rate; in another it says nothing, and rates tells so.
func (s *pcrStats) measure(p point, step clock.Ticks27) {
	packets := float64(p.packet - s.last[0].packet)
	if p.damage != s.last[0].damage || packets <= 0 {
		s.rate = 0
		return
	}
	rate := packets / float64(step)
	if s.rate > 0 {
		s.rates++
		if r := rate / s.rate; r > 1.01 || r < 0.99 {
			s.varies++
		}
	}
	s.rate = rate
	if s.have < 2 || s.last[1].damage != p.damage {
		return
	}
	before := float64(s.last[0].packet - s.last[1].packet)
	first := float64(s.last[0].pcr.Sub(s.last[1].pcr))
	line := (first + float64(step)) * before / (before + packets)
	e := (first - line) * 1000 / 27 // ns
	if e < 0 {
		e = -e
	}
	s.measured++
	s.sumAbsErr += e
	s.worst = max(s.worst, e)
	if e > accuracy {
		s.errors++
	}
}

// constant tells whether the multiplex has a constant rate, as far as this PID shows.
func (s *pcrStats) constant() bool { return s.rates >= 10 && s.varies*50 < s.rates }

// timebase is the stream's own time: the PCR of one PID, unwrapped, and interpolated by position.
type timebase struct {
	pid     ts.PID
	started bool
	elapsed clock.Ticks27 // at last
	last    point
	packets int64 // of the interval before last, and its ticks
	ticks   clock.Ticks27
	jumps   int64
	counted int64  // packets that elapsed covers
	other   ts.PID // that had the first PCR since the last of pid, and how many
	others  int
}

// add takes a PCR of any PID. The first PID is followed until it falls silent.
func (t *timebase) add(pid ts.PID, p point, step clock.Ticks27, ok bool) {
	switch {
	case !t.started:
		*t = timebase{pid: pid, started: true, last: p}
		return
	case pid != t.pid:
		if t.others == 0 {
			t.other = pid
		}
		if pid == t.other {
			t.others++
		}
		if t.others > 20 {
			t.pid, t.last, t.others, t.ticks = pid, p, 0, 0
		}
		return
	}
	t.others = 0
	if ok {
		t.ticks, t.packets = step, p.packet-t.last.packet
		t.elapsed += step
		t.counted += t.packets
	} else {
		t.jumps++
	}
	t.last = p
}

// at is the stream time of a packet.
func (t *timebase) at(packet int64) clock.Ticks27 {
	if t.ticks == 0 || t.packets <= 0 {
		return t.elapsed
	}
	ahead := clock.Ticks27(float64(packet-t.last.packet) * float64(t.ticks) / float64(t.packets))
	return t.elapsed + min(ahead, 2*pcrLimit)
}

// pcr is the PCR a packet would carry.
func (t *timebase) pcr(packet int64) clock.PCR { return t.last.pcr.Add(t.at(packet) - t.elapsed) }
