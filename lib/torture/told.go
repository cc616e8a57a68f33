package torture

import (
	"fmt"
	"slices"

	"every.channel/ec/lib/object"
)

// span is a run of packets of the broadcast.
type span struct{ from, to int32 }

// tell finds out from the packets when tables said what.
func (s *Stream) tell() {
	for n := 1; n < len(s.states); n++ { // all tables of a change come one after another
		st := &s.states[n]
		for st.told = st.from; int(st.told)+1 < len(s.packets) && s.packets[st.told+1].kind <= kindPMT && s.packets[st.told+1].kind >= kindPAT; st.told++ {
		}
	}
	end := int32(len(s.packets))
	said := make([]int32, len(s.titles)) // the first packet with each title
	for i := range said {
		said[i] = end
	}
	for i := len(s.packets) - 1; i >= 0; i-- {
		if p := &s.packets[i]; p.kind == kindIdentity {
			said[p.state] = int32(i)
		}
	}
	// SDT and VCT change somewhat before or after PAT and PMT. In between either name may count.
	matched := map[int]bool{}
	for k := range s.titles {
		w := span{said[k], said[k]}
		for n := 1; n < len(s.states) && k > 0; n++ {
			st, was := &s.states[n], &s.states[n-1]
			if st.tsid == was.tsid && st.program == was.program || int(said[k]) >= len(s.packets) {
				continue
			}
			if d := s.packets[min(st.from, end-1)].at - s.packets[said[k]].at; d < second*3/2 && d > -second*3/2 {
				w = span{min(w.from, st.from), max(w.to, st.told)}
				matched[n] = true
			}
		}
		s.renamed = append(s.renamed, w)
	}
	for n := 1; n < len(s.states); n++ {
		if st, was := &s.states[n], &s.states[n-1]; (st.tsid != was.tsid || st.program != was.program) && !matched[n] {
			s.nameless = append(s.nameless, span{st.from, end})
		}
	}
}

// name is the namespace that SDT or VCT give.
func (s *Stream) name(t title) object.Namespace {
	if s.atsc {
		return object.Namespace{"ec", "atsc", fmt.Sprint(t.tsid), fmt.Sprint(t.program)}
	}
	return object.Namespace{"ec", "dvb", fmt.Sprint(t.onid), fmt.Sprint(t.tsid), fmt.Sprint(t.program)}
}

// titled tells whether a namespace is the broadcast's somewhere between two packets.
func (s *Stream) titled(n object.Namespace, from, to int32) bool {
	for k, t := range s.titles {
		if n.Equal(s.name(t)) && (k == 0 || s.renamed[k].from <= to) && (k+1 == len(s.titles) || s.renamed[k+1].to >= from) {
			return true
		}
	}
	return false
}

// renames tells whether the broadcast's name changes between two packets.
func (s *Stream) renames(from, to int32) bool {
	in := func(w span) bool { return w.from <= to && w.to >= from }
	return len(s.renamed) > 0 && slices.ContainsFunc(s.renamed[1:], in) || slices.ContainsFunc(s.nameless, in)
}

// nextPAT is the first PAT that c heard from a packet on: up to there another name counts for the chunk before.
func (s *Stream) nextPAT(c *reception, from int32) int32 {
	for int(from) < len(s.packets)-1 && !(s.packets[from].kind == kindPAT && c.wholePAT(s, from)) {
		from++
	}
	return from
}

// at is what PAT and PMT say where a packet was sent, and what they said before.
func (s *Stream) at(i int32) (n int) {
	for n+1 < len(s.states) && s.states[n+1].from <= i {
		n++
	}
	return n
}

// cutMoves tells whether chunks are cut on another PID between two packets.
func (s *Stream) cutMoves(from, to int32) bool {
	for n := 1; n < len(s.states); n++ {
		if st := &s.states[n]; st.cut != s.states[n-1].cut && st.from <= to && st.told >= from {
			return true
		}
	}
	return false
}

// cutSince is the packet that made the PID the one that chunks are cut on where a packet was sent, as far as c knows: it follows the PMT only
// while the program has the number that c asks for.
func (s *Stream) cutSince(c *reception, i int32) int32 {
	n := s.at(i)
	for n > 0 && s.states[n].cut == s.states[n-1].cut && (c.number == 0 || s.states[n-1].program == c.number) {
		n--
	}
	if n == 0 {
		return -1
	}
	return s.states[n].told
}

