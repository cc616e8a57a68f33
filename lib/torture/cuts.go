package torture

import (
	"fmt"
	"slices"
	"sort"

	"every.channel/ec/lib/catalog"
)

// randomAccess tells whether a chunk that begins at offset start of the cut track begins with a random access point: with
// the access unit, or where PES packets are not aligned, with the PES packet in which it commences.
func (s *Stream) randomAccess(t *track, start int) (accessUnit, bool) {
	from := start
	pes := s.spec.H[hPES]
	if t.kind == kindAudio {
		pes = 0
	}
	if pes == 3 {
		from -= 4 // PES packets may part a start code; what it starts can be decoded all the same
	}
	i := sort.Search(len(t.aus), func(i int) bool { return t.aus[i].at >= from })
	end := len(t.bytes)
	if k := sort.SearchInts(t.units, start+1); k < len(t.units) {
		end = t.units[k]
	}
	for ; i < len(t.aus) && t.aus[i].at < end; i++ {
		if t.aus[i].rap {
			return t.aus[i], true
		}
		if pes < 2 {
			break
		}
	}
	return accessUnit{}, false
}

// opened is the packet by which whoever hears all of them knows that a chunk begins at offset start of the cut track: the random access
// point may lie deep in its PES packet, and is over where the next access unit commences.
func (s *Stream) opened(t *track, start int) int32 {
	a, ok := s.randomAccess(t, start)
	if !ok {
		return -1
	}
	i := sort.Search(len(t.aus), func(i int) bool { return t.aus[i].at > a.at })
	if i == len(t.aus) {
		return int32(len(s.packets) - 1)
	}
	return t.index[sort.Search(len(t.starts), func(k int) bool { return int(t.starts[k]) > t.aus[i].at })-1]
}

// cuts: a chunk starts at a random access point.
func (j *judge) cuts(i int) {
	whole := j.all[i].r.whole() && (j.all[i].number == 0 || j.s.spec.H[hNumber] == 0) // the PMT of a program that has gone is not followed
	for _, ch := range j.chunks[i] {
		if ch.start < 0 || ch.wide == 0 && (!whole || ch.entry.Reason == catalog.ReasonDiscontinuity) {
			continue
		}
		if h := &j.s.spec.H; h[hPES] == 3 && h[hRAI] == 2 && ch.cut.kind == kindVideo {
			continue // an access unit goes on in the next PES packet, and the flag says that this one is a random access point
		}
		if _, ok := j.s.randomAccess(ch.cut, ch.start); !ok {
			from, to := j.around(i, ch)
			if ch.wide > 0 && j.excused(i, ch.entry.Group, from, to) {
				continue
			}
			j.res.add(NoRAP, i, fmt.Sprintf("group %d", ch.entry.Group), "%s %s, starts at byte %d of the PID", ch.entry.Scope, ch.entry.Reason, ch.start)
		}
	}
}

// complete checks that every kept packet from the first chunk on is in a chunk.
func (j *judge) complete(i int) {
	for _, t := range j.s.order {
		if t.kind == kindSparse {
			continue
		}
		var runs []run
		for _, ch := range j.chunks[i] {
			for _, r := range ch.runs {
				if r.track == t {
					runs = append(runs, r)
				}
			}
		}
		slices.SortFunc(runs, func(a, b run) int { return int(a.first - b.first) })
		for k := 1; k < len(runs); k++ {
			if runs[k].first > runs[k-1].last+1 && !j.s.relisted(t, t.index[runs[k-1].last], t.index[runs[k-1].last+1]) {
				j.res.add(Incomplete, i, fmt.Sprintf("PID %#x", t.pid), "packets %d to %d of the PID are in no chunk", runs[k-1].last+1, runs[k].first-1)
				break
			}
		}
	}
}
