package live

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// A standby is a source that sends only while it is asked to (docs/format/standby.md). A track asks one when nobody else sends, when what
// comes is late, and when a group stays unfinished; and sends it back to rest when another source brings whole groups again.
//
// Late means in the track's own beat: a quarter as long again as the longest times between two of its last objects, but no more than half a second
// longer. One pause alone does not move that. Times are taken from stretches that are long enough to have a pause in them where a chunk comes
// all at once, so such a track is not taken for one that stalls between its chunks.

const (
	// A stretch has so many objects and lasts so long at least; so many are remembered, of which the second longest time counts; and the
	// beat is known after fewStretches. Before that a track is late after unknownBeat.
	stretchObjects, stretchLasts = 8, time.Second
	stretches, fewStretches      = 32, 3
	unknownBeat                  = 5 * time.Second
	// fastBeat and slowBeat bound when a track is late.
	fastBeat, slowBeat = 100 * time.Millisecond, 15 * time.Second
	// mostMargin bounds what is added to the second longest time.
	mostMargin = 500 * time.Millisecond
	// firstGrace is how long a track of which nothing came yet waits for a source that sends by itself.
	firstGrace = time.Second
	// longestAsk bounds the time after which standbys are asked again that bring nothing, which doubles each time.
	longestAsk = 30 * time.Second
	// A standby rests again when another source has brought whole groups in succession since then: one, and one more for each time that
	// standbys were asked in the last calm, up to mostKept. So a source that fails again and again does not become the only one each time.
	calm, mostKept = time.Minute, 8
	// closings is how many of the groups that became whole last are remembered.
	closings = mostKept + 2
	// What an upstream brings may be what this relay has sent it. So a standby rests for an upstream only if that brought most of a group first,
	// or else, firstProbe after the standby was asked, if for a while the relay asks upstreams as if nobody sent here. When that was wrong
	// (the standby is needed again within probeFails), the next probe comes after twice as long, longestProbe at most.
	firstProbe, longestProbe, probeLasts, probeFails = time.Minute, 32 * time.Minute, 15 * time.Second, 30 * time.Second
	// maxHoles is how many groups are remembered for the sake of which a standby was asked.
	maxHoles = 32
	// unfinished is how many of the newest groups are looked at for what is missing.
	unfinished = 3
)

// beat is the rhythm in which new objects come. The track's mutex guards it.
type beat struct {
	heard time.Time // when the last bytes of something new came
	last  time.Time // when the last new object was whole

	longest []time.Duration // the longest time between two objects in each stretch, the newest last
	stretch time.Time       // when the present stretch began
	objects int             // in it
	now     time.Duration   // the longest time in it so far
}

// came notes a new object. takeover: a standby brought it that was asked since the object before.
func (b *beat) came(now time.Time, takeover bool) {
	d := now.Sub(b.last)
	switch {
	case b.last.IsZero():
		b.stretch = now
	case takeover && d < 2*b.late(): // it is the time that the relay takes to ask, and none of the track's; a longer one was no reason to ask
	default:
		b.now = max(b.now, d)
	}
	b.heard, b.last = now, now
	if b.objects++; b.objects >= stretchObjects && now.Sub(b.stretch) >= stretchLasts {
		if b.longest = append(b.longest, b.now); len(b.longest) > stretches {
			b.longest = b.longest[1:]
		}
		b.stretch, b.objects, b.now = now, 0, 0
	}
}

// known reports whether the beat is known.
func (b *beat) known() bool { return len(b.longest) >= fewStretches }

// late is how long nothing new may come.
func (b *beat) late() time.Duration {
	if !b.known() {
		return unknownBeat
	}
	var longest, second time.Duration
	for _, d := range b.longest {
		if d > longest {
			longest, second = d, longest
		} else {
			second = max(second, d)
		}
	}
	return min(max(second+min(second/4, mostMargin), fastBeat), slowBeat)
}

