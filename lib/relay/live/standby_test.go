package live

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
)

// relief has a track with standbys, in time that passes only when all wait, and carries out what the track orders.
type relief struct {
	*home
	demand Demand
	asked  map[*Source]*moqt.Location // standbys that send, and from where on
	log    []string                   // "asked b", "rest b"
}

func relieved(t *testing.T, test func(r *relief)) {
	alone(t, func(h *home) { test(&relief{home: h, asked: make(map[*Source]*moqt.Location)}) })
}

func (r *relief) standby(name string) *Source {
	src := &Source{Name: name, Standby: true}
	r.Attach(src, nil)
	return src
}

// look carries out what is ordered now, and returns when to look again.
func (r *relief) look() time.Duration {
	orders, again := r.Relieve(time.Now(), r.demand)
	for _, o := range orders {
		if o.Rest {
			delete(r.asked, o.Source)
			r.log = append(r.log, "rest "+o.Source.Name)
		} else {
			r.asked[o.Source] = &o.From
			r.log = append(r.log, "asked "+o.Source.Name)
		}
	}
	return again
}

// pass lets time pass, looking whenever the track wants to be looked at.
func (r *relief) pass(d time.Duration) {
	for until := time.Now().Add(d); ; {
		left := min(r.look(), time.Until(until))
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}

const (
	partEvery  = 200 * time.Millisecond
	groupParts = 3 // and the end, see part
)

// air has the sources bring one part each, and the end with the last one of a group; n counts parts since the beginning.
func (r *relief) air(n int, sources ...*Source) {
	r.t.Helper()
	for _, src := range sources {
		r.bring(src, n)
	}
	r.pass(partEvery)
}

func (r *relief) bring(src *Source, n int) {
	group, id := uint64(n/groupParts), uint64(n%groupParts)
	r.put(src, part(group, id))
	if id == groupParts-1 {
		r.put(src, part(group, groupParts))
	}
}

// steady has a source send alone for some groups, and returns the number of the next part.
func (r *relief) steady(from, groups int, src *Source) int {
	r.t.Helper()
	for n := from; n < from+groups*groupParts; n++ {
		r.air(n, src)
	}
	return from + groups*groupParts
}

func (r *relief) wants(what string, log ...string) {
	r.t.Helper()
	if !slices.Equal(r.log, log) {
		r.t.Errorf("%s: %q, want %q", what, r.log, log)
	}
}

// While a home sends in its time the standby is not asked, and it is asked within a part's time when nothing comes.
func TestStandbyIsAskedWhenNothingComes(t *testing.T) {
	relieved(t, func(r *relief) {
		a, b := r.publisher("a"), r.standby("b")
		n := r.steady(0, 10, a)
		r.wants("healthy")
		r.bring(a, n)
		began := time.Now()
		r.pass(partEvery * 3 / 2)
		r.wants("stalled", "asked b")
		if at := *r.asked[b]; at != (moqt.Location{Group: uint64(n / groupParts), Object: uint64(n%groupParts) + 1}) {
			t.Errorf("asked from %v on", at)
		}
		if took := time.Since(began) - partEvery; took > partEvery {
			t.Errorf("asked %v after the part was due", took)
		}
	})
}

// The standby is asked at once when the home's session ends, in order or not, and rests when the home is back and brings a whole group.
func TestStandbyRests(t *testing.T) {
	relieved(t, func(r *relief) {
		a, b := r.publisher("a"), r.standby("b")
		n := r.steady(0, 10, a)
		r.Detach(a, true)
		r.look()
		r.wants("left", "asked b")
		if r.Ended() {
			t.Error("the track ended with one home of two")
		}
		n = r.steady(n, 2, b)
		again := r.publisher("a")
		r.air(n, b) // the home comes in the middle of a group
		for n++; n%groupParts != 0; n++ {
			r.air(n, again, b)
		}
		r.wants("back in a group", "asked b")
		for range groupParts {
			r.air(n, again, b)
			n++
		}
		r.wants("back", "asked b", "rest b")
		r.steady(n, 10, again)
		r.wants("healthy again", "asked b", "rest b")
	})
}

// A home that fails again and again has to bring more whole groups each time before the standby rests.
func TestStandbyStaysWithAHomeThatFails(t *testing.T) {
	relieved(t, func(r *relief) {
		a, b := r.publisher("a"), r.standby("b")
		n, needed := r.steady(0, 10, a), []int{}
		for range 3 {
			for range groupParts { // a group is damaged at the antenna
				sources := []*Source{}
				if r.asked[b] != nil {
					sources = append(sources, b)
				}
				r.air(n, sources...)
				n++
			}
			for p := n - groupParts; p < n; p++ { // the standby brings what it was asked for
				r.bring(b, p)
			}
			groups := 0
			for ; r.asked[b] != nil; groups++ {
				for range groupParts {
					r.air(n, a, b)
					n++
				}
			}
			needed = append(needed, groups)
		}
		if needed[0] > 2 || needed[1] <= needed[0] || needed[2] <= needed[1] {
			t.Errorf("whole groups before the standby rests: %v", needed)
		}
	})
}

// Of several standbys one is asked, the next one if that brings nothing, and the one that was in vain rests.
func TestNextStandby(t *testing.T) {
	relieved(t, func(r *relief) {
		a, _, c := r.publisher("a"), r.standby("b"), r.standby("c")
		n := r.steady(0, 10, a)
		r.pass(partEvery * 5 / 4)
		r.wants("stalled", "asked b")
		r.pass(partEvery * 5 / 4)
		r.wants("the first one is dead, too", "asked b", "asked c")
		r.steady(n, 3, c)
		r.wants("the second one sends", "asked b", "asked c", "rest b")
	})
}

// However many standbys there are that bring nothing, one that has something is asked soon.
func TestManyStandbysThatBringNothing(t *testing.T) {
	relieved(t, func(r *relief) {
		a := r.publisher("a")
		for i := range 100 {
			r.standby(fmt.Sprint("dead ", i))
		}
		b := r.standby("b")
		r.steady(0, 10, a)
		began := time.Now()
		for r.asked[b] == nil && time.Since(began) < time.Minute {
			r.pass(partEvery / 4)
		}
		if took := time.Since(began); took > 15*partEvery {
			t.Errorf("asked after %v", took)
		}
	})
}

// A standby that brings what contradicts its own hash is in vain, and the next one is asked.
func TestStandbyThatLies(t *testing.T) {
	relieved(t, func(r *relief) {
		a, b, c := r.publisher("a"), r.standby("b"), r.standby("c")
		n := r.steady(0, 10, a)
		r.pass(partEvery * 3 / 2)
		for range 4 {
			r.put(b, changed(part(uint64(n/groupParts), 0), false))
			r.pass(partEvery / 2)
		}
		r.wants("lies", "asked b", "asked c")
		r.steady(n, 3, c)
		r.wants("the truth", "asked b", "asked c", "rest b")
	})
}

// A standby that is seconds behind goes on when it comes, and one that is not takes its place.
func TestStandbyBehind(t *testing.T) {
	relieved(t, func(r *relief) {
		a, b := r.publisher("a"), r.standby("b")
		n := r.steady(0, 10, a)
		r.pass(3 * time.Second) // what b has comes that late
		if r.asked[b] == nil {
			t.Fatalf("%q", r.log)
		}
		n = r.steady(n, 3, b)
		c := r.standby("c")
		r.steady(n, 3, b)
		if r.asked[c] != nil || r.asked[b] == nil {
			t.Errorf("%q", r.log)
		}
	})
}

// A group of which a home leaves out the last part, and goes on, is asked for once.
func TestStandbyForAHole(t *testing.T) {
	relieved(t, func(r *relief) {
		a, b := r.publisher("a"), r.standby("b")
		n := r.steady(0, 10, a)
		hole := uint64(n / groupParts)
		r.air(n, a)
		r.bring(a, n+1)
		n += groupParts
		r.air(n, a)
		r.air(n+1, a)
		r.wants("a hole", "asked b")
		if r.asked[b] == nil || *r.asked[b] != (moqt.Location{Group: hole, Object: 2}) {
			t.Errorf("asked from %v on", r.asked[b])
		}
		r.air(n+2, a)
		r.steady(n+groupParts, 6, a)
		r.wants("nobody has it", "asked b", "rest b")
	})
}

// A part that a home leaves out, and goes on behind it, is asked for before subscribers pass over it.
func TestStandbyForAPart(t *testing.T) {
	relieved(t, func(r *relief) {
		a, b := r.publisher("a"), r.standby("b")
		n := r.steady(0, 10, a)
		r.air(n+1, a)
		r.air(n+2, a)
		if len(r.log) != 1 || r.asked[b] == nil || *r.asked[b] != (moqt.Location{Group: uint64(n / groupParts)}) {
			t.Errorf("%q, from %v on", r.log, r.asked[b])
		}
	})
}

// A standby alone is asked after a moment, in which a home that sends by itself may come.
func TestStandbyAlone(t *testing.T) {
	relieved(t, func(r *relief) {
		r.standby("b")
		r.pass(firstGrace / 2)
		r.wants("at first")
		r.pass(firstGrace)
		r.wants("alone", "asked b")
	})
	relieved(t, func(r *relief) {
		r.standby("b")
		r.pass(firstGrace / 2)
		r.steady(0, 5, r.publisher("a"))
		r.wants("a home came")
	})
}

// A publisher of which nothing ever came does not send, so upstreams are asked.
func TestSilentPublisherDoesNotSend(t *testing.T) {
	alone(t, func(h *home) {
		a := h.publisher("a")
		if !h.Sends(time.Now()) {
			t.Error("it has no time to begin")
		}
		time.Sleep(unknownBeat)
		if h.Sends(time.Now()) {
			t.Error("it sends, and nothing ever came")
		}
		h.takes(a, part(1, 0))
		time.Sleep(time.Hour) // as of a catalog
		if !h.Sends(time.Now()) {
			t.Error("it does not send although nothing is known of its beat")
		}
	})
}

// Where everybody is silent, standbys are asked again and again, less and less often.
func TestNobodyHasAnything(t *testing.T) {
	relieved(t, func(r *relief) {
		a, b, c := r.publisher("a"), r.standby("b"), r.standby("c")
		r.steady(0, 10, a)
		r.pass(10 * time.Minute)
		if n := len(r.log); n < 10 || n > 80 {
			t.Errorf("asked %d times in 10 minutes", n)
		}
		for _, s := range []*Source{b, c} {
			if at := *r.asked[s]; at != (moqt.Location{}) {
				t.Errorf("%s was asked from %v on in the end: groups below that are not sent after the clock was set back", s.Name, at)
			}
		}
	})
}

// A part that takes longer once than all others moves nothing; chunks that come all at once are late half a second after the longest pause.
func TestBeat(t *testing.T) {
	var b beat
	at := time.Unix(0, 0)
	for i := range 100 {
		if i == 20 {
			at = at.Add(time.Minute)
		}
		b.came(at, false)
		at = at.Add(partEvery)
	}
	if late := b.late(); late != partEvery*5/4 {
		t.Errorf("late after %v", late)
	}
	for _, burst := range []int{1, 10, 60} {
		b = beat{}
		for chunk := range 12 {
			for range burst {
				b.came(at, false)
				at = at.Add(time.Millisecond)
			}
			pause := 2 * time.Second
			if late := b.late(); late <= pause {
				t.Errorf("chunks of %d objects: late after %v, in chunk %d", burst, late, chunk)
			}
			at = at.Add(pause)
		}
		if late := b.late(); burst > 1 && late > 3*time.Second {
			t.Errorf("chunks of %d objects: late after %v", burst, late)
		}
	}
}

// A beat that was learned wrong is put right, although a standby is asked in each pause.
func TestBeatIsPutRight(t *testing.T) {
	var b beat
	at := time.Unix(0, 0)
	for range 60 {
		b.came(at, false)
		at = at.Add(partEvery)
	}
	for range 30 {
		b.came(at, true)
		at = at.Add(2 * time.Second)
	}
	if late := b.late(); late < 2*time.Second {
		t.Errorf("late after %v", late)
	}
}

// What another relay has is not asked for unless somebody watches it here, and a standby that sends rests after a while.
func TestStandbyOfWhatIsElsewhere(t *testing.T) {
	relieved(t, func(r *relief) {
		b := r.standby("b")
		r.demand = Elsewhere
		r.pass(time.Minute)
		r.wants("elsewhere")
		r.demand = Watched
		r.pass(time.Millisecond)
		r.wants("watched", "asked b")
		r.steady(0, 3, b)
		r.demand = Elsewhere
		r.pass(firstProbe / 2)
		r.wants("not watched any more", "asked b")
		r.pass(5 * firstProbe / 6) // within probeFails of the rest
		r.wants("after a while", "asked b", "rest b")
		r.demand = Kept
		r.pass(time.Millisecond)
		r.wants("not elsewhere any more", "asked b", "rest b", "asked b")
		r.demand = Elsewhere
		r.pass(3 * firstProbe / 2)
		r.wants("it was wrong to rest, so it takes longer", "asked b", "rest b", "asked b")
	})
}

// Of two relays with a standby each, and no viewer, one has its standby send. They do not take turns for ever.
func TestStandbysOfTwoRelays(t *testing.T) {
	relieved(t, func(one *relief) {
		h, end := atRelay(t)
		defer end()
		two := &relief{home: h, asked: make(map[*Source]*moqt.Location)}
		a, b := one.standby("a"), two.standby("b")
		nobody := 0
		for n := range int(6 * firstProbe / partEvery) {
			now := time.Now()
			for r, other := range map[*relief]*relief{one: two, two: one} {
				if r.demand = Kept; other.Sending(now) {
					r.demand = Elsewhere
				}
			}
			one.look()
			two.look()
			if one.asked[a] != nil {
				one.bring(a, n)
			}
			if two.asked[b] != nil {
				two.bring(b, n)
			}
			if n > 0 && one.asked[a] == nil && two.asked[b] == nil {
				nobody++
			}
			time.Sleep(partEvery)
		}
		if late := nobody > int(firstGrace/partEvery); late || len(one.log)+len(two.log) > 5 || one.Sending(time.Now()) == two.Sending(time.Now()) {
			t.Errorf("%q and %q, nobody sent %d times", one.log, two.log, nobody)
		}
	})
}

// An upstream that brings only what the standby brought first does not relieve it, but for a probe; one that brings things first does.
func TestStandbyAndUpstream(t *testing.T) {
	relieved(t, func(r *relief) {
		r.demand = Watched
		b := r.standby("b")
		r.pass(time.Millisecond)
		n := r.steady(0, 5, b)
		up := &Source{Name: "up", Upstream: true}
		r.Attach(up, nil)
		for range 5 * groupParts {
			r.air(n, b, up)
			n++
		}
		r.wants("an echo", "asked b")
		if !r.Sends(time.Now()) {
			t.Error("a standby that was asked does not send")
		}
		for range 5 * groupParts {
			r.air(n, up, b)
			n++
		}
		r.wants("a source of its own", "asked b", "rest b")
		if r.Sends(time.Now()) {
			t.Error("a standby that rests sends")
		}
		r.pass(partEvery * 2)
		r.wants("it fails", "asked b", "rest b", "asked b")
		r.Detach(up, false)
		for began := time.Now(); r.Sends(time.Now()) && time.Since(began) < 4*firstProbe; n++ {
			r.air(n, b)
		}
		if r.Sends(time.Now()) {
			t.Error("no probe")
		}
	})
}
