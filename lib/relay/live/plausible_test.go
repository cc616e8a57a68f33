package live

import (
	"errors"
	"testing"
	"time"
)

// twoSeconds names groups as broadcasts do: a bucket of two seconds, and a tag.
type twoSeconds struct{ catalog bool }

func (twoSeconds) Time(group uint64) time.Time { return time.Unix(int64(min(group>>16, 1<<32))*2, 0) }
func (twoSeconds) First(group uint64) uint64   { return group &^ 0xffff }
func (twoSeconds) Length() time.Duration       { return 2 * time.Second }
func (n twoSeconds) Chunks() bool              { return !n.catalog }

// clocked runs a test with a track whose groups have a clock.
func clocked(t *testing.T, test func(h *home)) {
	t.Helper()
	alone(t, func(h *home) {
		h.leads.naming, h.leads.most = twoSeconds{}, 90*time.Minute
		time.Sleep(time.Until(time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC))) // in a bubble it is 2000
		test(h)
	})
}

// onAir is the group that is on air now, or so long from now.
func onAir(in time.Duration, tag uint64) uint64 { return uint64(time.Now().Add(in).Unix()/2)<<16 | tag }

// stream is a home that sends what is on air as time goes by, so long ahead of it.
type stream struct {
	src   *Source
	ahead time.Duration
	tag   uint64
}

// air lets homes send for a number of chunks, each after a tenth of a second more, and returns what became of each one's last group.
func (h *home) air(chunks int, streams ...stream) (last []Result) {
	for range chunks {
		last = nil
		for _, s := range streams {
			last = append(last, h.wholeGroup(s.src, onAir(s.ahead, s.tag), false))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2*time.Second - time.Duration(len(streams))*10*time.Millisecond)
	}
	return last
}

func taken(r Result) bool { return r.Outcome == Stored || r.Outcome == Duplicate }

func TestAheadOfTheClock(t *testing.T) {
	clocked(t, func(h *home) {
		a, b := h.publisher("a"), h.publisher("b")
		if r := h.wholeGroup(a, onAir(89*time.Minute, 0), false); !taken(r) {
			t.Errorf("89 minutes ahead: %+v", r)
		}
		for i := range uint64(againstGroups) {
			if r := h.wholeGroup(b, onAir(0, 0)+2_000_000_000+i<<16, false); r.Outcome != Apart || !errors.Is(r.Err, ErrApart) {
				t.Fatalf("two thousand million ahead: %+v", r)
			}
		}
		if largest := h.Info().Largest; largest.Group != onAir(89*time.Minute, 0) {
			t.Errorf("the largest group is %d", largest.Group)
		}
		if !h.Barred("b") || h.Barred("a") {
			t.Errorf("in quarantine: a %t, b %t", h.Barred("a"), h.Barred("b"))
		}
		if r := h.wholeGroup(b, onAir(0, 0), false); r.Outcome != Quarantined {
			t.Errorf("what the home sends after that: %+v", r)
		}
	})
}

// A relay whose clock was never set, or that shall not look, takes what comes.
func TestAheadOfNoClock(t *testing.T) {
	alone(t, func(h *home) { // it is the year 2000
		h.leads.naming, h.leads.most = twoSeconds{}, 90*time.Minute
		if r := h.wholeGroup(h.publisher("a"), onAir(26*365*24*time.Hour, 0), false); !taken(r) {
			t.Errorf("with a clock of 2000: %+v", r)
		}
	})
	clocked(t, func(h *home) {
		h.leads.most = 0
		if r := h.wholeGroup(h.publisher("a"), onAir(1000*time.Hour, 0), false); !taken(r) {
			t.Errorf("without a bound: %+v", r)
		}
	})
}

