package torture

import (
	"fmt"
	"slices"
	"sort"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/psi"
)

// lacks tells whether c missed a packet that matters.
func (c *reception) lacks(s *Stream, i int32) bool {
	p := &s.packets[i]
	switch {
	case p.unit:
		return !c.got[s.tracks[p.data.PID()]][p.local]
	case p.kind == kindNull || p.kind == kindSI || p.kind == kindOther:
		return false
	}
	return !c.sure(i)
}

// known tells after which packet receiver c knows the program, and after which one identity and time, too.
func (j *judge) known(c *reception) (program, all int32) {
	s := j.s
	at, from := c.join, c.join
	for _, k := range []kind{kindPAT, kindPMT, kindIdentity} {
		begun := false
		found := int32(-1)
		pat := &s.states[0]
		if k == kindPMT {
			pat = &s.states[s.packets[at].state]
		}
		for i := from; i < int32(len(s.packets)); i++ {
			p := &s.packets[i]
			if k == kindPMT && p.kind == kindPAT && c.wholePAT(s, i) {
				pat = &s.states[p.state]
			}
			if p.kind != k || p.later || k == kindPMT && (p.data.PID() != pat.pmtPID || s.states[p.state].program != pat.program) {
				continue
			}
			if !c.sure(i) && !(c.r.H[rRemake] != 0 && !p.whole) {
				begun = false
				continue
			}
			if p.data.UnitStart() && (k != kindPAT || j.s.patSecs == 1 || !p.whole) {
				begun = true
			}
			if p.whole && (begun || c.r.H[rRemake] != 0 && k == kindPAT) {
				found = i
				break
			}
		}
		if found < 0 {
			return -1, -1
		}
		at = max(at, found)
		if k == kindPMT {
			program, from = at, at
		}
	}
	for !s.packets[at].pcr && int(at) < len(s.packets)-1 { // without a PCR a time means nothing
		at++
	}
	all = j.timeAfter(c, at)
	if !s.atsc && s.spec.H[hTOT] == 0 { // without a second TDT behind it, or where one was lost, there may be a TOT
		begun := false
		for i := c.join; int(i) < len(s.packets); i++ {
			if s.packets[i].kind != kindTime {
				continue
			}
			if begun && !c.sure(i) {
				return program, -1
			}
			begun = begun || c.heard[i] // also one that may have been heard: a counter behind that one shows what was lost
		}
		for next := int32(0); all >= 0; all = j.timeAfter(c, all) {
			if next = j.time(all); next >= 0 && c.sure(next) {
				break
			}
		}
	}
	return program, all
}

// tells tells whether a packet is a time table; TDT are none where TOT are sent.
func (j *judge) tells(p *packet) bool {
	return p.kind == kindTime && (j.s.spec.H[hTOT] == 0 || p.data.Payload()[1] == psi.TableTOT)
}

// time is the next time table that was sent after a packet.
func (j *judge) time(at int32) int32 {
	for i := at + 1; i < int32(len(j.s.packets)); i++ {
		if j.tells(&j.s.packets[i]) {
			return i
		}
	}
	return -1
}

// timeAfter is the next one of them that c heard, and can tie to a PCR.
func (j *judge) timeAfter(c *reception, at int32) int32 {
	for at = j.time(at); at >= 0 && !(c.sure(at) && j.tied(c, at)); {
		at = j.time(at)
	}
	return at
}

// tied tells whether a time table counts on the clock of the next PCR: near an edge it does not if that PCR alone announces a step.
func (j *judge) tied(c *reception, at int32) bool {
	if j.s.spec.H[hDisc] == 1 || !j.nearEdge(j.s.packets[at].seg) {
		return true
	}
	for ; int(at) < len(j.s.packets); at++ {
		if p := &j.s.packets[at]; p.pcr && c.heard[at] && (c.sure(at) || p.data.Discontinuity()) {
			return !p.data.Discontinuity()
		}
	}
	return true
}

// edge is how near to an edge of its name a clock may lie where c could lose what tells of a step.
const edge = 60 * second

// nearEdge tells whether the clock is, or was before an earlier step, so near to an edge of its name.
func (j *judge) nearEdge(seg int16) bool {
	return slices.Min(j.s.edges[:seg+1]) < edge+j.s.jitter
}