// returned is the packet from which on PAT and PMT tell of the program that c asks for again; −1 if it has not been away before a packet.
func (s *Stream) returned(c *reception, i int32) int32 {
	for n := s.at(i); n > 0 && c.number != 0; n-- {
		if s.states[n].program == c.number && s.states[n-1].program != c.number && s.states[n].from > c.join {
			return s.states[n].told
		}
	}
	return -1
}

// isCut tells whether chunks are cut on a PID at any time.
func (s *Stream) isCut(t *track) bool { return slices.Contains(s.cuts, t) }

// relisted tells whether the packets of a PID between two of them may be in no chunk, because a PMT lists the PID anew, or makes
// another PID the one that chunks are cut on.
func (s *Stream) relisted(t *track, last, next int32) bool {
	for n := 1; n < len(s.states); n++ {
		st, was := &s.states[n], &s.states[n-1]
		if last < st.told && s.again(next) >= st.from && (st.cut != was.cut || slices.Contains(st.listed, t) && !slices.Contains(was.listed, t)) {
			return true
		}
	}
	return false
}

// wholePAT tells whether c heard all of the PAT that ends with a packet.
func (c *reception) wholePAT(s *Stream, i int32) bool {
	if !c.sure(i) || !s.packets[i].whole {
		return false
	}
	for k := i - 1; s.patSecs > 1 && c.r.H[rRemake] == 0 && k >= 0; k-- {
		if s.packets[k].kind == kindPAT {
			return c.sure(k)
		}
	}
	return true
}

// follows tells whether c had heard, before a packet, the PAT, the PMT and the SDT or VCT that count there.
func (j *judge) follows(c *reception, begin int32) bool {
	s := j.s
	n := s.at(begin)
	pat, pmt := n, n
	for pat > 0 && s.states[pat].pat == s.states[pat-1].pat {
		pat--
	}
	for pmt > 0 && s.states[pmt].pmt == s.states[pmt-1].pmt && s.states[pmt].pmtPID == s.states[pmt-1].pmtPID {
		pmt--
	}
	title := 0
	for title+1 < len(s.renamed) && s.renamed[title+1].to < begin {
		title++
	}
	hasPAT, hasPMT, hasTitle := pat == 0, pmt == 0, title == 0
	from := c.join
	if pat > 0 {
		from = min(from, s.states[pat].from)
	}
	for i := from; i < begin; i++ {
		p := &s.packets[i]
		switch p.kind {
		case kindPAT:
			hasPAT = hasPAT || int(p.state) >= pat && c.wholePAT(s, i)
		case kindPMT:
			hasPMT = hasPMT || hasPAT && int(p.state) >= pmt && !p.later && p.whole && c.sure(i)
		case kindIdentity:
			hasTitle = hasTitle || int(p.state) == title && c.sure(i)
		}
	}
	return hasPAT && hasPMT && hasTitle
}

// unseen tells whether receiver i cannot know that the broadcast's name has changed before a chunk had its name: it heard no SDT or VCT since, or,
// if that was in the chunk, none before, and the PAT that it hears has one transport_stream_id and one program_number.
func (j *judge) unseen(i int, ch *chunk) bool {
	s, c := j.s, j.all[i]
	named := ch.to // then the chunk had its name
	if c.r.H[rPart] != 0 {
		named = ch.from
		for _, p := range ch.owner {
			if p.object == 0 {
				named = max(named, p.track.index[p.last])
			}
		}
	}
	for k := 1; k < len(s.titles); k++ {
		was, now := s.titles[k-1], s.titles[k]
		if was.program != now.program || was.tsid != now.tsid && c.r.H[rRemake] != 2 {
			continue
		}
		before, since := false, false
		for p := c.join; p <= named; p++ {
			if s.packets[p].kind == kindIdentity && c.sure(p) {
				now := int(s.packets[p].state)
				before, since = before || now == k-1, since || now >= k
			}
		}
		if !since && (s.renamed[k].from <= named || !before) || !before && s.renamed[k].to >= ch.from { // the first one may come just behind the chunk
			return true
		}
	}
	return false
}