// A second home that sends groups ahead of their time replaces nothing of what the first one will send, whoever has more sessions.
func TestGroupsSentAhead(t *testing.T) {
	clocked(t, func(h *home) {
		a, liar := h.publisher("a"), h.publisher("liar")
		h.air(6, stream{src: a})
		for i := range 5 {
			if r := h.wholeGroup(liar, onAir(time.Duration(4+i)*2*time.Second, 0xbad), false); r.Outcome != Apart {
				t.Fatalf("group %d ahead: %+v", i, r)
			}
			again := &Source{Name: "liar's", Who: "another session", Host: "liar"}
			h.Attach(again, nil)
			if r := h.wholeGroup(again, onAir(time.Duration(4+i)*2*time.Second, 0xbad), false); r.Outcome != Apart {
				t.Fatalf("group %d in another session: %+v", i, r)
			}
		}
		if r := h.air(12, stream{src: a})[0]; !taken(r) || a.Apart.Load() != 0 {
			t.Errorf("the honest home: %+v, %d held apart", r, a.Apart.Load())
		}
		if h.Barred("liar") {
			t.Error("one home's word has another one quarantined")
		}
	})
	clocked(t, func(h *home) { // two homes' word does
		a, b, liar := h.publisher("a"), h.publisher("b"), h.publisher("liar")
		h.air(6, stream{src: a}, stream{src: b})
		for i := range 5 {
			if r := h.wholeGroup(liar, onAir(time.Duration(4+i)*2*time.Second, 0xbad), false); r.Outcome != Apart {
				t.Fatalf("group %d ahead of two: %+v", i, r)
			}
		}
		if r := h.air(12, stream{src: a}, stream{src: b}); !taken(r[0]) || !taken(r[1]) || !h.Barred("liar") || h.Barred("a") || h.Barred("b") {
			t.Errorf("honest %+v, %+v; in quarantine: liar %t", r[0], r[1], h.Barred("liar"))
		}
	})
}

// A liar that was there first and sends late does not have an honest home quarantined.
func TestLateLiarIsOneWord(t *testing.T) {
	clocked(t, func(h *home) {
		liar, honest := h.publisher("liar"), h.publisher("honest")
		late := stream{src: liar, ahead: -20 * time.Second, tag: 0xbad}
		h.air(6, late)
		h.air(30, late, stream{src: honest})
		if h.Barred("honest") {
			t.Error("the honest home is quarantined")
		}
	})
}

// A newcomer that is a little earlier than a home replaces those of its chunks that it brings before the home has brought the first of these, and no
// other.
func TestALittleEarlier(t *testing.T) {
	clocked(t, func(h *home) {
		honest, liar := h.publisher("honest"), h.publisher("liar")
		h.air(6, stream{src: honest})
		h.air(20, stream{src: liar, ahead: 2 * time.Second, tag: 0xbad}, stream{src: honest})
		if n := honest.Apart.Load(); n > 2 || h.Barred("honest") {
			t.Errorf("%d objects of the honest home were held apart", n)
		}
		if n := liar.Objects.Load(); n > 2*4 {
			t.Errorf("%d objects of the liar were taken", n)
		}
	})
	clocked(t, func(h *home) { // nor if it repeats every other one, in new sessions
		honest := h.publisher("honest")
		h.air(6, stream{src: honest})
		for i := range 20 {
			liar := &Source{Name: "liar", Who: time.Now().String(), Host: "liar"}
			h.Attach(liar, nil)
			if i%2 == 0 {
				h.air(1, stream{src: honest}, stream{src: liar})
			} else {
				h.air(1, stream{src: liar, ahead: 2 * time.Second, tag: 0xbad}, stream{src: honest})
			}
			h.Detach(liar, false)
		}
		if n := honest.Apart.Load(); n > 1 {
			t.Errorf("%d objects of the honest home were held apart", n)
		}
	})
	clocked(t, func(h *home) { // two honest ones that differed once go on with the faster one, once the slower one has said the same
		slow, fast := h.publisher("slow"), h.publisher("fast")
		h.air(6, stream{src: slow})
		h.air(1, stream{src: fast, tag: 1}, stream{src: slow})
		if r := h.air(10, stream{src: fast}, stream{src: slow}); r[0].Outcome != Stored || r[1].Outcome != Duplicate {
			t.Errorf("fast %+v, slow %+v", r[0], r[1])
		}
		if n := fast.Apart.Load() + slow.Apart.Load(); n > 2 {
			t.Errorf("%d objects held apart", n)
		}
	})
}