// reserve is what a track knows of a standby. The track's mutex guards it.
type reserve struct {
	place int       // in the order in which standbys came
	since time.Time // when it came
	asked time.Time // when it was asked to send; zero: it rests
	again time.Time // when it was asked last, which may be a second time
	times int       // how often it was asked since anybody brought something new
	holes []uint64  // groups for the sake of which it was asked
}

// closing is a group that became whole.
type closing struct {
	id  uint64
	at  time.Time
	led *Source   // that brought most of it first
	by  []*Source // those that brought all of it

	homes []confirmed // those of them that have a vote
}

// Order tells a standby what to do.
type Order struct {
	Source *Source
	Rest   bool          // send nothing any more
	From   moqt.Location // else: send from here on
	Again  bool          // it sends already, and nothing comes
	Why    string        // for the log
}

// Demand says who wants a track.
type Demand uint8

// Demands.
const (
	Kept      Demand = iota // nobody watches it here, but all that is published here is kept
	Watched                 // somebody watches it
	Elsewhere               // nobody watches it here, and another relay, which says that it has the track live, keeps it
)

// Stirred has a value when Relieve may give another answer than it said.
func (t *Track) Stirred() <-chan struct{} { return t.stirred }

// Stir says that demand for a track may have changed.
func (t *Track) Stir() {
	select {
	case t.stirred <- struct{}{}:
	default:
	}
}

// relieveEvery is after how long Relieve is called again if nothing else comes up.
const relieveEvery = time.Hour

// Relieve returns what the standbys of a track are to be told now, and when to call it again at the latest.
func (t *Track) Relieve(now time.Time, demand Demand) (orders []Order, again time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.roll()
	if len(r.resting)+len(r.asked) == 0 {
		return nil, relieveEvery
	}
	orders = r.rest(now)
	if demand == Elsewhere && len(r.others) == 0 {
		return append(orders, t.leaveTo(now, r.asked)...), againElsewhere
	}
	why, wait := t.needs(now, demand, len(r.others)+len(r.links)+len(r.asked) > 0, r.resting)
	if until := t.nextProbe(now); until > 0 {
		wait = min(wait, until)
	}
	if why == "" && t.jury.undecided != nil && len(r.resting) > 0 && len(r.asked) == 0 {
		why = whyJudge
	}
	if why == "" {
		return orders, wait
	}
	if left := r.patience(now, why); left > 0 {
		return orders, min(left, relieveEvery)
	}
	srcs, from := r.choose(why)
	if len(srcs) == 0 {
		return orders, relieveEvery
	}
	return append(orders, r.ask(now, why, srcs, from)...), min(t.beat.late(), relieveEvery)
}

// roll lists the sources of a track by what they may be asked for. The track's mutex is held as long as it is used.
type roll struct {
	t       *Track
	resting []*Source // standbys, in the order in which they came
	asked   []*Source // standbys that send, the one that was asked first before others
	others  []*Source // that send by themselves
	links   []*Source // upstreams
}

func (t *Track) roll() *roll {
	r := &roll{t: t}
	for src := range t.sources {
		switch {
		case t.barred(src):
		case src.Upstream:
			r.links = append(r.links, src)
		case !src.Standby:
			r.others = append(r.others, src)
		case src.reserve.asked.IsZero():
			r.resting = append(r.resting, src)
		default:
			r.asked = append(r.asked, src)
		}
	}
	inPlace := func(a, b *Source) int { return cmp.Compare(a.reserve.place, b.reserve.place) }
	slices.SortFunc(r.resting, inPlace)
	slices.SortFunc(r.asked, func(a, b *Source) int {
		return cmp.Or(a.reserve.asked.Compare(b.reserve.asked), inPlace(a, b))
	})
	return r
}

// rest lets those standbys rest that are not needed beside a source that keeps up.
func (r *roll) rest(now time.Time) (orders []Order) {
	best := r.t.keepsUp(now, r.others, r.asked)
	if best == nil {
		if best = r.t.keepsUp(now, r.links, r.asked); best != nil {
			r.t.leftTo = now
		}
	}
	if best == nil {
		best = r.t.keepsUp(now, r.asked, r.asked)
	}
	if best == nil {
		return nil
	}
	for _, s := range r.asked {
		if s != best {
			s.reserve.asked, s.reserve.times = time.Time{}, 0
			orders = append(orders, Order{Source: s, Rest: true, Why: best.Name + " brings whole groups"})
		}
	}
	r.asked = slices.DeleteFunc(r.asked, func(s *Source) bool { return s != best })
	return orders
}

