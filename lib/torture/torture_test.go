package torture

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	duration = flag.Duration("torture.duration", byDefault, "how long TestPromises runs, of one core")
	seed     = flag.Uint64("torture.seed", 1, "seed of the first combination")
	workers  = flag.Int("torture.workers", 1, "combinations at a time")
	keep     = flag.Int("torture.shrink", 3, "failures of each promise that are shrunk")
	stop     = flag.Bool("torture.stop", false, "stop at the first violation")
	hint     = flag.String("torture.hint", "", "habits that every combination has, as in a replay line; behind a slash those of receivers that lose packets")
	habits   = flag.Bool("torture.habits", false, "print the promoted share by habit")
	replay   = flag.String("replay", "", "a combination, as a failure prints it")
)

// byDefault is how long go test runs TestPromises; scripts/torture runs it for longer.
const byDefault = 50 * time.Second

// mostByDefault is how many combinations that are at most.
const mostByDefault = 400

// tally sums up a run.
type tally struct {
	mu           sync.Mutex
	combinations int
	receptions   int
	sum          Result
	broken       map[string][]Spec
	count        map[string]int
	byHabit      map[string]*[4]int // combinations, violations, due, done
}

func (t *tally) add(spec *Spec, r *Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.combinations++
	t.receptions += len(spec.Receivers)
	t.sum.Packets += r.Packets
	t.sum.Chunks += r.Chunks
	t.sum.Promoted += r.Promoted
	t.sum.Due += r.Due
	t.sum.DueDone += r.DueDone
	t.sum.Compared += r.Compared
	t.sum.Invisible += r.Invisible
	t.sum.Edge += r.Edge
	t.sum.Lapsed += r.Lapsed
	t.sum.Chance += r.Chance
	t.sum.LateTold += r.LateTold
	t.sum.Unripe += r.Unripe
	for _, h := range append(spec.habits(), "any") {
		n := t.byHabit[h]
		if n == nil {
			n = new([4]int)
			t.byHabit[h] = n
		}
		n[0]++
		if len(r.Violations) > 0 {
			n[1]++
		}
		n[2] += r.Due
		n[3] += r.DueDone
	}
	once := map[string]bool{}
	for _, v := range r.Violations {
		if t.count[v.Promise]++; once[v.Promise] {
			continue
		}
		once[v.Promise] = true
		t.broken[v.Promise] = append(t.broken[v.Promise], *spec)
	}
}

func share(n, of int) string {
	if of == 0 {
		return "none"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(n)/float64(of))
}

// torture runs combinations from a seed on until the time is over, or so many have run if most is not 0.
func torture(from uint64, for_ time.Duration, most uint64, stop bool) *tally {
	t := &tally{broken: map[string][]Spec{}, count: map[string]int{}, byHabit: map[string]*[4]int{}}
	until := time.Now().Add(for_)
	next := from
	var wg sync.WaitGroup
	for range *workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for time.Now().Before(until) {
				t.mu.Lock()
				n := next
				next++
				done := stop && len(t.count) > 0 || most > 0 && n-from >= most
				t.mu.Unlock()
				if done {
					return
				}
				spec := Random(n)
				if *hint != "" {
					spec.Hint(*hint)
				}
				t.add(&spec, Check(&spec))
			}
		}()
	}
	wg.Wait()
	return t
}

