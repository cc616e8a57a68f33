package torture

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// lossesIn lists what receiver i lost between two packets of the broadcast.
func (c *reception) lossesIn(from, to int32) (list []*loss) {
	for k := range c.losses {
		l := &c.losses[k]
		first := l.from
		if l.from <= to && (l.to >= from || first >= from) {
			list = append(list, l)
		}
	}
	return list
}

// sparse tells whether a loss may be told late: its PID is heard now and then only, or paused.
func (j *judge) sparse(l *loss) bool {
	if l.track.kind == kindSparse {
		return true
	}
	if j.s.isCut(l.track) || l.next < 0 {
		return false
	}
	first := sort.Search(len(l.track.index), func(i int) bool { return l.track.index[i] >= l.from })
	for k := first; k+1 < len(l.track.index) && l.track.index[k] < l.next; k++ {
		if j.s.packets[l.track.index[k+1]].at-j.s.packets[l.track.index[k]].at > second {
			return true
		}
	}
	return false
}

// told reports whether receiver i told in time, afterwards, that a group may lack packets.
func (j *judge) told(i int, group uint64, l *loss) bool {
	c := j.all[i]
	for k := range c.entries {
		e := &c.entries[k]
		if e.Group != group || !e.Late && (e.Promoted == 0 || e.Damage == nil) {
			continue // parts may have gone out before the chunk's own entry tells
		}
		if l.next < 0 {
			return true
		}
		// It was written after the chunk before it was, so not before that began.
		at := int64(0)
		for _, ch := range j.chunks[i] {
			if ch.entry.after < e.after && ch.from >= 0 {
				at = max(at, j.s.packets[ch.from].at)
			}
		}
		if at <= j.s.packets[l.next].at+10*second {
			return true
		}
	}
	return false
}

// excused looks for a loss at receiver i that explains a wrong chunk: one that nothing shows, or one that is told late.
func (j *judge) excused(i int, group uint64, from, to int32) bool {
	c := j.all[i]
	if j.sixteenTables(c, from, to) || j.noMoreTables(c, to) {
		j.res.Invisible++
		return true
	}
	list := c.lossesIn(from, to)
	for _, l := range j.lostPMTs(c, from, to) {
		switch {
		case l.invisible:
			j.res.Invisible++
		case l.next < 0 && l.last >= from:
			j.res.Unripe++
		case j.told(i, group, &l):
			j.res.LateTold++
		default:
			continue
		}
		return true
	}
	for _, l := range list {
		if l.invisible {
			j.res.Invisible++
			return true
		}
	}
	for _, l := range list {
		if l.moved {
			continue
		}
		if j.told(i, group, l) {
			j.res.LateTold++
			return true
		}
		if !j.sparse(l) {
			continue
		}
		if l.next < 0 || j.s.packets[len(j.s.packets)-1].at < j.s.packets[l.next].at+10*second {
			j.res.Unripe++
			return true
		}
	}
	return false
}

// straddled tells whether one of two receivers lost a first copy, and one of the seams lies between the two copies, or the packet is a seam itself: what
// lies between the copies is then in one object or in the other.
func (j *judge) straddled(seams []int32, receivers ...int) bool {
	for _, i := range receivers {
		for k := range j.all[i].losses {
			l := &j.all[i].losses[k]
			for _, first := range seams {
				if l.moved && first <= l.to && l.from <= j.s.again(first) {
					return true
				}
			}
		}
	}
	return false
}