// patience is how much time the standby that was asked last still has.
func (r *roll) patience(now time.Time, why string) time.Duration {
	if len(r.asked) == 0 {
		return 0
	}
	last := r.asked[0].reserve
	for _, s := range r.asked {
		if s.reserve.again.After(last.again) {
			last = s.reserve
		}
	}
	patience := r.t.beat.late()
	if len(r.resting) == 0 || why == whyHole {
		patience = min(patience<<min(last.times, 8), longestAsk)
	}
	return patience - now.Sub(last.again)
}

// choose says who is asked, and for what comes from which location on; nobody, if nobody is left to be asked.
func (r *roll) choose(why string) (srcs []*Source, from moqt.Location) {
	from = r.t.lack()
	switch {
	case why == whyHole: // each standby is asked once for a hole
		hole := from.Group
		src := firstWithout(r.resting, hole)
		if src == nil {
			return nil, from
		}
		src.reserve.holes = append(src.reserve.holes, hole)
		if len(src.reserve.holes) > maxHoles {
			src.reserve.holes = src.reserve.holes[1:]
		}
		return []*Source{src}, from
	case why == whyJudge:
		return r.resting[:1], moqt.Location{Group: r.t.jury.undecided.Group}
	case len(r.resting) > 0: // as many as are in vain, so however many have nothing, one that has something is asked soon
		return r.resting[:min(max(len(r.asked), 1), len(r.resting))], from
	}
	return r.asked, moqt.Location{} // all were asked and bring nothing; perhaps the broadcast's clock was set back, so all is asked for
}

// ask notes that sources are asked.
func (r *roll) ask(now time.Time, why string, srcs []*Source, from moqt.Location) (orders []Order) {
	t := r.t
	t.jury.undecided = nil
	if wrong := now.Sub(t.leftTo) < probeFails; wrong && why != whyJudge {
		t.probe = min(2*max(t.probe, firstProbe), longestProbe)
	} else if len(r.asked) == 0 {
		t.probe = firstProbe
	}
	t.probe += rand.N(t.probe / 4) // so two relays do not do the same at the same time
	repeated := !srcs[0].reserve.asked.IsZero()
	if !repeated {
		t.asks = append(t.asks, now)
	}
	for _, src := range srcs {
		if !repeated {
			src.reserve.asked = now
		}
		src.reserve.again = now
		src.reserve.times++
		orders = append(orders, Order{Source: src, From: from, Why: why, Again: repeated})
	}
	return orders
}

// againElsewhere is when to look again while another relay has the track.
const againElsewhere = time.Second

// leaveTo sends standbys to rest that were asked a while ago, because another relay has the track. The track's mutex is held.
func (t *Track) leaveTo(now time.Time, asked []*Source) (orders []Order) {
	for _, s := range asked {
		if now.Sub(s.reserve.asked) < max(t.probe, firstProbe) {
			continue
		}
		s.reserve.asked, s.reserve.times, t.leftTo = time.Time{}, 0, now
		orders = append(orders, Order{Source: s, Rest: true, Why: "another relay has the track, and nobody watches it here"})
	}
	return orders
}

// Why a standby is asked.
const (
	whyNobody = "nobody else sends the track"
	whyLate   = "what comes is late"
	whyHole   = "a group stays unfinished"
	whyJudge  = "homes contradict each other"
)

