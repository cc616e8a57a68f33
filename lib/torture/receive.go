package torture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strings"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// arrival is a packet on its way to a receiver.
type arrival struct {
	index int32 // in the broadcast
	data  ts.Packet
	kind  kind
	drop  bool
	torn  bool // bytes of it are missing, or broken
	head  int  // of a torn packet: how many of its bytes there are
	tail  int
}

// loss is a run of packets of one PID that a receiver did not get.
type loss struct {
	track     *track
	last      int32 // index of the packet of the PID that it got before, −1: none
	from, to  int32 // indexes of the first and the last packet lost
	next      int32 // index of the packet of the PID that it got next, −1: none
	invisible bool  // by H.222.0 nothing shows it
	moved     bool  // nothing is lost but the first copy: the second stands behind packets of other PIDs
}

// reception is what one receiver got, and what ec-chop made of it.
type reception struct {
	r       *Receiver
	join    int32             // index of its first whole packet
	number  uint16            // of the program that it asks for
	heard   []bool            // by packet of the broadcast: it came intact
	got     map[*track][]bool // by packet of the track: it came, or its copy did
	cut     []int32           // packets that were torn
	unsure  []bool            // by packet of the broadcast: it came just behind them, and its first bytes may be taken for the rest of the torn one
	dark    []bool            // by packet of the broadcast: it came, and could not be read
	losses  []loss
	doubts  []loss // where so many packets were unreadable that sixteen of a PID may be lost, or bytes were missing just before a packet
	objects []gotObject
	entries []gotEntry
	err     error
	stats   chop.Stats
}

// gotObject is a media object or a broadcast's catalog.
type gotObject struct {
	track   object.TrackName
	name    string // of track, group and id
	wide    bool   // broadcast-scoped
	group   uint64
	id      uint64
	hash    object.Hash
	payload []byte
	claimed bool
}

// gotEntry is a line of the manifest, and how many objects had been written before it.
type gotEntry struct {
	catalog.ManifestEntry
	after int
}

// WriteObject takes what ec-chop writes.
func (c *reception) WriteObject(t object.TrackName, o *object.Object) error {
	if o.Status != object.Normal {
		return nil
	}
	if t.Name == catalog.TrackManifest {
		e, err := catalog.ParseManifestEntry(o.Payload)
		if err != nil {
			return err
		}
		c.entries = append(c.entries, gotEntry{*e, len(c.objects)})
		return nil
	}
	wide := len(t.Namespace) > 1 && t.Namespace[0] == "ec" && t.Namespace[1] != "source"
	media := strings.HasPrefix(t.Name, "ts")
	if !media && !wide {
		return nil
	}
	g := gotObject{track: t, wide: wide, group: o.Group, id: o.ID, hash: object.Sum(o.Payload)}
	g.name = fmt.Sprintf("%s %d %d", t, o.Group, o.ID)
	if media {
		g.payload = bytes.Clone(o.Payload)
	}
	c.objects = append(c.objects, g)
	return nil
}

// pieces reads b in reads of random sizes.
type pieces struct {
	b    []byte
	r    *rand.Rand
	most int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 1+p.r.IntN(p.most))], p.b)
	p.b = p.b[n:]
	return n, nil
}

// receive lets a receiver hear the stream and chop it.
func (s *Stream) receive(n int, r *Receiver) *reception {
	c := &reception{r: r}
	rng := rand.New(rand.NewPCG(r.Seed, 0x7278))
	all := s.arrivals(c, rng)
	s.impair(c, all, rng)
	s.account(c, all)
	data := wire(r, all)
	var in io.Reader = bytes.NewReader(data)
	if r.H[rRead] != 0 {
		in = &pieces{data, rng, []int{0, 5000, 300}[r.H[rRead]]}
	}
	cfg := chop.Config{Source: fmt.Sprintf("r%d", n)}
	if s.spec.H[hPrograms] > 0 {
		c.number = s.states[s.at(max(c.join, 0))].program
		cfg.Program = uint(c.number)
	}
	if r.H[rPart] != 0 {
		cfg.Promote = chop.PromotePart
	}
	c.stats, c.err = chop.Run(context.Background(), cfg, in, c)
	return c
}

