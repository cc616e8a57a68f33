package torture

// extras draws what else stands in an adaptation field.
func (g *generator) extras(f *field, bare bool) {
	h := &g.spec.H
	on := func(bit, one int) bool { return h[hAF]&bit != 0 && g.mux.IntN(one) == 0 }
	f.opcr = f.pcr && on(1, 3)
	f.splice = on(4, 10)
	f.priority = on(8, 10)
	if on(2, 6) {
		f.private = noise(nil, g.mux, 1+g.mux.IntN(12))
	}
	if h[hStuff]&1 != 0 && !bare && g.mux.IntN(12) == 0 {
		f.stuffing = 1 + g.mux.IntN(60)
	}
}

// clocked fills in the PCR of the packet to come, which has no payload if it is bare and may open a PES packet, and moves to the next run of
// the clock when it is due.
func (g *generator) clocked(f *field, bare, opening bool) {
	h := &g.spec.H
	f.pcr = true
	f.disc = f.disc || h[hDisc] == 1
	if len(g.steps) > 0 && g.now >= g.steps[0].at && (bare || !g.steps[0].restart || opening || g.now >= g.steps[0].at+second/5) {
		s := g.steps[0]
		g.steps = g.steps[1:]
		for _, o := range g.sources { // no PES packet of a clock begins behind the first PCR of the next one, H.222.0 §2.4.3.5
			if o.again != nil && o.track != nil && o.again.data.UnitStart() {
				g.copy(o)
			}
		}
		g.seg++
		g.base = append(g.base, s.base)
		g.out.steps = append(g.out.steps, g.now)
		f.disc = f.disc || h[hIllegal] != 1
		for _, o := range g.sources {
			if s.restart && o.kind != kindOther && (o.pid != g.out.pcrPID || !bare && o.opening) {
				o.forgot = true
			}
		}
	}
	f.clock = g.clock(g.now)
	g.pcrDue, g.pcrLast = g.now+g.pcrEvery, g.now
	if h[hPCRIrregular] != 0 {
		g.pcrDue = g.now + second/200 + g.mux.Int64N(g.pcrEvery)
	}
}

// barePCR sends a PCR without payload.
func (g *generator) barePCR() {
	p := packet{kind: kindPCR, pcr: true}
	cc := uint8(0)
	for _, s := range g.sources {
		if s.pid != g.out.pcrPID {
			continue
		}
		if s.again != nil { // copies follow at once
			g.copy(s)
			return
		}
		cc = (s.cc - 1) & 15
		p.kind = s.kind
	}
	var f field
	g.clocked(&f, true, false)
	g.extras(&f, true)
	fill(&p.data, g.out.pcrPID, false, cc, &f, nil)
	g.put(p)
}