// lapsed tells whether c has lost packets since it heard the time last before the chunk that begins there, or could not read some in it, and a step that
// may have been among them would change the names.
func (j *judge) lapsed(c *reception, begin, end int32) bool {
	near := j.nearEdge(j.s.packets[begin].seg)
	for p, last := c.join, int32(-1); p < begin; p++ {
		if q := &j.s.packets[p]; q.pcr && c.sure(p) {
			near = near || last >= 0 && j.silent(c, last, p)
			last = p
		}
	}
	if !near {
		return false
	}
	lost := int32(-1) // where the last loss showed
	for _, l := range append(c.doubts, c.losses...) {
		if l.next < begin {
			lost = max(lost, l.next)
		}
	}
	pcr := true
	for p := c.join; p < begin; p++ {
		q := &j.s.packets[p]
		switch {
		case c.dark[p] || q.pcr && !c.sure(p):
			pcr = false
		case !pcr && q.pcr:
			pcr, lost = true, max(lost, p)
		}
	}
	if !pcr || slices.Contains(c.dark[begin:end], true) { // what it could not read may have been a PCR
		return true
	}
	t := j.timeAfter(c, lost)
	return lost >= 0 && (t < 0 || t >= begin)
}

// proves tells whether a random access point on one clock proves where chunks start on another: not if counters started anew in between, unless decoding
// times step there and not every PCR announces a step, because then a counter that jumps tells of a step and not of a loss.
func (s *Stream) proves(from, to int16) bool {
	if from == to || s.spec.H[hStep] != 2 {
		return true
	}
	d := mod(s.base[to]-s.base[from]+wrap/2, wrap) - wrap/2
	return s.spec.H[hDisc] != 1 && (d < -4*second || d > 10*second) // access units may be 3 s apart
}

// clockTold is the packet up to which c cannot know whether the clock had stepped before a packet: the next PCR, if every PCR announces a step and one
// would change the names there.
func (j *judge) clockTold(c *reception, at int32) int32 {
	if j.s.spec.H[hDisc] != 1 || !j.nearEdge(j.s.packets[at].seg) {
		return at
	}
	for int(at) < len(j.s.packets)-1 && !(j.s.packets[at].pcr && c.sure(at)) {
		at++
	}
	return at
}

// silent tells whether the clock may have stepped between two PCRs that c heard one after the other: a minute passed; or every PCR announces a step, and
// for 250 ms none came, and no counter has shown that packets of their PID were lost.
func (j *judge) silent(c *reception, from, to int32) bool {
	d := j.s.packets[to].at - j.s.packets[from].at
	if d > 60*second || d <= second/4 || j.s.spec.H[hDisc] != 1 {
		return d > 60*second
	}
	return !slices.ContainsFunc(c.losses, func(l loss) bool {
		return slices.ContainsFunc(j.s.states, func(st state) bool { return st.pcrPID == l.track.pid }) && !l.invisible && l.next > from && l.next < to && c.sure(l.next)
	})
}

