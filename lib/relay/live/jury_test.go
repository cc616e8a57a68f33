package live

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/object"
)

// A jury needs no track: it is told what homes say of objects, and says whose word counts.
func TestJury(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stirred := 0
		var out []string
		j := jury{stir: func() { stirred++ }, quarantined: func(s *standing, most int) {
			if out = append(out, s.Who); most != 2 {
				t.Errorf("%d contradict %s", most, s.Who)
			}
		}}
		right, wrong := object.Sum([]byte("right")), object.Sum([]byte("wrong"))
		say := func(group uint64, who, host string, sum object.Hash) {
			d := j.dispute(group, 0)
			d.add(sum, voter{who, host})
			j.decide(d)
		}
		say(1, "a", "A", right)
		if j.undecided != nil || j.disputed(1, 0) == nil || j.disputed(1, 1) != nil {
			t.Error("one word is in dispute with itself")
		}
		say(1, "liar", "L", wrong)
		if j.undecided == nil || j.undecided.Group != 1 || j.homes["a"].Disputed != 1 || j.homes["liar"].Disputed != 1 || j.barred("liar") {
			t.Errorf("one word against another: %+v", j)
		}
		say(1, "liar's neighbour", "L", wrong) // one host has one vote
		if j.homes["a"].Contradicted != 0 {
			t.Error("a host outvotes another one")
		}
		say(1, "b", "B", right)
		if s := j.homes["liar"].Standing; s.Contradicted != 1 || s.Disputed != 0 || j.barred("liar") {
			t.Errorf("after two against it: %+v", s)
		}
		for g := uint64(2); g < 2+againstGroups; g++ {
			say(g, "a", "A", right)
			say(g, "b", "B", right)
			say(g, "liar", "L", wrong)
		}
		if !j.barred("liar") || j.barred("a") || !slices.Contains(out, "liar") || stirred == 0 {
			t.Errorf("quarantined: %v", out)
		}
		if n := j.pardon("a"); n != 0 || !j.barred("liar") {
			t.Error("another one was pardoned")
		}
		time.Sleep(quarantineFor)
		if j.barred("liar") {
			t.Error("quarantined for ever")
		}
		for g := range uint64(2 * maxDisputes) {
			say(100+g, "a", "A", right)
		}
		if len(j.disputes) != maxDisputes || j.disputed(1, 0) != nil {
			t.Errorf("%d disputes are kept", len(j.disputes))
		}
		c := &closing{}
		for _, v := range []voter{{"a", "A"}, {"a2", "A"}, {"b", "B"}, {"b", "B"}} {
			j.confirm(c, v)
		}
		if a, a2, b := j.homes["a"], j.homes["a2"], j.homes["b"]; a.Confirmed != 1 || a2.Confirmed != 1 || b.Confirmed != 1 {
			t.Errorf("confirmed %d, %d and %d groups", a.Confirmed, a2.Confirmed, b.Confirmed)
		}
	})
}
