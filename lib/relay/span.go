package relay

import (
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/moqt"
)

// maxAnswers bounds the spans of a track for which it is remembered that nothing exists beyond the stored objects.
const (
	maxAnswers = 1024
	// doubtPause is how long upstreams are not asked again for a span that no upstream knew.
	doubtPause = 30 * time.Second
	// answerAge is how long the answer is believed that something does not exist.
	answerAge = 10 * time.Minute
)

// span is the range of locations from one up to, but without, another.
type span struct{ from, to moqt.Location }

func (s span) empty() bool { return !s.from.Less(s.to) }

func startOf(group uint64) moqt.Location { return moqt.Location{Group: group} }

// half turns the end of a FETCH, where Object 0 means the whole group, into the location behind the last one.
func half(end moqt.Location) moqt.Location {
	if end.Object == 0 {
		return startOf(end.Group + 1)
	}
	return end
}

// full is the reverse of half; to must not be the start of group 0.
func full(to moqt.Location) moqt.Location {
	if to.Object == 0 {
		return startOf(to.Group - 1)
	}
	return to
}

// answers are spans of which everything is known: objects of them that are not stored do not exist. The spans are in order and do
// not touch.
type answers struct {
	mu    sync.Mutex
	spans []span
	since time.Time // when the first answer came
	epoch int       // the relay's epoch when they came
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

// drop forgets the answers about a span.
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

// of drops all answers that were given while there were other upstreams.
func (a *answers) of(epoch int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch != epoch {
		a.spans, a.epoch = nil, epoch
	}
}

// within returns the parts of some spans, which are in order, that are answered.
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

// forget drops all answers when the first one is older than age.
func (a *answers) forget(age time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.since) > age {
		a.spans = nil
	}
}

// without returns the parts of a span that are not answered.
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