// Who repeats a home's chunk adds no second one for the same time.
func TestASecondChunk(t *testing.T) {
	clocked(t, func(h *home) {
		honest, liar := h.publisher("honest"), h.publisher("liar")
		h.air(6, stream{src: honest})
		h.air(6, stream{src: honest}, stream{src: liar}, stream{src: liar, tag: 0xbad})
		if n := liar.Objects.Load(); n != 0 || honest.Apart.Load() != 0 {
			t.Errorf("%d objects of the liar were taken, %d of the honest home held apart", n, honest.Apart.Load())
		}
	})
}

// Sessions of one host drive out none of another one, and a home that comes again is no newcomer.
func TestManySessionsOfALiar(t *testing.T) {
	clocked(t, func(h *home) {
		honest := h.publisher("honest")
		h.air(6, stream{src: honest})
		for range 2 * maxHomes {
			liar := &Source{Name: "liar", Who: time.Now().String(), Host: "liar"}
			h.Attach(liar, nil)
			h.put(liar, part(onAir(0, 0), 0))
			h.Detach(liar, false)
			time.Sleep(time.Millisecond)
		}
		if h.leads.homes["honest"] == nil {
			t.Error("the honest home is forgotten")
		}
		h.Detach(honest, false)
		again := &Source{Name: "again", Who: "honest's next session", Host: "honest"}
		h.Attach(again, nil)
		h.air(6, stream{src: again})
		if n := h.leads.homes["honest's next session"].place; n != 1 {
			t.Errorf("it comes as number %d", n)
		}
	})
}

// A relay whose clock was wrong and is set takes what it held apart by it, and ends the quarantines that came of it.
func TestRelaysClockIsSet(t *testing.T) {
	clocked(t, func(h *home) {
		a := h.publisher("a")
		h.air(6, stream{src: a, ahead: 14 * 24 * time.Hour})
		if !h.Barred("a") {
			t.Fatal("not in quarantine")
		}
		h.leads.wall = h.leads.wall.Add(-14 * 24 * time.Hour) // as it was
		if r := h.air(1, stream{src: a}); !taken(r[0]) || h.Barred("a") {
			t.Errorf("%+v, in quarantine: %t", r[0], h.Barred("a"))
		}
	})
}

// A home that is earlier than another one, because the other's path is slow, is held apart until the other has brought the same.
func TestEarlyAndRight(t *testing.T) {
	clocked(t, func(h *home) {
		slow, fast := h.publisher("slow"), h.publisher("fast")
		h.air(6, stream{src: slow, ahead: -20 * time.Second})
		h.air(20, stream{src: slow, ahead: -20 * time.Second}, stream{src: fast})
		r := h.air(1, stream{src: slow, ahead: -20 * time.Second}, stream{src: fast})
		if !taken(r[0]) || !taken(r[1]) || h.Barred("fast") || h.Barred("slow") {
			t.Errorf("slow %+v, fast %+v", r[0], r[1])
		}
		if n := fast.Apart.Load(); n == 0 || n > 14 {
			t.Errorf("%d objects of the fast one were held apart", n)
		}
	})
	clocked(t, func(h *home) { // the fast one was there first: nothing changes for it
		slow, fast := h.publisher("slow"), h.publisher("fast")
		h.air(6, stream{src: fast})
		if r := h.air(20, stream{src: fast}, stream{src: slow, ahead: -20 * time.Second}); !taken(r[0]) || !taken(r[1]) || fast.Apart.Load() != 0 {
			t.Errorf("fast %+v, slow %+v", r[0], r[1])
		}
	})
}

// The clock of the broadcast is set ahead, or back: both homes follow, and only the first one's first chunk waits for the other's word.
func TestClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{20 * time.Minute, -20 * time.Minute} {
		clocked(t, func(h *home) {
			a, b := h.publisher("a"), h.publisher("b")
			h.air(6, stream{src: a}, stream{src: b})
			h.air(1, stream{src: a, ahead: by}, stream{src: b, ahead: by})
			if r := h.air(30, stream{src: a, ahead: by}, stream{src: b, ahead: by}); !taken(r[0]) || !taken(r[1]) {
				t.Errorf("by %v: %+v, %+v", by, r[0], r[1])
			}
			if n := a.Apart.Load() + b.Apart.Load(); n > 1 || h.Barred("a") || h.Barred("b") {
				t.Errorf("by %v: %d held apart", by, n)
			}
		})
	}
}