// TestPromises asserts both promises on random streams and receivers for a while.
func TestPromises(t *testing.T) {
	if *replay != "" {
		t.Skip("replaying")
	}
	d := *duration
	if d == 0 {
		t.Skip("give -torture.duration")
	}
	if testing.Short() {
		d = min(d, 5*time.Second)
	}
	if *workers == 0 {
		*workers = runtime.NumCPU()
	}
	if some := Random(1); some.Hint(*hint) != nil {
		t.Fatalf("-torture.hint %q: want habit=number, and a slash before those of receivers", *hint)
	}
	began := time.Now()
	most := uint64(0)
	if d == byDefault {
		most = mostByDefault // what go test runs must not depend on how fast the machine is
	}
	sum := torture(*seed, d, most, *stop)
	took := time.Since(began).Seconds()
	s := &sum.sum
	t.Logf("%d combinations from seed %d, %d receptions, %d packets broadcast, in %.0f s: %.1f combinations/s", sum.combinations, *seed,
		sum.receptions, s.Packets, took, float64(sum.combinations)/took)
	t.Logf("%d chunks, %d promoted (%s); of %d whose promotion is promised, %d (%s); %d objects compared", s.Chunks, s.Promoted,
		share(s.Promoted, s.Chunks), s.Due, s.DueDone, share(s.DueDone, s.Due), s.Compared)
	t.Logf("excused: %d that no signal of H.222.0 shows, %d told late in time, %d when the input ended too early, %d named by time tables that disagree, %d not promoted where a step may hide, %d that share a name by chance",
		s.Invisible, s.LateTold, s.Unripe, s.Edge, s.Lapsed, s.Chance)
	if (s.Due == 0 || s.Compared == 0) && *hint == "" {
		t.Error("nothing was promised, or nothing compared: this test saw nothing")
	}
	if *habits {
		for _, h := range slices.SortedFunc(maps.Keys(sum.byHabit), func(a, b string) int {
			x, y := sum.byHabit[a], sum.byHabit[b]
			return cmp.Or(cmp.Compare(y[1]*x[0], x[1]*y[0]), cmp.Compare(a, b))
		}) {
			n := sum.byHabit[h]
			t.Logf("%-14s %5d combinations, %5d with violations (%s), %s promoted of what is promised", h, n[0], n[1], share(n[1], n[0]), share(n[3], n[2]))
		}
	}
	for _, promise := range slices.Sorted(maps.Keys(sum.broken)) {
		specs := sum.broken[promise]
		t.Errorf("%s: %d violations in %d of %d combinations", promise, sum.count[promise], len(specs), sum.combinations)
		for n, spec := range specs {
			if n >= *keep {
				t.Logf("seed %d, not shrunk:\n  go test ./lib/torture -run TestReplay -replay '%s'", spec.Seed, spec)
				continue
			}
			small := Shrink(spec, promise, 10*time.Second)
			t.Errorf("seed %d, shrunk:\n  go test ./lib/torture -run TestReplay -replay '%s'\n%s", spec.Seed, small, shown(&small, promise))
		}
	}
}

// shown is the first violation of a promise.
func shown(spec *Spec, promise string) string {
	for _, v := range Check(spec).Violations {
		if v.Promise == promise {
			return "  " + v.String()
		}
	}
	return "  not seen again"
}

// TestReplay judges one combination again.
func TestReplay(t *testing.T) {
	if *replay == "" {
		t.Skip("no -replay")
	}
	spec, err := ParseSpec(*replay)
	if err != nil {
		t.Fatal(err)
	}
	if name := os.Getenv("TORTURE_WRITE"); name != "" { // the stream of each receiver, for other tools
		if err := Write(&spec, name); err != nil {
			t.Fatal(err)
		}
	}
	r := Check(&spec)
	t.Logf("%d packets, %d of %d chunks promoted, %d of %d promised; excused: %d invisible, %d told late, %d unripe, %d edge, %d lapsed, %d by chance", r.Packets, r.Promoted, r.Chunks,
		r.DueDone, r.Due, r.Invisible, r.LateTold, r.Unripe, r.Edge, r.Lapsed, r.Chance)
	for _, v := range r.Violations {
		t.Error(v)
	}
}

