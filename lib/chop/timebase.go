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
	// maxFlagged is the same limit where discontinuity_indicator is set. It is shorter, and not zero because some multiplexers
	// set the indicator with every PCR.
	maxFlagged = second / 4
	// trustedStep is how far a PCR may be ahead of the last one, unannounced, and still be of the same clock: reception was lost,
	// or the broadcaster lost pictures.
	trustedStep = 60 * second
	// hidden is the longest step of the clock that is expected to hide where packets were lost.
	hidden = 60 * time.Second
	// aged is the age at which the times heard are moved to now, so that a wrap of the clock after the last of them makes no
	// difference.
	aged = 3600 * second
)

// timebase follows one program's clock and the times that tables tell on it.
type timebase struct {
	have bool
	pcr  clock.PCR
	flag bool          // the last PCR had discontinuity_indicator
	now  clock.Ticks27 // counts on steadily since the start; good for durations only
	run  *run          // the clock since its last step
	past *run          // the clock before that step
}

// step says what a PCR shows about the clock.
type step uint8

const (
	stepNone   step = iota // the clock goes on
	stepFlag               // it steps, announced
	stepSilent             // it steps, unannounced: packets may have been lost, or the clock was changed
)

// tick takes a PCR. flagged: it has discontinuity_indicator. gap: packets before it were lost. jump: its counter jumps and the
// jump is announced, so packets may have been lost. kinds are the tables that tell the time.
func (t *timebase) tick(pcr clock.PCR, flagged, gap, jump bool, kinds [2]table) step {
	if !t.have {
		t.have, t.pcr, t.flag, t.run = true, pcr, flagged, new(run)
		return stepNone
	}
	d := pcr.Sub(t.pcr)
	every := flagged && t.flag
	t.flag = flagged
	flagged = flagged && !(every && (gap || jump)) // where every PCR has the indicator, a loss looks like an announced step
	limit := maxStep
	switch {
	case flagged:
		limit = maxFlagged
	case gap:
		limit = 10 * maxStep
	}
	was := t.pcr
	t.pcr = pcr
	if d >= 0 && d <= trustedStep && !(flagged && d > maxFlagged) {
		t.now += d
	}
	if d >= 0 && d <= limit {
		t.run.age(pcr)
		return stepNone
	}
	if flagged || jump || d < 0 || d > trustedStep {
		t.past, t.run = t.run, t.run.carried(was, pcr, flagged && !gap && !every, kinds) // reception may have been lost for long, and no counter shows it
	}
	if flagged {
		return stepFlag
	}
	return stepSilent
}

// begin drops the clock, and all times heard on it: the next PCR is the first one.
func (t *timebase) begin() { t.have, t.run, t.past = false, nil, nil }

// leaps reports whether a PCR does not follow the one before, and no step was announced, or every PCR announces one.
func (t *timebase) leaps(pcr clock.PCR, flagged bool) bool {
	d := pcr.Sub(t.pcr)
	return t.have && (d < 0 || d > maxFlagged) && !(flagged && !t.flag)
}

// doubt notes that packets were lost, and that the clock may have stepped among them. Times that were heard before go on to count
// only if such a step would change no name. doubt reports whether a name may have changed.
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

// steady reports whether a hidden step, either way, would leave the names as they are.
func steady(ref clock.Reference) bool {
	p := ref.PCR.PTS()
	early, late := ref.UTC.Add(-hidden), ref.UTC.Add(hidden)
	x := clock.Extend(p, early)
	return x == clock.Extend(p, late) && clock.Timeline(early, x) == clock.Timeline(late, x)
}

// of returns the run to which an access unit with a decoding time belongs; nil if no such run was heard yet. Near a step the
// streams of a program change to the new clock one after another, and PCRs may be lost.
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

// table is the kind of table that told a time.
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

// run is a clock between two of its steps, with the times that were heard on it.
type run struct {
	pcr     clock.PCR // the last one
	times   [tables][]clock.Reference
	old     [tables]int     // how many of these were heard before a step that may have hidden: they only help to find times that are off by far
	carry   clock.Reference // what the run before said of the time, if hasSeed
	hasSeed bool
}

// agree reports whether two times can be of one clock.
func agree(a, b clock.Reference) bool {
	d := a.UTC.Sub(b.At(a.PCR.PTS()))
	return d > -outlier && d < outlier
}

// add notes that a table told a time at a PCR. If three times in a row agree with each other, the times before that do not agree with
// them are dropped: the clock has stepped unseen, or a table was wrong.
func (r *run) add(kind table, ref clock.Reference) {
	list, old := r.times[kind], r.old[kind]
	if n := len(list); n > 2 && agree(ref, list[n-1]) && agree(ref, list[n-2]) {
		kept := list[:0]
		for i, t := range list {
			switch {
			case agree(ref, t):
				kept = append(kept, t)
			case i < r.old[kind]:
				old--
			}
		}
		list = kept
	}
	if len(list) == heard {
		list, old = slices.Delete(list, 0, 1), max(0, old-1)
	}
	r.times[kind], r.old[kind] = append(list, ref), old
}

// age moves the times to the PCR when they are old.
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

// doubted returns the run that begins where a step may have hidden. It has the times of r, which count as old.
func (r *run) doubted() *run {
	next := &run{pcr: r.pcr}
	for kind, list := range r.times {
		next.times[kind], next.old[kind] = slices.Clone(list), len(list)
	}
	return next
}

// carried returns the run after a step from one PCR to another. It takes over the relation to UTC of the run before if the step
// was seen, so that no time has passed unnoticed, and if the time that passed between the two PCRs cannot change the names.
func (r *run) carried(from, to clock.PCR, seen bool, kinds [2]table) *run {
	next := &run{pcr: to}
	r.pcr = from
	if ref, ok := r.reference(kinds); ok && seen {
		next.carry = clock.Reference{UTC: ref.At(from.PTS()), PCR: to}
		next.hasSeed = steady(next.carry)
	}
	return next
}

// outlier is how far a time may be from the median of all.
const outlier = 5 * time.Second

// reference returns the relation to UTC by the first of the kinds of which times were heard. Tables come late and never early, so
// the greatest of the times counts, without those that are far from the others.
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

// greatest returns the time that lies furthest ahead among those near the median, if these are two thirds of all. The first old
// times help to find the median and are not returned.
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
