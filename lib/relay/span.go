package relay

import (
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/moqt"
)

// maxAnswers bounds the spans of a track that are remembered to hold nothing more than what is stored.
const (
	maxAnswers = 1024
	// doubtPause is how long what no upstream knew is not asked for again.
	doubtPause = 30 * time.Second
	// answerAge is how long it is believed that something does not exist.
	answerAge = 10 * time.Minute
)

// span is what lies from a location to before another.
type span struct{ from, to moqt.Location }

func (s span) empty() bool { return !s.from.Less(s.to) }

func startOf(group uint64) moqt.Location { return moqt.Location{Group: group} }

// half turns the end of a FETCH, where Object 0 is the whole group, into the location behind it.
func half(end moqt.Location) moqt.Location {
	if end.Object == 0 {
		return startOf(end.Group + 1)
	}
	return end
}

// full is the reverse; to is not the start of group 0.
func full(to moqt.Location) moqt.Location {
	if to.Object == 0 {
		return startOf(to.Group - 1)
	}
	return to
}

// answers are spans of which all is known: what is not stored of them does not exist. They are in order and apart.
type answers struct {
	mu    sync.Mutex
	spans []span
	since time.Time // of the first one
	epoch int       // of the relay, when they were said
}

func (a *answers) add(s span) {
	if s.empty() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.spans) == 0 {
		a.since = time.Now()
	}
	i, _ := slices.BinarySearchFunc(a.spans, s.from, func(o span, l moqt.Location) int { return o.to.Compare(l) })
	j := i
	for ; j < len(a.spans) && !s.to.Less(a.spans[j].from); j++ {
		s.from = minLocation(s.from, a.spans[j].from)
		s.to = maxLocation(s.to, a.spans[j].to)
	}
	a.spans = slices.Replace(a.spans, i, j, s)
	if len(a.spans) > maxAnswers {
		a.spans = slices.Delete(a.spans, 0, 1)
	}
}

// drop forgets what is known of a span.
func (a *answers) drop(s span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var kept []span
	for _, o := range a.spans {
		for _, rest := range []span{{o.from, minLocation(o.to, s.from)}, {maxLocation(o.from, s.to), o.to}} {
			if !rest.empty() {
				kept = append(kept, rest)
			}
		}
	}
	a.spans = kept
}

// of drops all that was said when other upstreams were there.
func (a *answers) of(epoch int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch != epoch {
		a.spans, a.epoch = nil, epoch
	}
}

// within is what of some spans, in order, is answered.
func (a *answers) within(spans []span) (list []span) {
	for _, s := range spans {
		at := s.from
		for _, rest := range a.without(s) {
			if at.Less(rest.from) {
				list = append(list, span{at, rest.from})
			}
			at = rest.to
		}
		if at.Less(s.to) {
			list = append(list, span{at, s.to})
		}
	}
	return list
}

// forget drops all when the first is so old.
func (a *answers) forget(age time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.since) > age {
		a.spans = nil
	}
}

// without is what of a span is not answered.
func (a *answers) without(s span) (rest []span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range a.spans {
		if !s.from.Less(o.to) {
			continue
		}
		if !o.from.Less(s.to) {
			break
		}
		if s.from.Less(o.from) {
			rest = append(rest, span{s.from, o.from})
		}
		s.from = o.to
	}
	if !s.empty() {
		rest = append(rest, s)
	}
	return rest
}

func minLocation(a, b moqt.Location) moqt.Location {
	if b.Less(a) {
		return b
	}
	return a
}

func maxLocation(a, b moqt.Location) moqt.Location {
	if a.Less(b) {
		return b
	}
	return a
}