// seams are the packets with which an object begins, and the next one; behind the last object of a chunk also those with which the rest of audio ends to be
// looked for: access units half a second on, or on another clock.
func (j *judge) seams(ch *chunk, object int) (list []int32) {
	t := ch.cut
	for _, p := range ch.owner {
		if p.track == t && p.object == object {
			if len(list) == 0 {
				list = append(list, t.index[p.first], 0)
			}
			list[1] = t.index[min(int(p.last)+1, len(t.index)-1)]
		}
	}
	if object != len(ch.objects)-1 || len(list) == 0 {
		return list
	}
	next := -1
	for n, a := range t.aus {
		at := t.index[sort.Search(len(t.starts), func(k int) bool { return int(t.starts[k]) > a.at })-1]
		if at < list[1] {
			continue
		}
		if next < 0 {
			next = n
		}
		far, stepped := max(a.decoded-t.aus[next].decoded, t.aus[next].decoded-a.decoded), j.s.stepNear(at)
		if far >= second*4/10 || stepped {
			list = append(list, at)
		}
		if far >= second*7/10 {
			break
		}
	}
	return list
}

// stepNear tells whether the clock steps within a second of a packet: streams change over one after another.
func (s *Stream) stepNear(i int32) bool {
	at, seg := s.packets[i].at, s.packets[i].seg
	for k := i; k >= 0 && s.packets[k].at > at-second; k-- {
		if s.packets[k].seg != seg {
			return true
		}
	}
	for k := i; int(k) < len(s.packets) && s.packets[k].at < at+second; k++ {
		if s.packets[k].seg != seg {
			return true
		}
	}
	return false
}

// again is the index of the copy that follows a packet, or its own if none does.
func (s *Stream) again(i int32) int32 {
	pid := s.packets[i].data.PID()
	for k := i + 1; k < int32(len(s.packets)) && k < i+200; k++ {
		if p := &s.packets[k]; p.data.PID() == pid && p.unit {
			if p.copy {
				return k
			}
			break
		}
	}
	return i
}

// sixteenTables tells whether a multiple of 16 packets of the PMT in a row was lost around two packets: no counter shows that.
func (j *judge) sixteenTables(c *reception, from, to int32) bool {
	for p := from; p >= c.join; p-- {
		if j.s.packets[p].kind == kindPMT && c.sure(p) {
			from = p
			break
		}
	}
	n := 0
	for p := from + 1; p < int32(len(j.s.packets)); p++ {
		if j.s.packets[p].kind != kindPMT {
			continue
		}
		if c.heard[p] && n > 0 && n%16 == 0 {
			return true
		}
		if !c.sure(p) {
			n++
			continue
		}
		if n = 0; p > to {
			break
		}
	}
	return false
}

// lostPMTs lists where c lost the PMT between two packets.
func (j *judge) lostPMTs(c *reception, from, to int32) (list []loss) {
	last, lost := int32(-1), false
	heard := map[ts.PID]bool{}
	for p := c.join; int(p) < len(j.s.packets) && (p <= to || lost); p++ {
		q := &j.s.packets[p]
		if q.kind != kindPMT {
			continue
		}
		if c.sure(p) {
			if lost { // the first packet of a PID says nothing of those before
				l := &list[len(list)-1]
				l.next, l.invisible = p, !heard[q.data.PID()]
			}
			last, lost = p, false
			heard[q.data.PID()] = true
			continue
		}
		if !lost {
			list = append(list, loss{from: p, last: last, next: -1})
		}
		lost = true
		list[len(list)-1].to = p
	}
	return slices.DeleteFunc(list, func(l loss) bool { return l.to < from })
}

// noMoreTables tells whether c had heard the PMT before a packet, but no two of them within 10 s, and lost all that follow: H.222.0 does not ask
// for a second one, and no counter shows the loss.
func (j *judge) noMoreTables(c *reception, to int32) bool {
	heard, lost := int64(-1), false
	for p := c.join; int(p) < len(j.s.packets); p++ {
		q := &j.s.packets[p]
		switch {
		case q.kind != kindPMT:
		case !c.sure(int32(p)):
			lost = true
		case p > to || heard >= 0 && q.at-heard < 10*second:
			return false
		default:
			heard, lost = q.at, false
		}
	}
	return heard >= 0 && lost
}