// needs says why a standby is needed, "" if none is, and when to look again. The track's mutex is held.
func (t *Track) needs(now time.Time, demand Demand, some bool, resting []*Source) (why string, again time.Duration) {
	late := t.beat.late()
	if !some {
		if !t.beat.heard.IsZero() {
			return whyNobody, 0
		}
		if left := firstGrace - now.Sub(resting[0].reserve.since); left > 0 && !resting[0].Eager && demand != Watched {
			return "", left
		}
		return whyNobody, 0
	}
	heard := t.beat.heard
	if heard.IsZero() { // since the first source came
		heard = t.began
	}
	if left := late - now.Sub(heard); left > 0 {
		again = left
	} else {
		return whyLate, 0
	}
	if hole, left := t.hole(now, max(late/2, fastBeat)); hole { // something newer has come, so the path is there
		if left <= 0 && firstWithout(resting, t.lack().Group) != nil {
			return whyHole, 0
		} else if left > 0 {
			again = min(again, left)
		}
	}
	return "", again
}

// firstWithout returns the first standby that was not asked for the sake of a group.
func firstWithout(list []*Source, hole uint64) *Source {
	for _, s := range list {
		if !slices.Contains(s.reserve.holes, hole) {
			return s
		}
	}
	return nil
}

// newest returns the newest groups in memory, ascending. The track's mutex is held.
func (t *Track) newest(n int) []*group {
	list := make([]*group, 0, len(t.groups))
	for _, g := range t.groups {
		if g.loading == nil && (g.Seq > 0 || len(g.objs) > 0) {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b *group) int { return cmp.Compare(a.ID, b.ID) })
	return list[max(len(list)-n, 0):]
}

// hole reports whether a group is not whole and there is a newer one, or an object behind one that is missing; and how long from now what is
// missing may still come. Only the oldest of the newest groups that is not whole is looked at, as lack does.
func (t *Track) hole(now time.Time, late time.Duration) (bool, time.Duration) {
	list := t.newest(unfinished)
	for i, g := range list {
		if g.complete() {
			continue
		}
		if i < len(list)-1 {
			return true, late - now.Sub(laterTime(g.touched, t.overtaken(g)))
		}
		if behind := g.behindGap(); behind != nil {
			return true, late - now.Sub(behind.At)
		}
	}
	return false, 0
}

// behindGap returns the first object behind one that is missing and not on its way; nil: there is none.
func (g *group) behindGap() *Object {
	for i, o := range g.objs {
		if o.ID != uint64(i) {
			return o
		}
	}
	return nil
}

// lack returns the first location of which nothing whole is here: in the oldest of the newest groups that is not whole. The track's
// mutex is held.
func (t *Track) lack() moqt.Location {
	if n := len(t.births); n > 0 && t.births[n-1].Back { // what is newest is not what has the highest id
		return moqt.Location{}
	}
	list := t.newest(unfinished)
	for _, g := range list {
		if !g.complete() {
			return moqt.Location{Group: g.ID, Object: g.missing()}
		}
	}
	switch {
	case len(list) > 0:
		return moqt.Location{Group: list[len(list)-1].ID + 1}
	case t.largest != nil:
		return moqt.Location{Group: t.largest.Group, Object: t.largest.Object + 1}
	}
	return moqt.Location{}
}

// missing returns the first id of which nothing whole is there.
func (g *group) missing() (id uint64) {
	for _, o := range g.objs {
		if o.ID != id || !o.whole() {
			break
		}
		id++
	}
	return id
}

// complete reports whether every object of a group is there, up to its end.
func (g *group) complete() bool {
	return g.hasEnd && uint64(len(g.objs)) == g.end+1 && g.missing() == g.end+1
}

// credit notes that a source brought an object of a group, new or not. The track's mutex is held.
func (t *Track) credit(src *Source, g *group, isNew bool) {
	if g == nil || src.Fetched {
		return
	}
	if g.by == nil {
		g.by, g.first = make(map[*Source]int), make(map[*Source]int)
	}
	g.by[src]++
	if isNew {
		g.first[src]++
	}
	if !g.complete() {
		return
	}
	i := slices.IndexFunc(t.closed, func(c *closing) bool { return c.id == g.ID })
	if i < 0 {
		if t.closed = append(t.closed, &closing{id: g.ID, at: time.Now(), led: leader(g.first)}); len(t.closed) > closings {
			t.closed = slices.Delete(t.closed, 0, 1)
		}
		i = len(t.closed) - 1
	}
	c := t.closed[i]
	for s, n := range g.by {
		if n >= len(g.objs) && !slices.Contains(c.by, s) {
			c.by = append(c.by, s)
			if home, ok := s.voter(); ok {
				t.jury.confirm(c, home)
			}
			t.Stir()
		}
	}
}

