package torture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
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
