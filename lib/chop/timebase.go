package chop

import (
	"slices"
	"time"

	"every.channel/ec/lib/clock"
)

const (
	second = clock.Ticks27(clock.SystemHz)

	// maxStep is the longest step between two PCRs that is no jump. H.222.0 §2.7.2 allows 100 ms, real streams take up to a second.
	maxStep = second
	// maxFlagged is the same where discontinuity_indicator is set, which some multiplexers do with every PCR.
	maxFlagged = second / 4
	// trustedStep is how far a clock may go ahead, unannounced, and still be the same: reception was lost, or frames were.
	trustedStep = 60 * second
	// hidden is how long a step of the clock may be that hides where packets were lost.
	hidden = 60 * time.Second
	// aged is when the tables heard are moved to now, so that a wrap after the last of them is no different from any other moment.
	aged = 3600 * second
)

// timebase follows one program's clock and what time tables say about it.
type timebase struct {
	have bool
	pcr  clock.PCR
	flag bool          // it had discontinuity_indicator
	now  clock.Ticks27 // steady count since the start, for spans only
	run  *run          // the clock since its last step
	past *run          // the clock before
}

// step is what a PCR says about the clock.
type step uint8

const (
	stepNone   step = iota // the clock goes on
	stepFlag               // it steps, announced
	stepSilent             // it steps, unannounced: it may be the reception that jumped
)

// tick takes a PCR, which may be flagged by discontinuity_indicator; gap says that packets before it are missing, jump that they may be, as
// the counter jumps, announced. Tables of some kinds tell the time.
func (t *timebase) tick(pcr clock.PCR, flagged, gap, jump bool, kinds [2]table) step {
	if !t.have {
		t.have, t.pcr, t.flag, t.run = true, pcr, flagged, new(run)
		return stepNone
	}
	d := pcr.Sub(t.pcr)
	flagged, t.flag = flagged && !(t.flag && (gap || jump)), flagged // where each PCR has it, a loss may look like a step
	limit := maxStep
	switch {
	case flagged:
		limit = maxFlagged
	case gap:
		limit = 10 * maxStep
	}
	was := t.pcr
	t.pcr = pcr
	if d >= 0 && d <= trustedStep {
		t.now += d
	}
	if d >= 0 && d <= limit {
		t.run.age(pcr)
		return stepNone
	}
	if flagged || jump || d < 0 || d > trustedStep {
		t.past, t.run = t.run, t.run.carried(was, pcr, flagged && !gap, kinds)
	}
	if flagged {
		return stepFlag
	}
	return stepSilent
}

// leaps reports whether a PCR does not follow the one before, and may not be where a step was announced.
func (t *timebase) leaps(pcr clock.PCR, flagged bool) bool {
	d := pcr.Sub(t.pcr)
	return t.have && (d < 0 || d > maxFlagged) && !(flagged && !t.flag)
}

// doubt notes that packets were lost, and with them perhaps a step. What tables said before goes on only if the names are the same
// behind such a step; it reports whether they may be others.
func (t *timebase) doubt() bool {
	if t.run == nil {
		return false
	}
	known, others := false, false
	for kind := range tables {
		ref, ok := t.run.reference([...]table{kind, kind})
		known = known || ok
		others = others || ok && !steady(ref)
	}
	if !known || others {
		t.run = t.run.doubted()
	}
	return others
}

// steady reports whether the names are the same behind a step that hides.
func steady(ref clock.Reference) bool {
	p := ref.PCR.PTS()
	early, late := ref.UTC.Add(-hidden), ref.UTC.Add(hidden)
	x := clock.Extend(p, early)
	return x == clock.Extend(p, late) && clock.Timeline(early, x) == clock.Timeline(late, x)
}

// of is the run that an access unit with a decoding time belongs to, nil if none is heard yet: near a step, streams of a program change over
// one after another, and a PCR may be lost.
func (t *timebase) of(dts clock.PTS) *run {
	near := func(r *run) bool {
		d := dts.PCR().Sub(r.pcr)
		return d > -10*second && d < 20*second
	}
	if !t.have {
		return nil
	}
	t.run.pcr = t.pcr
	for _, r := range []*run{t.run, t.past} {
		if r != nil && near(r) {
			return r
		}
	}
	return nil
}