// leader returns the source that brought most of a group first.
func leader(first map[*Source]int) (src *Source) {
	for s, n := range first {
		if src == nil || n > first[src] {
			src = s
		}
	}
	return src
}

// asksSince returns when the first standby was asked of those that send; zero: none sends.
func (t *Track) asksSince() (since time.Time) {
	for src := range t.sources {
		if at := src.reserve.asked; src.Standby && !at.IsZero() && (since.IsZero() || at.Before(since)) {
			since = at
		}
	}
	return since
}

// probing reports whether upstreams are asked although a standby sends. The track's mutex is held.
func (t *Track) probing(now time.Time) bool {
	since := t.asksSince()
	if since.IsZero() {
		return false
	}
	wait := max(t.probe, firstProbe)
	d := now.Sub(since) - wait
	return d >= 0 && d%wait < probeLasts
}

// nextProbe returns how long from now the next probe begins; 0: no standby sends.
func (t *Track) nextProbe(now time.Time) time.Duration {
	since := t.asksSince()
	if since.IsZero() {
		return 0
	}
	wait := max(t.probe, firstProbe)
	return wait - now.Sub(since)%wait
}

// Sends reports whether somebody sends the track at this relay and is not late, so that no upstream is to be asked. Upstreams do not count, nor do
// standbys that rest.
func (t *Track) Sends(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sends(now) && !t.probing(now)
}

// Sending reports the same, also while upstreams are asked as if nobody sent here: other relays are told that the track is sent all that time.
func (t *Track) Sending(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sends(now)
}

// sends does the same. The track's mutex is held.
func (t *Track) sends(now time.Time) bool {
	sends := false
	for src := range t.sources {
		sends = sends || !src.Upstream && !t.barred(src) && (!src.Standby || !src.reserve.asked.IsZero())
	}
	switch {
	case !sends:
		return false
	case t.over:
		return true
	case t.beat.heard.IsZero(): // nothing ever came
		return now.Sub(t.began) < t.beat.late()
	}
	return !t.beat.known() || now.Sub(t.beat.heard) < t.beat.late()
}

// HasStandby reports whether a standby is here, whether it rests or sends.
func (t *Track) HasStandby() bool { return t.any(func(src *Source) bool { return src.Standby }) }

// keepsUp returns the first source of a list that brought enough whole groups since a standby was asked last: those that became whole last,
// but perhaps the very last one, of which the rest may be on its way. The track's mutex is held.
func (t *Track) keepsUp(now time.Time, list, asked []*Source) *Source {
	if len(asked) == 0 {
		return nil
	}
	since := asked[len(asked)-1].reserve.asked
	t.asks = slices.DeleteFunc(t.asks, func(at time.Time) bool { return now.Sub(at) > calm })
	enough := min(max(len(t.asks), 1), mostKept)
	for _, src := range list {
		run := 0
		for i, c := range slices.Backward(t.closed) {
			if c.at.Before(since) {
				break
			}
			if slices.Contains(c.by, src) && (!src.Upstream || c.led == src || t.probing(now)) {
				run++
			} else if i < len(t.closed)-1 {
				break
			}
		}
		if run >= enough {
			return src
		}
	}
	return nil
}

// progressed notes that bytes of something new came from a source that sends. The track's mutex is held.
func (t *Track) progressed(src *Source) {
	if !src.Fetched {
		t.beat.heard = time.Now()
	}
}

// newObject notes a new object in the track's beat. The track's mutex is held.
func (t *Track) newObject(src *Source, o *Object) {
	if src.Fetched || o.Status != object.Normal {
		return
	}
	t.beat.came(time.Now(), src.reserve.again.After(t.beat.last))
	for s := range t.sources { // whoever was asked in vain may be asked at once the next time
		s.reserve.times = 0
	}
}