// arrivals are the packets from the join on, as a device hands them on.
func (s *Stream) arrivals(c *reception, rng *rand.Rand) []arrival {
	h := &c.r.H
	from := int64(h[rJoin]) * second / 1000
	all := make([]arrival, 0, len(s.packets)+16)
	ccPAT, first := uint8(rng.IntN(16)), uint8(rng.IntN(16))
	ccPMT := map[ts.PID]*uint8{}
	c.join = -1
	for i := range s.packets {
		p := &s.packets[i]
		if p.at < from {
			continue
		}
		if c.join < 0 {
			c.join = int32(i)
		}
		a := arrival{index: int32(i), data: p.data, kind: p.kind}
		if h[rStrip]&1 != 0 && p.kind == kindNull || h[rStrip]&2 != 0 && p.kind == kindSI || h[rRemake] != 0 && p.kind == kindOther {
			continue
		}
		if p.copy {
			if d := h[rDupDrop]; d == 2 || d == 3 && rng.IntN(2) == 0 {
				continue
			}
			if d := h[rDupDrop]; d == 1 || d == 3 && rng.IntN(2) == 0 {
				if k := previous(all, &a); k >= 0 {
					all = append(all[:k], all[k+1:]...)
				}
			}
		}
		if h[rRemake] != 0 {
			switch p.kind {
			case kindPAT:
				if !p.whole {
					continue
				}
				now := &s.states[p.state]
				id := now.tsid
				if h[rRemake] == 2 {
					id = 1
				}
				pat := psi.PAT{TSID: id, Version: (9 + now.pat) & 31, Programs: []psi.Program{{Number: now.program, PID: now.pmtPID}}}
				copy(a.data[:], psi.AppendPackets(nil, ts.PIDPAT, &ccPAT, pat.Append(nil)))
			case kindPMT:
				if a.data.UnitStart() && p.whole {
					if t, err := psi.ParsePMT(a.data.Payload()[1:]); err == nil {
						t.Version = (t.Version + 7) & 31
						pid := p.data.PID()
						if ccPMT[pid] == nil {
							cc := first
							ccPMT[pid] = &cc
						}
						copy(a.data[:], psi.AppendPackets(nil, pid, ccPMT[pid], t.Append(nil)))
					}
				}
			}
		}
		all = append(all, a)
		twin := p.copy || s.copied(i)
		if h[rDupAdd] > 0 && p.unit && !twin && rng.IntN(1000) < h[rDupAdd] {
			if v, ok := a.data.PCR(); ok {
				a.data.SetPCR((v + uint64(rng.IntN(1000))) % wrap)
			}
			all = append(all, a)
		}
	}
	return all
}

// previous finds the packet of a's PID before it.
func previous(all []arrival, a *arrival) int {
	for k := len(all) - 1; k >= 0 && k > len(all)-200; k-- {
		if all[k].data.PID() == a.data.PID() {
			return k
		}
	}
	return -1
}

// copied tells whether packet i is followed by its copy.
func (s *Stream) copied(i int) bool {
	pid := s.packets[i].data.PID()
	for k := i + 1; k < len(s.packets) && k < i+200; k++ {
		if s.packets[k].data.PID() == pid {
			return s.packets[k].copy
		}
	}
	return false
}

// matches tells whether an arrival is of the kind that is lost.
func (a *arrival) matches(of int) bool {
	switch of {
	case 1:
		return a.kind == kindVideo
	case 2:
		return a.kind == kindAudio
	case 3:
		return a.kind == kindSparse
	case 4:
		_, ok := a.data.PCR()
		return ok
	case 5:
		return a.kind == kindPAT || a.kind == kindPMT
	case 6:
		return a.kind == kindTime
	case 7:
		return a.kind == kindSI || a.kind == kindIdentity
	}
	return true
}

// begins tells whether a random access point begins in a packet of the cut PID.
func (s *Stream) begins(p *packet) bool {
	t := s.tracks[p.data.PID()]
	if !s.isCut(t) || p.copy {
		return false
	}
	from := int(t.starts[p.local])
	i := sort.Search(len(t.aus), func(i int) bool { return t.aus[i].at >= from })
	return i < len(t.aus) && t.aus[i].rap && t.aus[i].at < from+len(t.payload(p.local))
}