// found are combinations that once failed, each for a rule that was missing or wrong.
var found = []string{
	// While the PAT does not list the program its clock may step: what was heard of the time before counts no more.
	"seed=3000017219 len=8 disc=1 programs=1 time=2 timejit=225 tot=1 clock=1 step=4 number=2 / seed=5614805",
	"seed=3000028184 len=14 disc=1 programs=1 time=8 clock=2 step=4 number=2 / seed=11364072",
	// Where another SDT comes before the first PAT behind a chunk, nobody knows whose the chunk is.
	"seed=3000040908 len=3 gop=1 reorder=2 audio=3 pcrms=15 cbr=1 tables=120 clock=1 pids=18 onid=1 / seed=6063637",
	// Missing bytes show a loss where they are missing, and not among lost packets of that PID further on, if the counter goes on there.
	"seed=3000016500 len=10 atsc=1 codec=1 fps=2 reorder=2 open=1 sets=1 acodec=1 aframes=1 pcr=2 pcrms=20 cbr=1 stuff=2 dup=200 apart=1 programs=1 patsec=1 tabjit=1 time=2 timejit=900 step=3 stepgop=1 / seed=3643146 / seed=12674360 join=4855 loss=9 of=2 burst=39 cut=1 dupdrop=1 strip=3",
	// The counter of a torn packet may be taken for that of a whole one: of the packets that are lost behind it, sixteen or thirty-two do not show.
	"seed=4110000197 len=13 atsc=1 codec=1 reorder=2 open=1 pes=3 rai=2 acodec=1 aframes=1 astop=1 sparse=1 every=4 pcr=2 cbr=1 dup=3 tables=80 streams=2 / seed=8805238 / seed=13202679 join=4663 loss=9 of=2 burst=39 near=1 tei=1 cut=1 strip=3",
	// Behind a PAT that lists the program no longer, a counter that starts anew on a sparse PID shows no loss in chunks before: nobody knows of the step.
	"seed=4205000304 len=17 sparse=1 every=9 programs=1 step=2 pids=19 number=1 / seed=601553",
	// Nor of chunks behind the PAT that lists the program again.
	"seed=4400000951 codec=3 aframes=1 sparse=4 every=9 programs=1 step=2 pids=1 number=2 / seed=3753127",
	"seed=4400001392 len=17 codec=3 aframes=1 programs=1 clock=2 step=2 pids=17 number=2 / seed=3781327",
	// Where every PCR announces a step and one would change names, a chunk whose end is told just before the clock steps may be on either clock.
	"seed=379 len=2 codec=1 gop=2 reorder=1 open=2 pes=2 adead=1 pcrms=15 disc=1 pmtchange=3 clock=2 step=1 stepgop=1 / seed=12225780",
	// Nor does whoever lost packets before a step know of one there: three times must tell.
	"seed=164 len=16 codec=1 gop=1 sets=1 audio=3 pcrms=30 pcrirr=1 dup=1 disc=1 time=2 tot=1 clock=2 step=1 / seed=10209988 / seed=9310341 loss=3 burst=1 near=1",
	// Times that were heard while the PAT did not list the program may be long before the next PCR.
	"seed=4302000695 atsc=1 codec=3 aframes=1 pcr=2 pcrms=60 pcrirr=1 programs=1 timejit=300 clock=2 pids=17 number=2 / seed=8037916 / seed=15249049 part=1",
	// A step of 5 to 6 s that was lost, and a leap second: times of the clock before it agree with some of those behind it and not with others.
	"seed=301000153 len=13 fps=3 gop=2 reorder=1 open=1 pes=2 audio=1 pcrms=1 dup=3 pmtfirst=1 tables=40 tabjit=1 step=4 leap=1 / seed=9969595 / seed=6521407 join=1 loss=9 of=1 burst=39 near=1",
	// Whoever heard one PMT and lost all that follow cannot know that there were any: H.222.0 asks for no second one.
	"seed=1100024561 codec=1 fields=1 audio=1 cbr=1 pmtchange=2 tables=480 / seed=10586448 / seed=9215177 loss=5 of=5 burst=39 near=1",
	// The chunk after a chunk has ended for whoever knows that the next one begins: a loss before its random access point, in the same PES packet, hides that.
	"seed=1000007389 len=11 codec=1 gop=1 reorder=1 open=1 pes=2 adead=1 pcr=2 pcrms=1 pmtchange=2 time=2 step=3 trap=1 / seed=8460925 / seed=15809245 join=433 loss=1 near=1",
	// A receiver's first access unit is no step of the clock, though it follows a counter that jumps, announced.
	"seed=200013014 len=13 atsc=1 codec=2 gop=1 open=1 audio=1 acodec=2 aframes=1 astop=1 pcr=2 pcrms=75 cbr=1 stuff=3 af=8 dup=20 disc=1 pmtfirst=1 tables=480 tabjit=1 time=4 clock=1 leap=1 trap=8 / seed=6557996 / seed=13268514 join=6961 loss=1 of=1 burst=1 dupdrop=3",
	// The first chunk after joining is behind no step of the clock: a counter that jumps, announced, is damage there as anywhere.
	"seed=300015444 len=12 fps=2 gop=2 reorder=2 open=1 acodec=1 sparse=13 every=2 pcr=3 cbr=1 stuff=3 disc=3 tot=1 / seed=14915084 / seed=11353468 join=834 loss=9 of=3 dupadd=1",
	// Where every PCR announces a step, a loss that another packet of the PID has shown before the next PCR is a loss.
	"seed=200014935 len=10 codec=1 acodec=2 sparse=4 disc=1 pmtfirst=1 time=8 drift=2 / seed=12302698 / seed=758456 join=880 loss=1 of=1 burst=39 near=1",
	// A packet without payload that announces a jump of the counter is no part of a chunk on the new clock: who never heard its PID knows of no jump.
	"seed=3 len=1 sparse=1 every=4 disc=5 step=2 / seed=5367325 / seed=13432681 join=5805",
	// Nor of a chunk that it does not damage, whose audio it may end.
	"seed=137 len=6 fps=3 reorder=2 open=1 astop=1 disc=5 step=2 / seed=5350438 / seed=1219071 join=7885",
	// A step of the clock that is no longer than PCRs may lie apart is one, if it is announced: the counter of a sparse PID jumps with it.
	"seed=600057147 sparse=1 every=1 clock=1 step=2 / seed=2448290",
	// A packet without payload that announces a jump stays with the chunk that it damages, though the access unit before it may begin the next one.
	"seed=600021195 len=7 codec=2 fps=2 gop=1 reorder=2 open=2 sets=1 pes=2 sparse=8 every=2 disc=5 clock=3 step=2 / seed=13244979 / seed=3460683 join=6746",
	// A time table that is heard between a loss and the PCR behind it is of the clock behind the loss.
	"seed=600013980 len=13 atsc=1 gop=1 audio=1 acodec=1 astop=1 sparse=1 pcrms=30 cbr=1 time=4 timejit=100 clock=2 trap=3 / seed=9511055 / seed=3598221 join=7588 loss=1 part=1",
	// How long pictures are shown after they are decoded was heard before a loss: few PES packets behind it may all begin with pictures that are shown at once.
	"seed=1100005545 len=11 gop=1 reorder=2 open=1 pes=3 acodec=1 aframes=1 sparse=3 every=2 cbr=1 tables=80 / seed=16316682 / seed=4233772 join=6221 loss=1 near=1 cut=1 strip=2",
	// A random access point whose PES packet began before the program was known is not heard.
	"seed=1100013143 len=14 codec=2 gop=1 reorder=2 open=1 pes=3 aframes=6 sparse=6 every=4 pcr=2 pcrms=15 pcrirr=1 cbr=1 stuff=3 af=4 programs=1 tables=80 tabjit=1 timejit=900 tot=2 trap=8 / seed=2980295 join=9700",
	// Where every PCR announces a step, a counter that jumps where a PES packet begins shows where the other counters start anew.
	"seed=1100010443 sparse=1 every=1 disc=1 clock=1 step=2 / seed=16446839",
	// That may be audio, if the PCRs are on the PID of video, which goes on to count.
	"seed=51 len=15 codec=1 fps=2 gop=1 open=1 aframes=6 adead=1 sparse=1 every=1 pcr=1 pcrms=40 pcrirr=1 cbr=1 stuff=1 dup=20 disc=1 programs=1 patsec=2 pmtchange=2 tables=480 time=2 timejit=300 clock=1 step=2 drift=2 dst=1 trap=8 / seed=7434220",
	// A time that is heard behind a step of the decoding times is of the new clock, but nobody knows how long before the next PCR, if PCRs were lost.
	"seed=471 len=3 codec=2 sparse=1 pcr=1 pcrms=20 af=2 disc=3 pmtfirst=1 tables=30 tabjit=1 tot=2 clock=2 step=3 trap=1 / seed=6273072 / seed=2842241 join=4255 loss=9 of=4 burst=39 near=1",
	// A step that is shorter than 500 ms shows in decoding times, too.
	"seed=423 len=6 atsc=1 codec=1 gop=3 pcr=1 pcrms=75 pcrirr=1 time=1 clock=2 step=3 / seed=4521649 / seed=7099029 loss=1 of=4 burst=39 near=1",
	// A step may be announced by a PCR that is hardly ahead of the one before, because PCRs between them were lost: times heard there are of either clock.
	"seed=8242 len=8 codec=2 fps=2 gop=2 peslen=1 rai=2 audio=1 acodec=1 aframes=3 adead=1 pcr=1 pcrms=75 tables=80 time=1 tot=1 clock=2 step=3 drift=1 / seed=3518291 / seed=13614779 byte=100 loss=2 of=4 burst=39 near=1 dupadd=50 part=1",
	// Behind missing bytes, three headers of PES packets that are alike look like the starts of packets; the run that goes on is of packets.
	"seed=2100005924 len=17 audio=2 pcrirr=1 / seed=8597798 / seed=14188831 join=9641 loss=1 burst=1 tei=1 cut=1 dupadd=5",
	// A chunk that began before the first PCR is on the clock of that PCR, also if the clock steps before the chunk has its name.
	"seed=849 len=2 codec=2 fps=6 acodec=1 pcr=1 pcrms=75 pmtfirst=1 tables=480 tot=1 clock=2 step=3 / seed=6219492 / seed=16249169 loss=2 of=4 burst=39 near=1 dupadd=50",
	// Whoever hears no PCR where others hear some has a relation to UTC of his own.
	"seed=1196 len=6 codec=1 fps=5 peslen=1 audio=3 pcr=1 pcrms=75 stuff=3 af=9 tables=80 time=1 tot=1 clock=2 step=3 trap=24 / seed=6030786 / seed=930273 loss=2 of=4 burst=39 near=1 dupdrop=2 remake=2 strip=1 read=2",
	// A counter that starts anew behind the PCR that steps, where a PES packet of the clock before went on, hides no other step.
	"seed=352 len=10 atsc=1 step=2 / seed=16466366",
	// Nor does it damage the first chunk behind the step, though it is not decided yet that the pending access unit begins it.
	"seed=57 pes=2 audio=2 aframes=6 pcrirr=1 step=2 / seed=16568137",
	// A PES packet that began behind the step is of the new clock, also before the first chunk: a counter that jumps behind it, announced, shows a loss.
	"seed=5046 len=1 atsc=1 fps=2 gop=1 reorder=2 open=1 sets=1 fields=1 acodec=1 sparse=3 every=1 pcr=1 pcrms=15 dup=3 disc=3 pmtfirst=1 tables=80 tabjit=1 step=2 / seed=763367 / seed=3766583 join=4980 loss=3 of=2 burst=1 near=1 dupadd=50",
	// Whoever joins just before the clock steps and does not know the program yet hears of no step: a counter that starts anew shows a loss.
	"seed=317 astop=1 tables=480 step=2 / seed=1 / seed=6163750 join=4554",
	// An audio PES packet of the clock before goes on behind the first chunk of the new one: a counter that jumps behind that, announced, is no loss.
	"seed=800021523 len=1 acodec=1 aframes=6 astop=1 step=2 / seed=15134579",
	// Near an edge of the name a table whose next PCR announces a step is tied to no clock, so the time was not heard.
	"seed=1600006439 disc=2 time=2 clock=1 / seed=15364012",
	"seed=1600030525 disc=2 time=2 clock=2 / seed=8947220",
	"seed=1600049703 len=11 codec=1 gop=4 reorder=2 sets=1 fields=1 pes=1 peslen=1 rai=1 acodec=2 sparse=14 every=1 pcrms=20 pcrirr=1 cbr=1 stuff=2 af=4 dup=200 disc=2 tables=480 time=8 timejit=100 clock=3 / seed=3138473 / seed=9846246 join=8628 byte=100 dupadd=50 dupdrop=1 strip=2 pack=2 read=1 / seed=3713271 join=9073 byte=1 loss=2 of=3 sixteen=2 tei=3 dupdrop=3 pack=2 read=1 / seed=7383897 join=4781 byte=100 loss=2 sixteen=2 near=1 tei=3 cut=1 dupdrop=2 strip=3 / seed=9154422 join=9351 byte=1 loss=9 of=2 sixteen=1 near=1 dupdrop=1 read=1 / seed=1281575 join=4815 loss=1 of=1 burst=14 tei=3 dupadd=50 strip=3",
	// A packet behind missing bytes may be taken for the rest of a torn one: the loss shows at the packet of its PID behind that, and so may a step.
	"seed=1600018326 len=16 atsc=1 codec=1 audio=2 astop=1 sparse=1 pcrms=5 pcrirr=1 stuff=1 af=10 tables=90 time=8 clock=3 trap=8 / seed=11218483 / seed=8752770 join=4421 tei=3 cut=1 dupadd=50",
	// So may a PCR without payload that tells of a step, or the first copy of a duplicate that begins a chunk.
	"seed=1700035872 len=14 atsc=1 gop=4 reorder=2 acodec=2 astop=1 sparse=1 every=2 pcr=2 pcrms=20 af=4 dup=3 programs=2 pmtfirst=1 tables=1 step=1 stepgop=1 / seed=456621 / seed=3779091 join=1839 loss=3 burst=1 near=1 cut=1 dupdrop=3",
	"seed=1700006229 len=7 codec=3 audio=1 acodec=1 aframes=1 pcr=3 pcrms=40 cbr=1 stuff=3 af=13 dup=200 apart=1 tables=80 tabjit=1 time=1 tot=1 step=2 / seed=15993064 / seed=12473354 join=2906 loss=2 burst=1 near=1 cut=1 dupadd=50 dupdrop=3 strip=1",
	// A PMT that changes before the first chunk ends no access unit that may begin that chunk.
	"seed=1600007749 len=1 codec=2 fps=4 gop=1 reorder=2 open=1 pes=3 pmtchange=2 tables=480 / seed=13501214 join=4566",
	// Sixteen packets that are lost behind a packet without payload which announces a jump show nowhere: the counter goes on from there.
	"seed=1600026303 len=5 atsc=1 codec=1 fps=2 reorder=2 audio=1 pcr=3 pcrms=5 disc=5 pmtfirst=1 timejit=300 clock=2 step=2 / seed=7443721 / seed=4029316 loss=3 sixteen=1 near=1 dupadd=1",
	// Where the PCRs are lost that tell of a step, a counter that starts anew before the next PCR shows a loss since the last packet of its PID.
	"seed=1208 len=14 codec=2 fps=4 gop=4 open=2 pes=3 rai=2 acodec=1 aframes=1 astop=1 sparse=8 pcr=3 pcrms=40 stuff=3 timejit=25 clock=2 step=2 stepgop=1 / seed=15301440 / seed=999528 join=1 loss=1 of=4 burst=39 near=1 dupadd=1 strip=3",
	// Where every PCR announces a step, what looks like one may be a loss of minutes: no offset is carried over.
	"seed=1 len=193 codec=3 aframes=6 pcr=3 pcrms=75 disc=1 tables=480 time=20 tot=1 clock=3 drift=2 / seed=5096243 / seed=10915087 loss=1 burst=16000",
	// Before the first PCR that is heard the clock may have stepped, too: near an edge a chunk that began there has no name.
	"seed=60 atsc=1 codec=1 fps=5 audio=3 pcr=1 pcrms=75 tabjit=1 clock=2 step=3 / seed=4723448 / seed=10777004 join=4000 loss=2 of=4 burst=30 near=1 dupadd=1 strip=2",
	// Where the PCR is lost that tells of a step, a sparse PID whose counter starts anew long after shows a loss since its last packet.
	"seed=1700014322 len=15 gop=1 acodec=2 sparse=6 every=4 cbr=1 clock=1 step=2 / seed=13182789 / seed=4408077 loss=5 sixteen=1 near=1",
	// A counter that starts anew shows an event before the step: it is not joined with a loss that showed just before, or all between the two is damaged.
	"seed=1700039110 len=6 codec=2 fps=1 gop=1 reorder=1 open=1 sets=1 pes=1 acodec=1 aframes=1 sparse=13 every=9 pcr=2 pcrms=7 cbr=1 stuff=3 af=11 programs=1 clock=3 step=2 / seed=5888127 / seed=6407363 join=3292 loss=1 of=1 dupadd=50",
	// Sixteen lost packets of a PID show nowhere, and they may hold the header of a PES packet, which alone says that it is scrambled.
	"seed=1800000659 len=4 fps=5 astop=1 pcr=2 tables=45 scrambled=2 / seed=1 / seed=8145754 join=2494 loss=1 sixteen=1",
	// A TDT just behind missing bytes may have been heard, and then the counter of the next one shows that a table was lost, which may have been a TOT.
	"seed=2200021912 len=2 reorder=1 open=1 audio=3 tables=1 / seed=13572797 / seed=8157812 join=5011 loss=1 of=6 cut=1",
	// Behind a packet without payload that announces a jump the counters of further ones show what was lost, sixteen packets, too.
	"seed=2500020162 len=2 codec=1 fps=5 audio=3 adead=1 pcr=2 pcrms=60 cbr=1 af=3 tables=80 tabjit=1 time=1 step=1 trap=2 / seed=5679138 / seed=1995404 join=6117 loss=5 sixteen=1 near=1 strip=2 / seed=1",
	// No second copy of a packet that begins a PES packet stands behind the first PCR of the next clock: H.222.0 forbids that, and the generator did it.
	"seed=2400007895 len=6 fps=2 gop=4 pcr=3 af=3 dup=200 apart=1 pmtchange=2 tables=30 tabjit=1 step=2 / seed=1288549 dupdrop=1",
	// A PMT that differs from the one before in a few bytes, and has its counter, is no duplicate: 15 packets were lost.
	"seed=2700031765 len=12 codec=1 fps=1 pes=1 sparse=1 every=29 pcrms=1 cbr=1 pmtchange=3 tables=15 tot=1 step=2 / seed=14706221 / seed=14294024 loss=1 of=5 burst=39 near=1",
	// Audio comes back to the program where the clock steps, and its counter starts anew: that damages no chunk that had ended before.
	"seed=77700115 len=4 fps=1 step=2 streams=3 / seed=16774765",
	// The PMT changes between the copies of a chunk's first packet, of which the first was lost.
	"seed=2700023232 len=9 codec=3 acodec=2 aframes=6 pcrms=20 cbr=1 stuff=2 af=2 dup=200 apart=1 pmtchange=3 tabjit=1 tot=2 / seed=1572271 / seed=9506929 dupdrop=1",
	// Chunks that wait for their time are of the broadcast that they were of when they ended, whatever is heard meanwhile.
	"seed=5207 pids=1 onid=1 / seed=3008504",
	"seed=5006 len=4 adead=1 streams=1 number=1 / seed=4629135",
	"seed=325 len=3 fps=3 gop=1 pes=2 audio=1 acodec=1 astop=1 pcr=3 disc=4 programs=1 tables=480 timejit=300 tot=1 drift=2 trap=10 pmtpid=1 pids=2 number=1 / seed=4014326",
	// The only program of the PAT may get another number, and a program that the PAT does not list has no identity.
	"seed=5206 len=1 number=2 / seed=9513839 / seed=2595622 join=9536",
	"seed=5007 pids=2 number=1 / seed=10600917",
	// Nor has it one by an SDT that is heard before the PAT which lists the program again.
	"seed=5002 len=17 gop=4 pes=1 audio=1 sparse=9 every=1 pcr=1 cbr=1 af=2 dup=20 programs=1 tables=180 tot=1 step=1 stepgop=1 number=2 / seed=1 / seed=14776643 join=5830 loss=3 near=1 cut=1 dupadd=50 strip=2",
	// Whoever lost the PMT that counts at a chunk's end knows all the same what audio belongs to the chunk: its own PMT decides.
	"seed=3004 len=14 fps=3 gop=4 reorder=2 open=2 aframes=6 pcr=3 pcrms=20 cbr=1 stuff=1 dup=200 disc=4 programs=1 patsec=2 pmtchange=1 tables=480 time=2 clock=1 pids=17 / seed=15018980 / seed=7239747 loss=9 of=5 near=1",
	"seed=3044 aframes=1 af=1 tables=480 time=1 pids=17 / seed=5584584 / seed=11893830 loss=9 of=5 burst=14 near=1 dupadd=1",
	// A PMT that the PAT moves to another PID, and that says something else there, was not unheard since the input began.
	"seed=5038 pmtpid=1 pids=1 / seed=4002553",
	// No chunk waits for the end of one that a PMT has ended before its time.
	"seed=5006 fps=6 acodec=1 adead=1 pcr=1 streams=4 / seed=4629135",
	// The PCRs of a new PMT count at once.
	"seed=15089 pcr=3 pids=9 / seed=1353708",
	// Decoding times of one cut PID do not go on from those of another.
	"seed=15120 len=5 atsc=1 aframes=1 pmtchange=2 time=4 clock=2 streams=4 / seed=11241602",
	// A table may change, and change back, among lost packets: its version_number shows that.
	"seed=25081 tables=120 number=2 / seed=1 / seed=13071217 loss=9 of=5 burst=39",
	"seed=404000085 len=3 dup=1 pmtchange=2 tables=240 streams=2 / seed=1477730 / seed=12266856 loss=1 of=5 burst=39 near=1",
	// A PMT with another program_number is unheard until it comes behind the PAT that tells the number.
	"seed=25088 len=10 fps=2 pes=1 audio=1 acodec=1 aframes=6 pcrms=20 af=3 pmtfirst=1 tables=480 clock=2 pmtpid=1 pids=3 number=2 / seed=1888926 / seed=6505465 loss=1 of=5 near=1 dupadd=5",
	// Whoever lost the PMT that changes the codec of the cut PID does not find the access units with which chunks begin.
	"seed=25037 len=11 codec=1 pmtchange=2 clock=4 streams=2 / seed=14118826 / seed=16244263 join=6533 loss=9 of=5 burst=39",
	"seed=25009 len=12 codec=1 adead=1 pcr=1 af=1 tables=240 tabjit=1 trap=3 streams=2 / seed=9532708 / seed=16729161 join=7710 loss=9 of=5 burst=14",
	"seed=303000039 len=16 fps=2 open=1 audio=3 sparse=6 every=29 pcr=2 pcrms=40 cbr=1 af=1 pmtchange=2 tables=480 tabjit=1 tot=2 pmtpid=2 streams=2 / seed=3227921 / seed=8230035 join=4253 loss=9 of=5 burst=39 near=1 dupadd=5 strip=1",
	// By a step that is announced no time passes: 10 s without PAT are not over.
	"seed=25087 len=15 atsc=1 aframes=6 sparse=1 every=1 pcr=1 cbr=1 tables=180 step=4 number=1 / seed=1 / seed=16727341 join=9458 loss=1 of=5 burst=39 near=1",
	// Once the program has another number, no part of the chunk goes out under the broadcast's name, in the first seconds neither.
	"seed=206000071 len=2 sparse=1 pcr=3 programs=1 tot=1 pids=19 number=1 / seed=1 / seed=16466791 join=3155 part=1 / seed=8928040 join=8769",
	// While the PAT does not list the program, the silence of its PCRs is no step of the clock.
	"seed=202000099 len=3 pcrms=30 programs=1 pids=19 number=2 / seed=12119106",
	// Whoever lost the PMT that moves the cut PID goes on to cut on the other.
	"seed=201000022 len=6 atsc=1 pes=1 tables=80 timejit=900 streams=4 / seed=10062732 / seed=11890727 join=4660 loss=9 of=5 burst=39 near=1 strip=2",
	// A PID that leaves the program and comes back shows then what was lost before it left.
	"seed=304000034 len=13 codec=1 streams=3 / seed=8977059 / seed=3550083 loss=9 of=2 burst=39 near=1",
	"seed=304000131 len=15 codec=1 fps=2 sets=1 pes=3 cbr=1 pids=17 streams=3 / seed=4388764 / seed=3308339 join=8431 loss=9 sixteen=2 near=1 strip=1",
	// Damage that shows late is also told of a chunk of which only parts were promoted.
	"seed=108000038 len=13 atsc=1 gop=1 reorder=2 open=2 sets=1 fields=1 pes=1 aframes=3 sparse=8 pcr=1 pcrms=40 pcrirr=1 cbr=1 af=8 dup=200 disc=3 pmtfirst=1 tables=80 time=8 drift=1 dst=1 trap=8 streams=4 / seed=12471751 part=1 / seed=9220823 join=261 loss=9 of=3 burst=14 near=1 dupadd=1 part=1",
}

