package moqt

import (
	"math"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// Stats are what one session counted or, from a Tally, many. A name or code that is missing from a map was not counted.
type Stats struct {
	Sent, Received Traffic
	// DatagramsDropped arrived and were thrown away, because nobody took them or wanted them.
	DatagramsDropped uint64
	// RequestsSent and RequestsReceived are by the request's name in the draft, such as SUBSCRIBE.
	RequestsSent, RequestsReceived map[string]Outcomes
	// ResetsSent and ResetsReceived count RESET_STREAM on data streams, StopsSent and StopsReceived STOP_SENDING. OtherReset
	// stands for codes no draft has.
	ResetsSent, ResetsReceived map[ResetCode]uint64
	StopsSent, StopsReceived   map[ResetCode]uint64
	// Limits counts how often a bound was reached, by the name of its field in Config.
	Limits map[string]uint64
	// WriteWait is how long writes of data took, which is waiting for flow control and congestion control, summed over all
	// streams. StreamWait is the time spent waiting to open one.
	WriteWait, StreamWait time.Duration

	// Sessions and Ended are set by a Tally: those that run, and how the others ended.
	Sessions int
	Ended    map[SessionCode]uint64
}

// OtherReset and OtherEnd are the keys of Stats for codes that no draft has.
const (
	OtherReset ResetCode   = math.MaxUint64
	OtherEnd   SessionCode = math.MaxUint64
)

// Traffic is what went in one direction.
type Traffic struct {
	Streams   uint64 // of data: subgroups and fetches
	Objects   uint64 // in streams
	Bytes     uint64 // of payload, in streams
	Datagrams uint64 // with an object each
}

// Outcomes are how requests ended, as far as they did. Unanswered are those whose asker had no more patience.
type Outcomes struct{ Accepted, Refused, Unanswered uint64 }

func (c *counters) stats() Stats {
	traffic := func(dir counter) Traffic {
		return Traffic{c[cStreams+dir].Load(), c[cObjects+dir].Load(), c[cBytes+dir].Load(), c[cDatagrams+dir].Load()}
	}
	requests := func(dir counter) map[string]Outcomes {
		m := map[string]Outcomes{}
		for i, name := range requestNames {
			at := cRequests + (dir*counter(len(requestNames))+counter(i))*outcomes
			if o := (Outcomes{c[at+accepted].Load(), c[at+refused].Load(), c[at+unanswered].Load()}); o != (Outcomes{}) {
				m[name] = o
			}
		}
		return m
	}
	codes := func(at counter) map[ResetCode]uint64 {
		m := map[ResetCode]uint64{}
		for i := range resetSlots {
			code := OtherReset
			if int(i) < len(resetCodes) {
				code = resetCodes[i]
			}
			if n := c[at+i].Load(); n > 0 {
				m[code] = n
			}
		}
		return m
	}
	limits := map[string]uint64{}
	for i, name := range limitNames {
		if n := c[cLimits+counter(i)].Load(); n > 0 {
			limits[name] = n
		}
	}
	return Stats{
		Sent: traffic(sent), Received: traffic(received), DatagramsDropped: c[cDatagramsDropped].Load(),
		RequestsSent: requests(sent), RequestsReceived: requests(received),
		ResetsSent: codes(cResets), ResetsReceived: codes(cResets + resetSlots),
		StopsSent: codes(cStops), StopsReceived: codes(cStops + resetSlots),
		Limits: limits, WriteWait: time.Duration(c[cWriteWait].Load()), StreamWait: time.Duration(c[cStreamWait].Load()),
	}
}

// Stats are the session's counters at this moment.
func (s *Session) Stats() Stats { return s.count.stats() }

// Tally adds up the counters of sessions: of those whose Config names it, while they Run and after. The zero value is ready.
type Tally struct {
	mu    sync.Mutex // guards what follows
	live  map[*Session]struct{}
	past  counters
	ended map[SessionCode]uint64
}

// Stats are the sums at this moment.
func (t *Tally) Stats() Stats {
	var sum counters
	ended := map[SessionCode]uint64{}
	t.mu.Lock()
	t.past.addTo(&sum)
	for s := range t.live {
		s.count.addTo(&sum)
	}
	n := len(t.live)
	for code, k := range t.ended {
		ended[code] = k
	}
	t.mu.Unlock()
	st := sum.stats()
	st.Sessions, st.Ended = n, ended
	return st
}

func (t *Tally) begin(s *Session) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live, t.ended = map[*Session]struct{}{}, map[SessionCode]uint64{}
	}
	t.live[s] = struct{}{}
}

func (t *Tally) end(s *Session, cause error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, s)
	s.count.addTo(&t.past)
	code := asSessionError(cause).Code
	if code > wire.MalformedAuthority {
		code = OtherEnd
	}
	t.ended[code]++
}