// What is sent as fast as it can be, by several homes at different speeds, is no claim about the clock.
func TestFilesAreNotAhead(t *testing.T) {
	clocked(t, func(h *home) {
		a, b := h.publisher("a"), h.publisher("b")
		first := onAir(-24*time.Hour, 0)
		for i := range uint64(40) {
			h.wholeGroup(a, first+i<<16, false)
			for j := range uint64(3) {
				if r := h.wholeGroup(b, first+(3*i+j)<<16, false); !taken(r) {
					t.Fatalf("group %d of the faster one: %+v", 3*i+j, r)
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// Another programme under the name of a broadcast: what was there first stays, and a third home decides.
func TestForeignProgramme(t *testing.T) {
	clocked(t, func(h *home) {
		a, liar := h.publisher("a"), h.publisher("liar")
		h.air(3, stream{src: a, tag: 1})
		if r := h.air(6, stream{src: a, tag: 1}, stream{src: liar, tag: 2}); !taken(r[0]) || r[1].Outcome != Apart {
			t.Fatalf("right %+v, foreign %+v", r[0], r[1])
		}
		if s := h.told(); s["a"].Disputed != 6 || s["liar"].Disputed != 6 || h.Barred("a") || h.Barred("liar") {
			t.Errorf("one word against another: %+v", s)
		}
		// The liar is earlier from now on. Its chunks wait for the home that was there first, and a second home that is right outweighs it.
		b := h.publisher("b")
		r := h.air(2, stream{src: liar, tag: 2}, stream{src: a, tag: 1}, stream{src: b, tag: 1})
		if r[0].Outcome != Apart || !taken(r[1]) || !taken(r[2]) {
			t.Errorf("foreign %+v, right %+v, %+v", r[0], r[1], r[2])
		}
		r = h.air(4, stream{src: liar, tag: 2}, stream{src: a, tag: 1}, stream{src: b, tag: 1})
		if !h.Barred("liar") || !taken(r[1]) || !taken(r[2]) || h.Barred("a") || h.Barred("b") {
			t.Errorf("after four more: foreign %+v, right %+v, %+v", r[0], r[1], r[2])
		}
	})
}

// One home whose broadcast's clock was set back brings two chunks of one bucket, and so does the other.
func TestTwoChunksOfABucket(t *testing.T) {
	clocked(t, func(h *home) {
		a, b := h.publisher("a"), h.publisher("b")
		one, two := onAir(0, 1), onAir(0, 2)
		for _, g := range []uint64{one, two} {
			for _, src := range []*Source{a, b} {
				if r := h.wholeGroup(src, g, false); !taken(r) {
					t.Errorf("%s, group %x: %+v", src.Name, g&0xffff, r)
				}
			}
		}
	})
}

// Catalogs come when there is something new, and two homes may have one each for the same time.
func TestCatalogsAreNotCompared(t *testing.T) {
	clocked(t, func(h *home) {
		h.leads.naming = twoSeconds{catalog: true}
		a, b := h.publisher("a"), h.publisher("b")
		if r := h.air(6, stream{src: a, tag: 1}, stream{src: b, tag: 2, ahead: time.Minute}); !taken(r[0]) || !taken(r[1]) {
			t.Errorf("%+v, %+v", r[0], r[1])
		}
		if r := h.wholeGroup(b, onAir(2*time.Hour, 0), false); r.Outcome != Apart {
			t.Errorf("two hours ahead: %+v", r)
		}
	})
}

// Any number of homes is remembered as a bounded number.
func TestLeadsAreBounded(t *testing.T) {
	clocked(t, func(h *home) {
		for range 3 * maxHomes {
			src := &Source{Name: "x", Who: time.Now().String()}
			h.Attach(src, nil)
			h.put(src, part(onAir(0, 0), 0))
			for i := range uint64(3 * maxClaims) {
				h.put(src, part(onAir(3*time.Hour, i), 0))
			}
			h.Detach(src, false)
			time.Sleep(time.Second)
		}
		if n := len(h.leads.homes); n > maxHomes {
			t.Errorf("%d homes", n)
		}
		for _, l := range h.leads.homes {
			if len(l.claims) > maxClaims || len(l.recent) > stepGroups {
				t.Errorf("%d claims, %d groups", len(l.claims), len(l.recent))
			}
		}
	})
}
