package live

import (
	"testing"
	"time"
)

// told is what is known of some homes.
func (h *home) told() map[string]Standing {
	all := make(map[string]Standing)
	for _, s := range h.Homes() {
		s.Until = s.Until.Round(0)
		all[s.Who] = s
	}
	return all
}

// wholeGroup has a source bring a group, lying in its first part if it lies.
func (h *home) wholeGroup(src *Source, group uint64, lies bool) (first Result) {
	for id := range uint64(4) {
		o := part(group, id)
		if lies && id == 0 {
			o = changed(o, true)
		}
		r := h.put(src, o)
		if id == 0 {
			first = r
		}
		if r.Outcome == Conflict || r.Outcome == Quarantined || r.Outcome == Apart { // a relay takes no more of the stream
			break
		}
	}
	return first
}

// Homes that bring the same confirm each other, and one that brings it three times over confirms nobody.
func TestConfirmed(t *testing.T) {
	alone(t, func(h *home) {
		a, b := h.publisher("a"), h.publisher("b")
		again := &Source{Name: "a's second session", Who: "other port", Host: "a"}
		h.Attach(again, nil)
		up := &Source{Name: "another relay", Upstream: true}
		h.Attach(up, nil)
		for g := range uint64(6) {
			h.wholeGroup(a, g, false)
			h.wholeGroup(again, g, false)
			h.wholeGroup(up, g, false)
			if g >= 4 {
				h.wholeGroup(b, g, false)
			}
		}
		for who, n := range map[string]int64{"a": 2, "b": 2, "other port": 2} {
			if s := h.told()[who]; s.Confirmed != n || s.Contradicted+s.Disputed != 0 {
				t.Errorf("%s: %+v, want %d confirmed", who, s, n)
			}
		}
		if _, told := h.told()["another relay"]; told {
			t.Error("an upstream has a vote")
		}
	})
}

// One word against another decides nothing, whoever comes first and however often, with as many sessions as he likes.
func TestOneAgainstOne(t *testing.T) {
	alone(t, func(h *home) {
		liar, honest := h.publisher("liar"), h.publisher("honest")
		second := &Source{Name: "second", Who: "second session", Host: "liar"}
		h.Attach(second, nil)
		for g := range uint64(20) {
			if g%2 == 0 {
				h.wholeGroup(liar, g, true)
				h.wholeGroup(second, g, true)
				h.wholeGroup(honest, g, false)
			} else {
				h.wholeGroup(honest, g, false)
				h.wholeGroup(liar, g, true)
				h.wholeGroup(second, g, true)
			}
		}
		for who, s := range h.told() {
			if s.Contradicted > 0 || !s.Until.IsZero() || s.Disputed == 0 {
				t.Errorf("%s: %+v", who, s)
			}
		}
	})
}

// A home that two others contradict in three groups is quarantined, whether it comes first or last, and so is no other; its objects are not
// taken until an hour is over or somebody pardons it.
func TestQuarantine(t *testing.T) {
	for name, order := range map[string]func(liar, a, b *Source) []*Source{
		"first":  func(liar, a, b *Source) []*Source { return []*Source{liar, a, b} },
		"middle": func(liar, a, b *Source) []*Source { return []*Source{a, liar, b} },
		"last":   func(liar, a, b *Source) []*Source { return []*Source{a, b, liar} },
	} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(h *home) {
				liar, a, b := h.publisher("liar"), h.publisher("a"), h.publisher("b")
				g := uint64(0)
				bring := func(n int) (of map[*Source]Outcome) {
					for range n {
						of = make(map[*Source]Outcome)
						for _, src := range order(liar, a, b) {
							of[src] = h.wholeGroup(src, g, src == liar).Outcome
						}
						g++
					}
					return of
				}
				bring(againstGroups)
				for who, s := range h.told() {
					if quarantined := !s.Until.IsZero(); quarantined != (who == "liar") {
						t.Errorf("%s: %+v", who, s)
					}
				}
				if of := bring(1); of[liar] != Quarantined || of[a] == Conflict || of[b] == Conflict {
					t.Errorf("%v", of)
				}
				if !h.Barred("liar") || h.Barred("a") {
					t.Error("Barred says otherwise")
				}
				time.Sleep(quarantineFor)
				if of := bring(1); of[liar] == Quarantined {
					t.Error("after an hour")
				}
				bring(againstGroups)
				if h.Pardon("a") != 0 || h.Pardon("") != 1 || h.Barred("liar") {
					t.Error("not pardoned")
				}
			})
		})
	}
}