func TestFound(t *testing.T) {
	for _, line := range found {
		spec, err := ParseSpec(line)
		if err != nil {
			t.Fatal(err)
		}
		r := Check(&spec)
		if r.DueDone == 0 && r.Compared == 0 {
			t.Errorf("%s: nothing is promised any more, nor compared", line)
		}
		for _, v := range r.Violations {
			t.Errorf("%s: %v", line, v)
		}
	}
}

// TestSpecRoundTrip: the line that a failure prints is the combination that failed.
func TestSpecRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		want := Random(seed)
		got, err := ParseSpec(want.String())
		if err != nil || got.String() != want.String() {
			t.Fatalf("%s\nbecame %s, %v", want, got, err)
		}
	}
	if _, err := ParseSpec("seed=1 colour=3"); err == nil || !strings.Contains(err.Error(), "colour") {
		t.Errorf("an unknown habit: %v", err)
	}
}

// TestHint: a hint sets habits of the stream, and of the receivers that lose packets; those that get everything stay as they are.
func TestHint(t *testing.T) {
	was, got := Random(7), Random(7)
	if err := got.Hint("pes=3 audio=0 / loss=9 of=1"); err != nil {
		t.Fatal(err)
	}
	if got.H[hPES] != 3 || got.H[hAudio] != 0 {
		t.Errorf("the stream has pes=%d audio=%d", got.H[hPES], got.H[hAudio])
	}
	for i, r := range got.Receivers {
		if i < 2 && r != was.Receivers[i] || i >= 2 && (r.H[rLoss] != 9 || r.H[rLossKind] != 1) {
			t.Errorf("receiver %d has %v", i, r.H)
		}
	}
	for _, wrong := range []string{"colour=3", "pes", "/ pes=3", "pes=-1"} {
		if some := Random(7); some.Hint(wrong) == nil {
			t.Errorf("%q is no hint", wrong)
		}
	}
}