func (s *Stream) impair(c *reception, all []arrival, rng *rand.Rand) {
	h := &c.r.H
	if len(all) == 0 {
		return
	}
	var near []int // where something changes
	if h[rNear] != 0 {
		for k := 1; k < len(all); k++ {
			p := &s.packets[all[k].index]
			if p.change || p.jump || p.seg != s.packets[all[k-1].index].seg || p.kind == kindSparse && k%5 == 0 || p.unit && k%3 == 0 && s.begins(p) {
				near = append(near, k)
			}
		}
	}
	for range h[rLoss] {
		at := rng.IntN(len(all))
		if len(near) > 0 {
			at = max(near[rng.IntN(len(near))]-rng.IntN(60), 0)
		}
		n := 1
		if h[rBurst] > 0 {
			n += rng.IntN(h[rBurst] + 1)
		}
		if h[rSixteen] != 0 {
			var pid ts.PID
			left := 16
			last := int32(-1)
			for k := at; k < len(all); k++ {
				a := &all[k]
				if pid == 0 && (a.kind == kindVideo || a.kind == kindAudio) && s.packets[a.index].unit && !s.packets[a.index].copy {
					pid = a.data.PID()
				}
				if pid == 0 || a.data.PID() != pid || !s.packets[a.index].unit {
					continue
				}
				if local := s.packets[a.index].local; local != last {
					if left == 0 {
						break
					}
					last = local
					left--
				}
				a.drop = h[rSixteen] == 1
				if h[rSixteen] == 2 {
					a.data.SetTransportError(true)
					a.torn = true
				}
			}
			continue
		}
		for k := at; k < len(all) && n > 0; k++ {
			if all[k].matches(h[rLossKind]) {
				all[k].drop = true
				n--
			}
		}
	}
	for range h[rTEI] {
		a := &all[rng.IntN(len(all))]
		for range 1 + rng.IntN(8) {
			a.data[1+rng.IntN(ts.PacketSize-1)] ^= byte(1 + rng.IntN(255))
		}
		a.data.SetTransportError(true)
		a.torn = true
	}
	for range h[rCut] {
		k := rng.IntN(len(all))
		if len(near) > 0 {
			k = max(near[k%len(near)]-rng.IntN(4), 0)
		}
		last := min(k+rng.IntN(4), len(all)-1)
		head, tail := 0, 1+rng.IntN(ts.PacketSize-2)
		if rng.IntN(2) == 0 {
			head = 1 + rng.IntN(ts.PacketSize-2)
		}
		if head+tail >= ts.PacketSize && k == last || head+tail == ts.PacketSize {
			head = 0
		}
		for i := k; i <= last; i++ {
			all[i].torn, all[i].head, all[i].tail = true, 0, 0
			all[i].drop = false // or the bytes that are missing may be whole packets
		}
		all[k].head, all[last].tail = head, tail
	}
}

// wire is the bytes that arrive.
func wire(r *Receiver, all []arrival) []byte {
	out := make([]byte, 0, len(all)*204)
	for i := range all {
		a := &all[i]
		if a.drop {
			continue
		}
		data := a.data[:]
		switch {
		case a.torn && !a.data.TransportError():
			data = append(append([]byte(nil), a.data[:a.head]...), a.data[ts.PacketSize-a.tail:]...)
		case i == 0:
			data = a.data[r.H[rJoinByte]:]
		}
		whole := len(data) == ts.PacketSize
		if r.H[rPack] == 1 && (whole || a.head > 0) {
			out = append(out, byte(i>>24), byte(i>>16), byte(i>>8), byte(i))
		}
		out = append(out, data...)
		if a.torn && !a.data.TransportError() && a.tail == 0 {
			continue
		}
		if r.H[rPack] == 2 {
			out = append(out, make([]byte, 16)...)
		}
	}
	return out
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

// Write puts what each receiver hears into files NAME.0.ts, NAME.1.ts …
func Write(spec *Spec, name string) error {
	s := Generate(spec)
	for i := range spec.Receivers {
		r := &spec.Receivers[i]
		rng := rand.New(rand.NewPCG(r.Seed, 0x7278))
		c := &reception{r: r}
		all := s.arrivals(c, rng)
		s.impair(c, all, rng)
		if err := os.WriteFile(fmt.Sprintf("%s.%d.ts", name, i), wire(r, all), 0o644); err != nil {
			return err
		}
	}
	return nil
}