// A verdict counts once, at its time, whatever is said of the object later.
func TestVerdictsAreOfTheirTime(t *testing.T) {
	alone(t, func(h *home) {
		bad, a, b := h.publisher("bad"), h.publisher("a"), h.publisher("b")
		for g := range uint64(8) {
			h.wholeGroup(a, g, false)
			h.wholeGroup(b, g, false)
			h.wholeGroup(bad, g, g%2 == 0)
			time.Sleep(againstWithin)
		}
		if s := h.told()["bad"]; s.Contradicted != 4 || !s.Until.IsZero() {
			t.Errorf("%+v", s)
		}
		late := h.publisher("late")
		for g := uint64(0); g < 8; g += 2 {
			o := part(g, 0)
			o.Payload[0] ^= 1
			h.put(late, changed(o, true))
		}
		if s := h.told()["bad"]; s.Contradicted != 4 || !s.Until.IsZero() {
			t.Errorf("after others spoke of the same: %+v", s)
		}
	})
}

// A home behind the same address as one in quarantine is judged by what it brings itself, and sooner.
func TestNeighbourOfAQuarantinedHome(t *testing.T) {
	alone(t, func(h *home) {
		liar := &Source{Name: "l", Who: "liar", Host: "nat"}
		neighbour := &Source{Name: "n", Who: "neighbour", Host: "nat"}
		h.Attach(liar, nil)
		h.Attach(neighbour, nil)
		a, b := h.publisher("a"), h.publisher("b")
		for g := range uint64(10) {
			h.wholeGroup(a, g, false)
			h.wholeGroup(liar, g, true)
			h.wholeGroup(b, g, false)
			h.wholeGroup(neighbour, g, false)
		}
		if s := h.told(); s["liar"].Until.IsZero() || !s["neighbour"].Until.IsZero() {
			t.Errorf("%+v", s)
		}
		again := &Source{Name: "l2", Who: "liar again", Host: "nat"}
		h.Attach(again, nil)
		h.wholeGroup(a, 10, false)
		h.wholeGroup(b, 10, false)
		h.wholeGroup(again, 10, true)
		if s := h.told(); s["liar again"].Until.IsZero() {
			t.Errorf("%+v", s)
		}
	})
}

// A resting standby is asked for its word where two homes contradict each other, and decides.
func TestStandbyDecides(t *testing.T) {
	relieved(t, func(r *relief) {
		liar, honest, b := r.publisher("liar"), r.publisher("honest"), r.standby("b")
		for g := range uint64(10) {
			r.wholeGroup(liar, g, g >= 5)
			r.wholeGroup(honest, g, false)
			r.pass(partEvery)
			if r.asked[b] != nil {
				for from := r.asked[b].Group; from <= g; from++ {
					r.wholeGroup(b, from, false)
				}
			}
		}
		if s := r.told(); s["liar"].Until.IsZero() || !s["honest"].Until.IsZero() || !s["b"].Until.IsZero() {
			t.Errorf("%+v", s)
		}
	})
}

// The homes and disputes that are remembered are bounded, and a quarantine is not forgotten for newcomers.
func TestHomesAreBounded(t *testing.T) {
	alone(t, func(h *home) {
		liar, a, b := h.publisher("liar"), h.publisher("a"), h.publisher("b")
		for g := range uint64(againstGroups) {
			h.wholeGroup(a, g, false)
			h.wholeGroup(b, g, false)
			h.wholeGroup(liar, g, true)
		}
		for i := range 3 * maxHomes {
			src := &Source{Name: string(rune('A' + i))}
			h.Attach(src, nil)
			h.wholeGroup(src, 2, true)
			h.Detach(src, false)
		}
		if n := len(h.Homes()); n > maxHomes || !h.Barred("liar") {
			t.Errorf("%d homes, liar barred: %v", n, h.Barred("liar"))
		}
	})
}
