package torture

import (
	"math/rand/v2"
	"slices"

	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// What may change in mid-stream, by new tables.
const (
	movePMT     = iota // the PID of the PMT
	movePIDs           // PIDs of streams
	moveStreams        // which streams there are, and their codecs
	moveTSID
	moveONID
	moveNumber // of the program
	numMoves
)

// moveHabits are the habits of which each move is the effect.
var moveHabits = [numMoves]int{hPMTPID, hPIDs, hStreams, hTSID, hONID, hNumber}

// Ids after a move.
const (
	otherTSID    = 3011
	otherONID    = 8500
	otherNumber  = 3000  // more than before
	elsewhere    = 0x600 // likewise, of PIDs
	movedAudio   = 1     // bits of hPIDs
	movedVideo   = 2
	movedSparse  = 4
	movedPCR     = 8
	movedBack    = 16
	newCodec     = 1 // values of hStreams
	newCodecBack = 2
	audioLeaves  = 3
	videoLeaves  = 4
)

// phase says of each move whether it is done.
type phase [numMoves]bool

// change is a time at which tables change.
type change struct {
	at    int64
	phase // from then on
}

// state is what PAT and PMT say from a packet on.
type state struct {
	from    int32 // the first packet that says so, if PAT or PMT changed
	told    int32 // the last packet of the first PAT and PMT that say so
	pmtPID  ts.PID
	pcrPID  ts.PID
	tsid    uint16
	program uint16
	cut     *track
	listed  []*track
	pat     uint8 // how often PAT and PMT have changed
	pmt     uint8
}

// title is what SDT or VCT say.
type title struct{ onid, tsid, program uint16 }

// place is where a stream is in one phase.
type place struct {
	moved, gone bool
	codec       int
}

// moves draws when tables change.
func (g *generator) moves() {
	h := &g.spec.H
	r := g.rng("moves")
	draw := func() (at [2]int64) {
		at[0] = g.length/4 + r.Int64N(g.length/4)
		at[1] = min(at[0]+2*second+r.Int64N(5*second), g.length*4/5)
		return at
	}
	together := draw()
	for m, habit := range moveHabits {
		own := draw()
		if r.IntN(2) == 0 {
			own = together
		}
		if m == moveONID {
			g.titleNow = r.IntN(2) == 0
		}
		v := h[habit]
		if v == 0 {
			continue
		}
		back := v == 2
		switch m {
		case movePIDs:
			back = v&movedBack != 0
		case moveStreams:
			back = v != newCodec
		}
		for n, at := range own {
			if n == 1 && !back {
				break
			}
			k, found := slices.BinarySearchFunc(g.changes, at, func(c change, at int64) int { return int(max(min(c.at-at, 1), -1)) })
			if !found {
				c := change{at: at}
				if k > 0 {
					c.phase = g.changes[k-1].phase
				}
				g.changes = slices.Insert(g.changes, k, c)
			}
			for ; k < len(g.changes); k++ {
				g.changes[k].phase[m] = n == 0
			}
		}
	}
}

// at is the phase after so many changes.
func (g *generator) phaseAt(epoch int) (p phase) {
	if epoch > 0 {
		p = g.changes[epoch-1].phase
	}
	return p
}

// place tells where a stream is after so many changes.
func (g *generator) place(s *source, epoch int) place {
	h, p := &g.spec.H, g.phaseAt(epoch)
	pids := map[kind]int{kindAudio: movedAudio, kindVideo: movedVideo, kindSparse: movedSparse}
	at := place{moved: p[movePIDs] && h[hPIDs]&pids[s.kind] != 0 && s.from == 0 && s.pid >= 0x100 && s.pid < ts.PIDPSIP-elsewhere, gone: p[moveStreams] && s.leaves}
	if s.kind == kindVideo {
		at.codec = h[hCodec]
		if v := h[hStreams]; p[moveStreams] && (v == newCodec || v == newCodecBack) {
			at.codec = (at.codec + 1 + int(g.spec.Seed%2)) % 3
		}
	}
	return at
}

// turns are the changes, from 1 on, that a stream takes part in.
func (g *generator) turns(s *source) (list []int) {
	for e := range g.changes {
		if g.place(s, e) != g.place(s, e+1) {
			list = append(list, e+1)
		}
	}
	return list
}

// spread takes the units of each stream to the PIDs where they are sent. Each waits for the change that brings it there.
func (g *generator) spread() {
	if len(g.changes) == 0 {
		return
	}
	for _, s := range slices.Clone(g.sources) {
		turns := g.turns(s)
		if s.kind == kindOther || len(turns) == 0 {
			continue
		}
		s.turns = turns
		units := s.units
		s.units = nil
		away := s
		if slices.ContainsFunc(turns, func(e int) bool { return g.place(s, e).moved }) {
			away = g.newSource(s.pid+elsewhere, s.kind, s.streamID, s.stream.Type, s.stream.Descriptors)
			away.stream.PID, away.turns, away.home = away.pid, turns, s
			n := len(g.sources) - 1
			g.sources = slices.Insert(g.sources[:n], slices.Index(g.sources, s)+1, away)
		}
		for _, u := range units {
			for n, e := range turns {
				if s.kind == kindVideo && u.part > n || s.kind != kindVideo && u.start >= g.changes[e-1].at {
					u.after = e
				}
			}
			switch p := g.place(s, u.after); {
			case p.gone:
			case p.moved:
				away.units = append(away.units, u)
			default:
				s.units = append(s.units, u)
			}
		}
	}
}

// listed tells whether the PMT lists a stream there now.
func (g *generator) listed(s *source) bool {
	stream := s
	if s.home != nil {
		stream = s.home
	}
	p := g.place(stream, g.epoch)
	return !p.gone && p.moved == (s.home != nil)
}

// idle tells whether all that comes before the next change was sent.
func (g *generator) idle() bool {
	next := g.epoch + 1
	for _, s := range g.sources {
		if slices.Contains(s.turns, next) && (len(s.rest) > 0 || s.again != nil || s.n < len(s.units) && s.units[s.n].after < next) {
			return false
		}
	}
	return true
}

// waits tells whether the next unit of a source waits for a change.
func (g *generator) waits(s *source) bool { return s.n < len(s.units) && s.units[s.n].after > g.epoch }

// settle finds out what tables say now.
func (g *generator) settle() {
	h, p, was := &g.spec.H, g.phaseAt(g.epoch), state{}
	if n := len(g.out.states); n > 0 {
		was = g.out.states[n-1]
	}
	now := was
	now.pmtPID, now.tsid, now.program, now.cut, now.listed = g.out.pmtPID, tsid, g.out.program, nil, nil
	if p[movePMT] {
		now.pmtPID += elsewhere
	}
	if p[moveTSID] {
		now.tsid = otherTSID
	}
	if p[moveNumber] {
		now.program += otherNumber
	}
	for _, k := range []kind{kindVideo, kindAudio} {
		for _, s := range g.sources {
			if now.cut == nil && s.kind == k && g.listed(s) && s.from == 0 {
				now.cut = s.track
			}
		}
	}
	for _, s := range g.sources {
		if s.track != nil && g.listed(s) && s.from <= g.now {
			now.listed = append(now.listed, s.track)
		}
	}
	now.pcrPID = now.cut.pid
	if h[hPCR] == 3 {
		now.pcrPID = g.ownPCR
		if p[movePIDs] && h[hPIDs]&movedPCR != 0 {
			now.pcrPID += elsewhere
		}
	}
	now.from, now.told = int32(len(g.out.packets)), int32(len(g.out.packets))
	g.out.pcrPID = now.pcrPID
	if !slices.Contains(g.out.cuts, now.cut) {
		g.out.cuts = append(g.out.cuts, now.cut)
	}
	if g.epoch > 0 {
		before := g.phaseAt(g.epoch - 1)
		if now.pmtPID != was.pmtPID || now.tsid != was.tsid || now.program != was.program {
			now.pat++
		}
		if p[movePIDs] != before[movePIDs] || p[moveStreams] != before[moveStreams] || now.program != was.program {
			now.pmt++
		}
	}
	g.out.states = append(g.out.states, now)
	if g.epoch == 0 {
		return
	}
	if now.pat != was.pat {
		g.sections(ts.PIDPAT, kindPAT, true, g.pat()...)
	}
	if now.pmt != was.pmt || now.pmtPID != was.pmtPID {
		t := g.pmt(g.now)
		if t.Next {
			t = g.pmt(g.now)
		}
		g.sections(now.pmtPID, kindPMT, true, t.Append(nil))
	}
	for _, t := range g.tables { // SDT and VCT follow at once, or when they are due
		if t.identity && g.titleNow {
			t.next = min(t.next, g.now)
		}
	}
}

// move makes the next change.
func (g *generator) move() {
	g.epoch++
	g.settle()
	for _, s := range g.sources {
		if s.next == never && s.n < len(s.units) && !g.waits(s) {
			s.next = max(s.units[s.n].start, g.now)
		}
	}
}

// now is what PAT and PMT say.
func (g *generator) state() *state { return &g.out.states[len(g.out.states)-1] }

// title is what SDT or VCT say now: the ids of the PAT that came before them.
func (g *generator) title() title {
	if g.spec.H[hIdent] == 2 {
		return title{0xff01, 0, g.state().program}
	}
	t := title{onid, g.state().tsid, g.state().program}
	if g.phaseAt(g.epoch)[moveONID] {
		t.onid = otherONID
	}
	return t
}

// videoTypes are the stream types of the codecs of hCodec.
var videoTypes = []psi.StreamType{psi.TypeH264, psi.TypeMPEG2Video, psi.TypeHEVC}

// drawMoves draws the habits of moves from numbers of their own, so that the others are what they were before there were moves.
func (s *Spec) drawMoves() {
	r := rand.New(rand.NewPCG(s.Seed, 0x6d6f7665))
	for _, i := range moveHabits {
		s.H[i] = streamHabits[i].draw(r)
	}
}