// live checks that every chunk which must be promoted was promoted.
func (j *judge) live(i int) {
	s, c := j.s, j.all[i]
	program, known := j.known(c)
	var list []*chunk
	if c.r.whole() {
		list = j.chunks[i]
	} else { // a chunk is where one that got everything found it
		for k := range j.all {
			if j.all[k].r.whole() && (j.all[k].number == c.number || s.spec.H[hNumber] == 0) {
				list = j.chunks[k]
				break
			}
		}
	}
	var chunks []*chunk
	for _, ch := range list {
		if ch.start >= 0 {
			chunks = append(chunks, ch)
		}
	}
	slices.SortStableFunc(chunks, func(a, b *chunk) int { return int(a.begin - b.begin) })
	if known < 0 || c.err != nil && c.number != 0 && s.spec.H[hNumber] != 0 { // the first PAT that it heard did not list the program
		return
	}
	s.restarts(c, program)
	raps := map[*track][]int32{} // packets with which the PES packets of random access points begin, since c knew the program
	for _, t := range s.cuts {
		for n := range t.aus {
			if t.shows(n) {
				local := sort.Search(len(t.starts), func(k int) bool { return int(t.starts[k]) > t.unit(n) }) - 1
				if at := t.index[local]; at > program {
					raps[t] = append(raps[t], at)
				}
			}
		}
	}
	stepIn := func(from, to int32) bool { return s.packets[from].seg != s.packets[to].seg }
	if c.r.whole() && (c.number == 0 || s.spec.H[hNumber] == 0) {
		for k := 0; k+1 < len(chunks); k++ {
			a, oka := s.randomAccess(chunks[k].cut, chunks[k].start)
			b, okb := s.randomAccess(chunks[k+1].cut, chunks[k+1].start)
			if chunks[k].cut == chunks[k+1].cut && oka && okb && !stepIn(chunks[k].begin, chunks[k+1].begin) && b.shown-a.shown > 3*second+s.longest {
				j.res.add(TooLong, i, fmt.Sprintf("group %d", chunks[k].entry.Group), "%.1f s, random access points are at most %.1f s apart", float64(b.shown-a.shown)/second, float64(s.longest)/second)
			}
		}
		begin := program
		if n := len(chunks); n > 0 {
			begin = chunks[n-1].begin
		}
		if n := len(chunks); s.packets[len(s.packets)-1].at-s.packets[begin].at > 4*second+s.longest {
			j.res.add(TooLong, i, "", "%d chunks, the last does not end", n)
		}
	}
	for k := 0; k+2 < len(chunks); k++ {
		ch := chunks[k]
		after, end := chunks[k+1], chunks[k+2].begin
		end = max(end, ch.to, after.to)
		if !c.r.whole() {
			end = max(end, s.opened(chunks[k+2].cut, chunks[k+2].start))
		}
		if ch.begin <= known || stepIn(ch.from, j.clockTold(c, end)) || s.renames(ch.from, s.nextPAT(c, end)) || s.cutMoves(ch.from, after.begin) || !j.follows(c, ch.begin) {
			continue
		}
		if c.number != 0 && s.states[s.at(ch.begin)].program != c.number {
			continue // the program that it asks for has gone
		}
		if back := s.returned(c, ch.begin); back >= 0 { // nobody knows what its clock did meanwhile
			for int(back) < len(s.packets)-1 && !(s.packets[back].pcr && c.sure(back)) {
				back++
			}
			if t := j.timeAfter(c, back); t < 0 || t >= ch.begin {
				continue
			}
		}
		seg := s.packets[ch.begin].seg
		if seg > 0 { // the clock that counts began here: time must have been heard on it
			first := int32(sort.Search(len(s.packets), func(k int) bool { return s.packets[k].seg >= seg }))
			t := j.timeAfter(c, first)
			deaf := !c.sure(first) || s.spec.H[hDisc] == 1 && !c.r.whole() // where every PCR announces a step, a loss before it hides one
			for n := 0; n < 3 && t >= 0 && deaf; n++ {                     // it did not hear of the step: the time tells
				t = j.timeAfter(c, t)
			}
			if t < 0 || ch.begin <= t {
				continue
			}
		}
		before := false
		for _, r := range raps[ch.cut] {
			before = before || r < ch.from && r > s.cutSince(c, ch.begin) && s.proves(s.packets[r].seg, seg)
		}
		if !before {
			continue
		}
		change := false
		for p := ch.from; p <= end; p++ {
			change = change || s.packets[p].change
		}
		promise := NotPromoted
		mine := ch
		if c.r.whole() && slices.ContainsFunc(c.doubts, func(l loss) bool { return l.last < end && l.next >= chunks[max(k-1, 0)].from }) {
			continue
		}
		if !c.r.whole() {
			promise = NotHealed
			if k == 0 || chunks[k-1].begin <= known || stepIn(chunks[k-1].from, end) || s.cutMoves(chunks[k-1].from, end) || !j.follows(c, chunks[k-1].from) {
				continue
			}
			lost := change
			for _, l := range append(c.doubts, c.losses...) { // where in between it happened nobody knows
				lost = lost || !l.moved && l.last < end && (l.next < 0 || l.next >= chunks[k-1].from)
			}
			for _, p := range c.cut { // what lay in bytes that are missing nobody knows
				lost = lost || p >= chunks[k-1].from && p <= end
			}
			for p := 1; p < len(s.packets); p++ { // nor where the clock stepped, if its announcement was lost
				if s.packets[p].seg != s.packets[p-1].seg && !c.sure(int32(p)) {
					next := int32(p)
					for int(next) < len(s.packets)-1 && !(c.sure(next) && s.packets[next].pcr) {
						next++
					}
					lost = lost || int32(p) < end && next >= chunks[k-1].from
				}
			}
			for p := chunks[k-1].from; p <= end; p++ {
				lost = lost || c.lacks(s, p)
			}
			// Where PCRs were lost for a second, the clock may have stepped anywhere up to the next one.
			for p, last := c.join, int32(-1); p <= end; p++ {
				if q := &s.packets[p]; q.pcr && c.sure(p) {
					lost = lost || last >= 0 && p >= chunks[k-1].from && q.at-s.packets[last].at > second
					last = p
				}
			}
			if lost {
				continue
			}
			if j.lapsed(c, ch.begin, end) {
				j.res.Lapsed++
				continue
			}
			mine = nil
			for _, m := range j.chunks[i] {
				if m.start == ch.start && m.cut == ch.cut {
					mine = m
				}
			}
		}
		if change {
			promise = NotAtChange
		}
		j.res.Due++
		if mine != nil && mine.entry.Scope == catalog.ScopeBroadcast {
			j.res.DueDone++
			continue
		}
		if mine != nil && j.shared(i, mine) {
			j.res.Due--
			j.res.Chance++
			continue
		}
		why := "it has no such chunk"
		if mine != nil {
			why = fmt.Sprintf("%s %+v", mine.entry.Reason, mine.entry.Damage)
			if mine.entry.Damage == nil {
				why = mine.entry.Reason
			}
		}
		j.res.add(promise, i, fmt.Sprintf("group %d", ch.entry.Group), "%s", why)
	}
}