// table is which kind of table a time came from.
type table uint8

const (
	tableSTT table = iota
	tableTOT
	tableTDT
	tableOther // the host, or a record
	tables
)

// heard is how many times of each kind a run keeps.
const heard = 64

// run is a clock between two of its steps, and the times heard on it.
type run struct {
	pcr     clock.PCR // the last one
	times   [tables][]clock.Reference
	old     [tables]int     // how many of them were heard before a step that may have hidden: they only tell what is off by far
	carry   clock.Reference // what the run before told, if hasSeed
	hasSeed bool
}

// agree reports whether two times are those of one clock.
func agree(a, b clock.Reference) bool {
	d := a.UTC.Sub(b.At(a.PCR.PTS()))
	return d > -outlier && d < outlier
}

// add notes that a table gave a time at a PCR. Three in a row that disagree with all before show that the clock has stepped unseen.
func (r *run) add(kind table, ref clock.Reference) {
	if list := r.times[kind]; len(list) > 2 {
		last, before := list[len(list)-1], list[len(list)-2]
		if old := list[len(list)-3]; agree(ref, last) && agree(ref, before) && !agree(ref, old) {
			r.old[kind] = max(0, r.old[kind]-len(list)+2)
			r.times[kind] = append(list[:0], before, last)
		}
	}
	if len(r.times[kind]) == heard {
		r.times[kind] = slices.Delete(r.times[kind], 0, 1)
		r.old[kind] = max(0, r.old[kind]-1)
	}
	r.times[kind] = append(r.times[kind], ref)
}

// age moves the times to now when they are old.
func (r *run) age(pcr clock.PCR) {
	r.pcr = pcr
	move := func(ref *clock.Reference) { ref.UTC, ref.PCR = ref.At(pcr.PTS()), pcr.PTS().PCR() }
	for _, list := range r.times {
		if len(list) > 0 && pcr.Sub(list[len(list)-1].PCR) > aged {
			for i := range list {
				move(&list[i])
			}
		}
	}
	if r.hasSeed && pcr.Sub(r.carry.PCR) > aged {
		move(&r.carry)
	}
}

// doubted is the run behind a place where a step may have hidden.
func (r *run) doubted() *run {
	next := &run{pcr: r.pcr}
	for kind, list := range r.times {
		next.times[kind], next.old[kind] = slices.Clone(list), len(list)
	}
	return next
}

// carried is the run after a step from one PCR to another: it begins with the relation to UTC of the one before, if no time has passed
// unseen, and what passed between the two PCRs cannot change the names.
func (r *run) carried(from, to clock.PCR, seen bool, kinds [2]table) *run {
	next := &run{pcr: to}
	r.pcr = from
	if ref, ok := r.reference(kinds); ok && seen {
		next.carry = clock.Reference{UTC: ref.At(from.PTS()), PCR: to}
		next.hasSeed = steady(next.carry)
	}
	return next
}

// outlier is how far from the median a time may be.
const outlier = 5 * time.Second

// reference is the relation to UTC that the kinds give, the first that gives one. Tables come late and never early, so it is the greatest
// that was heard, but for what is off by far.
func (r *run) reference(kinds [2]table) (clock.Reference, bool) {
	if r == nil {
		return clock.Reference{}, false
	}
	for _, kind := range kinds {
		if list := r.times[kind]; len(list) > 0 {
			return greatest(list, r.old[kind])
		}
	}
	return r.carry, r.hasSeed
}

// greatest is the one that lies furthest ahead of those near the median, if they are two thirds; the old ones are not taken.
func greatest(list []clock.Reference, old int) (clock.Reference, bool) {
	base := list[len(list)-1]
	var store [heard]time.Duration
	ahead := store[:0]
	for _, ref := range list {
		ahead = append(ahead, ref.UTC.Sub(base.At(ref.PCR.PTS())))
	}
	sorted := store
	median := sorted[:len(ahead)]
	slices.Sort(median)
	middle := median[(len(median)-1)/2]
	best, near := -1, 0
	for i, d := range ahead {
		if d < middle-outlier || d > middle+outlier {
			continue
		}
		if near++; i >= old && (best < 0 || d > ahead[best]) {
			best = i
		}
	}
	if best < 0 {
		return base, false
	}
	return list[best], 3*near >= 2*len(list)
}