// lost describes the losses between two packets.
func (j *judge) lost(i int, from, to int32) string {
	var b strings.Builder
	for n, l := range j.all[i].lossesIn(from, to) {
		if n == 4 {
			b.WriteString(" …")
			break
		}
		fmt.Fprintf(&b, " PID %#x packets %d–%d", l.track.pid, l.from, l.to)
	}
	if b.Len() == 0 {
		return "it lost nothing there"
	}
	return "lost" + b.String()
}

// around returns the packets that a chunk and the chunk before it span, to find out whether a loss can explain a difference.
func (j *judge) around(i int, ch *chunk) (from, to int32) {
	from, to = ch.from, ch.to
	var before int32
	for _, o := range j.chunks[i] {
		if o.from >= 0 && o.from < ch.from {
			before = max(before, o.from)
		}
	}
	// Where it ends depends on what follows.
	for _, r := range ch.runs {
		if t := r.track; t == ch.cut {
			to = max(to, t.index[min(int(r.last)+20, len(t.index)-1)])
		}
	}
	return min(from, before), to
}

// misled tells whether receiver i had not heard enough time tables, since it joined or lost something, to know that one of them is wrong.
func (j *judge) misled(i int, ch *chunk) bool {
	switch j.s.spec.H[hIllegal] {
	case 2:
		return j.noTOT(j.all[i])
	case 3:
	default:
		return false
	}
	n, since := 0, j.all[i].join
	for _, l := range j.all[i].losses { // a step may have been among them
		if l.next < ch.from {
			since = max(since, l.next)
		}
	}
	for p := since; p < ch.from; p++ {
		if q := &j.s.packets[p]; j.tells(q) && j.all[i].sure(p) && q.seg == j.s.packets[ch.from].seg {
			n++
		}
	}
	return n < 4
}

// noTOT tells whether the input of c ended within 30 s, with no TOT in it since c knew the program, and no counter that showed that one was lost.
func (j *judge) noTOT(c *reception) bool {
	program, _ := j.known(c)
	packets := j.s.packets
	heard, lost := false, 0
	for p := max(program, c.join); int(p) < len(packets); p++ {
		switch q := &packets[p]; {
		case q.kind != kindTime:
		case !c.heard[p]:
			lost++
		case q.data.Payload()[1] == psi.TableTOT || heard && lost%16 != 0:
			return false
		default:
			heard, lost = true, 0
		}
	}
	return packets[len(packets)-1].at-packets[c.join].at < 30*second
}

// restarts notes where counters start anew behind a step of the clock that c did not hear of, or before it knew the program: each shows a loss since the
// last packet of its PID, though nothing was lost there.
func (s *Stream) restarts(c *reception, program int32) {
	for at := 1; at < len(s.packets); at++ {
		if s.packets[at].seg == s.packets[at-1].seg || c.sure(int32(at)) && int32(at) > program {
			continue
		}
		known := s.shows(c, program, int32(at))
		for t, got := range c.got {
			last := int32(-1)
			for k, here := range got {
				if i := t.index[k]; here && last >= 0 && i > int32(at) && i < known && s.packets[i].jump {
					c.doubts = append(c.doubts, loss{track: t, last: last, from: last, to: i, next: i})
				}
				if here {
					last = t.index[k]
				}
			}
		}
	}
}

// shows is the first PCR that c heard behind a step, if it shows the step though the announcement was lost: it is before the last one that c heard, or
// ahead of it by more than a minute. If it does not, nothing tells of the step.
func (s *Stream) shows(c *reception, program, at int32) int32 {
	last := int64(-1)
	for i := range s.packets {
		p := &s.packets[i]
		if !p.pcr || !c.sure(int32(i)) || int32(i) <= program {
			continue
		}
		v, _ := p.data.PCR()
		if int32(i) > at {
			if last >= 0 && mod(int64(v)-last, wrap) > 60*second {
				return int32(i)
			}
			break
		}
		last = int64(v)
	}
	return int32(len(s.packets))
}
