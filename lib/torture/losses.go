package torture

import "slices"

// loss is a run of packets of one PID that a receiver did not get.
type loss struct {
	track     *track
	last      int32 // index of the packet of the PID that it got before, −1: none
	from, to  int32 // indexes of the first and the last packet lost
	next      int32 // index of the packet of the PID that it got next, −1: none
	invisible bool  // by H.222.0 nothing shows it
	moved     bool  // nothing is lost but the first copy: the second stands behind packets of other PIDs
}

// account finds what was lost, by PID, and whether anything shows it.
func (s *Stream) account(c *reception, all []arrival) {
	c.heard = make([]bool, len(s.packets))
	c.dark = make([]bool, len(s.packets))
	c.unsure = make([]bool, len(s.packets))
	got := map[*track][]bool{}
	c.got = got
	torn := map[int32]bool{}
	var tei, near []int32 // near: behind bytes that are missing
	tear := false
	for _, t := range s.order {
		got[t] = make([]bool, len(t.starts))
	}
	for i := range all {
		a := &all[i]
		p := &s.packets[a.index]
		if a.torn && a.data.TransportError() && !a.drop {
			tei = append(tei, a.index)
		}
		if a.torn && !a.data.TransportError() && !a.drop {
			torn[a.index] = true
			c.cut = append(c.cut, a.index)
		}
		c.dark[a.index] = c.dark[a.index] || a.torn && !a.drop
		if a.drop {
			continue
		}
		behind := tear
		tear = a.torn && !a.data.TransportError()
		if a.torn || i == 0 && c.r.H[rJoinByte] > 0 {
			continue
		}
		c.heard[a.index] = true
		c.unsure[a.index] = behind
		if !p.unit {
			continue
		}
		if behind {
			near = append(near, a.index)
		}
		got[s.tracks[p.data.PID()]][p.local] = true
	}
	// A copy that takes the place of a lost packet stands elsewhere if others were sent between the two.
	for i := range s.packets {
		p := &s.packets[i]
		if !p.copy || !p.unit || !c.heard[i] {
			continue
		}
		t := s.tracks[p.data.PID()]
		first := t.index[p.local]
		if c.sure(first) || first < c.join {
			continue
		}
		for k := first + 1; k < int32(i); k++ {
			if s.packets[k].unit || s.packets[k].kind == kindPMT {
				c.losses = append(c.losses, loss{track: t, last: first, from: first, to: int32(i), next: int32(i), moved: true})
				break
			}
		}
	}
	for i := range s.packets { // without what announces it, a counter that jumps shows a loss
		if !s.packets[i].announces || c.sure(int32(i)) || int32(i) < c.join {
			continue
		}
		t := s.tracks[s.packets[i].data.PID()]
		l := loss{track: t, last: -1, from: int32(i), to: int32(i), next: -1}
		for k, at := range t.index {
			switch {
			case !got[t][k]:
			case at < int32(i):
				l.last = at
			case l.next < 0:
				l.next = at
			}
		}
		c.losses = append(c.losses, l)
	}
	for _, i := range near { // what is left of a torn packet may be taken for a whole one, with the first bytes of this one
		t, k := s.tracks[s.packets[i].data.PID()], s.packets[i].local
		l := loss{track: t, last: -1, from: i, to: i, next: -1}
		for before := k - 1; before >= 0 && l.last < 0; before-- {
			if got[t][before] {
				l.last = t.index[before]
			}
		}
		for after := k + 1; int(after) < len(t.index) && l.next < 0; after++ {
			if got[t][after] {
				l.next = t.index[after]
			}
		}
		c.doubts = append(c.doubts, l)
	}
	if len(tei) >= 16 {
		for _, t := range s.order {
			last := c.join
			for k := 0; k <= len(t.index); k++ {
				next := int32(len(s.packets))
				if k < len(t.index) {
					next = t.index[k]
					if next < c.join || !got[t][k] {
						continue
					}
				}
				a, _ := slices.BinarySearch(tei, last)
				b, _ := slices.BinarySearch(tei, next)
				if b-a >= 16 {
					c.doubts = append(c.doubts, loss{track: t, last: last, from: last, to: next, next: next})
				}
				last = next
			}
		}
	}
	for _, t := range s.order {
		have := got[t]
		last := int32(-1)
		for i := 0; i < len(have); i++ {
			if t.index[i] < c.join || i == 0 && have[i] {
				if have[i] {
					last = t.index[i]
				}
				continue
			}
			if have[i] {
				last = t.index[i]
				continue
			}
			k := i
			shown, rent := false, span{-1, -1} // rent: the torn packets among them
			for ; k < len(have) && !have[k]; k++ {
				if torn[t.index[k]] {
					rent.to = t.index[k]
					if rent.from < 0 {
						rent.from = rent.to
					}
				}
			}
			l := loss{track: t, last: last, from: t.index[i], to: t.index[k-1], next: -1}
			if k < len(have) {
				l.next = t.index[k]
				b := &s.packets[l.next]
				if last >= 0 {
					// Where the clock steps, a counter that jumps and says so tells of nothing after the step (H.222.0 §2.4.3.5).
					l.invisible = b.jump || b.data.Discontinuity() && b.seg != s.packets[last].seg || c.goesOn(s, last, l.next)
				} else {
					l.invisible = true // the first packet of a PID says nothing of those before
				}
			} else {
				l.invisible = true
			}
			if !shown && l.invisible && last >= 0 && l.next >= 0 && !s.packets[l.next].jump { // so many unreadable packets may hide sixteen
				n := 0
				for _, at := range tei {
					if at > last && at < l.next {
						n++
					}
				}
				shown = n >= 16
			}
			if shown {
				l.invisible = false
			}
			if last >= 0 && slices.Contains(near, last) { // the packet before may not have been heard, either: then the one before that tells, if there is one
				before := int32(-1)
				for h := i - 1; h >= 0 && t.index[h] >= c.join; h-- {
					if have[h] && t.index[h] != last {
						before = t.index[h]
						break
					}
				}
				l.invisible = l.invisible || before < 0
			}
			if rent.from >= 0 { // missing bytes show where they are missing; what is left of a torn packet may be taken for a whole one, on whose counter others go on
				before, behind := l, l
				before.to, behind.from = rent.from-1, rent.to+1
				before.invisible = l.invisible || last >= 0 && c.goesOn(s, last, rent.from)
				behind.invisible = l.invisible || l.next >= 0 && c.goesOn(s, rent.to, l.next)
				l.from, l.to, l.invisible = rent.from, rent.to, false
				for _, l := range []loss{before, behind} {
					if slices.ContainsFunc(t.index[i:k], func(at int32) bool { return at >= l.from && at <= l.to }) {
						c.losses = append(c.losses, l)
					}
				}
			}
			c.losses = append(c.losses, l)
			i = k - 1
		}
	}
}

// sure tells whether c heard a packet for sure: just behind missing bytes it may not have.
func (c *reception) sure(i int32) bool { return c.heard[i] && !c.unsure[i] }

// goesOn tells whether the counter of a packet goes on from the one of its PID that c knows before: of the last packet with payload that it got, or of
// one without behind that which announces a jump. Sixteen packets behind either may be lost, and nothing shows it; but behind one that announces
// a jump the counters of further packets without payload show it.
func (c *reception) goesOn(s *Stream, last, next int32) bool {
	b := &s.packets[next].data
	cc, announced := s.packets[last].data.Continuity(), false
	for i := last + 1; i < next; i++ {
		p := &s.packets[i].data
		switch {
		case p.PID() != b.PID() || p.HasPayload() || !c.heard[i]:
		case p.Discontinuity():
			cc, announced = p.Continuity(), true
		case announced && c.sure(i) && p.Continuity() != cc:
			return false
		}
	}
	return b.Continuity() == (cc+1)&15
}
