package torture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ts"
)

// Promises that can be broken.
const (
	TwoHashes   = "safety: one name, two hashes"
	TwoCatalogs = "safety: one name, two hashes (catalog)"
	TwoNames    = "safety: one content, two names"
	Gap         = "safety: promoted with a gap"
	WrongName   = "safety: named after another broadcast"
	Scrambled   = "safety: scrambled, but promoted"
	Nobody      = "safety: named after ids of nobody"
	NotPromoted = "liveness: not promoted"
	NotAtChange = "liveness: not promoted where the PMT changes"
	NotHealed   = "liveness: not promoted by one that lost nothing of it"
	TooLong     = "liveness: chunk too long"
	NoRAP       = "cut: chunk does not start at a random access point"
	Incomplete  = "cut: bytes are in no chunk"
	Manifest    = "manifest: not what was written"
	Failed      = "ec-chop ended with an error"
)

// Violation is one place where a promise is broken.
type Violation struct {
	Promise  string
	Receiver int
	Name     string
	Detail   string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: receiver %d, %s: %s", v.Promise, v.Receiver, v.Name, v.Detail)
}

// Result is the judgement of one combination.
type Result struct {
	Violations []Violation
	Packets    int
	Chunks     int // of all receivers
	Promoted   int // of them, under the broadcast's name
	Due        int // chunks whose promotion is promised
	DueDone    int // of them, promoted
	Compared   int // promoted objects that another receiver promoted, too
	Invisible  int // names with two hashes that no signal of H.222.0 could have prevented
	LateTold   int // told in the manifest when the sparse PID was heard again
	Edge       int // two names, because time tables disagree by more than the clock is from where its name changes
	Unripe     int // the input ended before the time for telling was over
}

func (r *Result) add(promise string, receiver int, name, detail string, args ...any) {
	r.Violations = append(r.Violations, Violation{promise, receiver, name, fmt.Sprintf(detail, args...)})
}

// run is a gap-free run of a track's packets.
type run struct {
	track       *track
	first, last int32 // local indexes
}

// content is what a run of objects holds.
type content struct {
	runs    []run // by track in order of appearance, then in order
	owner   []piece
	from    int32 // index in the broadcast of its first packet; −1: it holds nothing
	to      int32
	start   int // offset of its first byte in the cut track, −1
	begin   int32
	strange string // a payload that nobody sent
}

// piece is a run of packets in one object.
type piece struct {
	object int
	run
}

// chunk is an entry of a manifest with its objects.
type chunk struct {
	entry   *gotEntry
	objects []*gotObject
	wide    int // objects under the broadcast's name
	*content
}

func key(b []byte) uint64 {
	k := uint64(len(b)) * 0x9e3779b97f4a7c15
	if len(b) >= 8 {
		return k ^ binary.LittleEndian.Uint64(b) ^ binary.LittleEndian.Uint64(b[len(b)-8:])*31
	}
	for _, c := range b {
		k = (k ^ uint64(c)) * 1099511628211
	}
	return k
}

// payload is that of a packet of the track.
func (t *track) payload(local int32) []byte {
	end := len(t.bytes)
	if int(local)+1 < len(t.starts) {
		end = int(t.starts[local+1])
	}
	return t.bytes[t.starts[local]:end]
}

func (t *track) find(b []byte) []int32 {
	if t.byKey == nil {
		t.byKey = make(map[uint64][]int32, len(t.starts))
		for i := range t.starts {
			k := key(t.payload(int32(i)))
			t.byKey[k] = append(t.byKey[k], int32(i))
		}
	}
	return t.byKey[key(b)]
}

// read finds out what objects hold.
func (s *Stream) read(objects []*gotObject) *content {
	c := &content{from: -1, start: -1, begin: -1}
	type part struct {
		object int
		b      []byte
	}
	parts := map[*track][]part{}
	var order []*track
	for n, o := range objects {
		for b := o.payload; len(b) >= ts.PacketSize; b = b[ts.PacketSize:] {
			p := (*ts.Packet)(b)
			t := s.tracks[p.PID()]
			if t == nil {
				continue
			}
			if body := p.Payload(); len(body) > 0 {
				if parts[t] == nil {
					order = append(order, t)
				}
				parts[t] = append(parts[t], part{n, body})
			}
		}
	}
	for _, t := range order {
		list := parts[t]
		for i := 0; i < len(list); {
			best, length := int32(-1), 0
			for _, at := range t.find(list[i].b) {
				n := 0
				for i+n < len(list) && int(at)+n < len(t.starts) && bytes.Equal(list[i+n].b, t.payload(at+int32(n))) {
					n++
				}
				if n > length {
					best, length = at, n
				}
			}
			if best < 0 {
				c.strange = fmt.Sprintf("PID %#x: a payload that was never sent", t.pid)
				i++
				continue
			}
			// A copy of the packet before, kept by the cutter, is no gap.
			if n := len(c.runs); n > 0 && c.runs[n-1].track == t && length == 1 && best == c.runs[n-1].last {
				i++
				continue
			}
			if n := len(c.runs); n > 0 && c.runs[n-1].track == t && best == c.runs[n-1].last && length > 1 {
				i, best, length = i+1, best+1, length-1
			}
			if n := len(c.runs); n > 0 && c.runs[n-1].track == t && best == c.runs[n-1].last+1 {
				c.runs[n-1].last = best + int32(length) - 1
			} else {
				c.runs = append(c.runs, run{t, best, best + int32(length) - 1})
			}
			for n := range length {
				o := list[i+n].object
				if m := len(c.owner); m > 0 && c.owner[m-1].object == o && c.owner[m-1].track == t && c.owner[m-1].last+1 == best+int32(n) {
					c.owner[m-1].last++
				} else {
					c.owner = append(c.owner, piece{o, run{t, best + int32(n), best + int32(n)}})
				}
			}
			i += length
		}
	}
	for _, r := range c.runs {
		first, last := r.track.index[r.first], r.track.index[r.last]
		if c.from < 0 || first < c.from {
			c.from = first
		}
		c.to = max(c.to, last)
		if r.track == s.cut && c.start < 0 {
			c.start, c.begin = int(r.track.starts[r.first]), first
		}
	}
	return c
}

// gap describes a missing run, "" if there is none.
func (c *content) gap() string {
	if c.strange != "" {
		return c.strange
	}
	for i := 1; i < len(c.runs); i++ {
		if a, b := c.runs[i-1], c.runs[i]; a.track == b.track {
			return fmt.Sprintf("PID %#x: packets %d to %d of the PID are followed by %d", a.track.pid, a.first, a.last, b.first)
		}
	}
	return ""
}

// randomAccess tells whether a chunk that begins at offset start of the cut track begins with a random access point: with
// the access unit, or where PES packets are not aligned, with the PES packet in which it commences.
func (s *Stream) randomAccess(start int) (accessUnit, bool) {
	t := s.cut
	from := start
	if s.spec.H[hPES] == 3 {
		from -= 4 // PES packets may part a start code; what it starts can be decoded all the same
	}
	i := sort.Search(len(t.aus), func(i int) bool { return t.aus[i].at >= from })
	end := len(t.bytes)
	if k := sort.SearchInts(t.units, start+1); k < len(t.units) {
		end = t.units[k]
	}
	for ; i < len(t.aus) && t.aus[i].at < end; i++ {
		if t.aus[i].rap {
			return t.aus[i], true
		}
		if s.spec.H[hPES] < 2 {
			break
		}
	}
	return accessUnit{}, false
}

// Check makes the stream, lets every receiver hear it, and judges.
func Check(spec *Spec) *Result {
	s := Generate(spec)
	res := &Result{Packets: len(s.packets)}
	all := make([]*reception, len(spec.Receivers))
	chunks := make([][]*chunk, len(all))
	seen := map[object.Hash]*content{}
	for i := range all {
		all[i] = s.receive(i, &spec.Receivers[i])
		if all[i].err != nil && spec.Receivers[i].whole() && spec.Legal() && s.longest < 3*second {
			res.add(Failed, i, "", "%v", all[i].err)
		}
		chunks[i] = s.chunks(res, i, all[i], seen)
	}
	j := &judge{s, res, all, chunks}
	j.names()
	j.hashes()
	for i := range all {
		j.gaps(i)
		j.cuts(i)
		if all[i].r.whole() {
			j.complete(i)
		}
		if spec.Legal() && s.named {
			j.live(i)
		}
	}
	j.owners()
	return res
}

// chunks puts manifest entries and objects together.
func (s *Stream) chunks(res *Result, n int, c *reception, seen map[object.Hash]*content) (list []*chunk) {
	byGroup := map[string][]*gotObject{}
	group := func(track string, id uint64) string { return fmt.Sprintf("%s %d", track, id) }
	for i := range c.objects {
		o := &c.objects[i]
		if o.payload == nil {
			continue
		}
		k := group(o.track.String(), o.group)
		byGroup[k] = append(byGroup[k], o)
		if o.wide {
			k = group("", o.group)
			byGroup[k] = append(byGroup[k], o)
		}
	}
	take := func(ch *chunk, from []*gotObject, most int) {
		for _, o := range from {
			if !o.claimed && len(ch.objects) < most {
				o.claimed = true
				ch.objects = append(ch.objects, o)
				if o.wide {
					ch.wide++
				}
			}
		}
	}
	for i := range c.entries {
		e := &c.entries[i]
		if e.Late {
			continue
		}
		ch := &chunk{entry: e}
		if e.Scope == catalog.ScopeSource && e.Promoted > 0 {
			take(ch, byGroup[group("", e.Group)], e.Promoted)
		}
		take(ch, byGroup[group(e.Track.String(), e.Group)], e.Objects)
		var hashes []object.Hash
		for _, o := range ch.objects {
			hashes = append(hashes, o.hash)
		}
		h := catalog.HashParts(hashes)
		if len(ch.objects) != e.Objects || h != e.Hash {
			res.add(Manifest, n, group(e.Track.String(), e.Group), "%d objects of %d are there, or their hash is another", len(ch.objects), e.Objects)
		}
		if ch.content = seen[h]; ch.content == nil {
			ch.content = s.read(ch.objects)
			seen[h] = ch.content
		}
		list = append(list, ch)
		res.Chunks++
		if e.Scope == catalog.ScopeBroadcast {
			res.Promoted++
		}
	}
	for i := range c.objects {
		if o := &c.objects[i]; o.payload != nil && !o.claimed && o.wide {
			res.add(Manifest, n, o.name, "no entry speaks of it")
			break
		}
	}
	return list
}

type judge struct {
	s      *Stream
	res    *Result
	all    []*reception
	chunks [][]*chunk
}

// namespace is the broadcast's, as the generator knows it.
func (s *Stream) namespace() object.Namespace {
	if s.atsc {
		return object.Namespace{"ec", "atsc", fmt.Sprint(tsid), fmt.Sprint(s.program)}
	}
	return object.Namespace{"ec", "dvb", fmt.Sprint(onid), fmt.Sprint(tsid), fmt.Sprint(s.program)}
}

// names: what is broadcast-scoped is named after this broadcast.
func (j *judge) names() {
	for i, c := range j.all {
		for k := range c.objects {
			o := &c.objects[k]
			if !o.wide {
				continue
			}
			if !j.s.named {
				j.res.add(Nobody, i, o.name, "the stream has no identity of its own")
				break
			}
			if !o.track.Namespace.Equal(j.s.namespace()) {
				j.res.add(WrongName, i, o.name, "the broadcast is %s", j.s.namespace())
				break
			}
		}
	}
}

// lossesIn lists what receiver i lost between two packets of the broadcast.
func (c *reception) lossesIn(from, to int32) (list []*loss) {
	for k := range c.losses {
		l := &c.losses[k]
		first := l.from
		if l.from <= to && (l.to >= from || first >= from) {
			list = append(list, l)
		}
	}
	return list
}

// sparse tells whether a loss may be told late: its PID is heard now and then only, or paused.
func (j *judge) sparse(l *loss) bool {
	if l.track.kind == kindSparse {
		return true
	}
	if l.track == j.s.cut || l.next < 0 {
		return false
	}
	first := sort.Search(len(l.track.index), func(i int) bool { return l.track.index[i] >= l.from })
	for k := first; k+1 < len(l.track.index) && l.track.index[k] < l.next; k++ {
		if j.s.packets[l.track.index[k+1]].at-j.s.packets[l.track.index[k]].at > second {
			return true
		}
	}
	return false
}

// told tells whether receiver i told late that group is not what it should be, in time.
func (j *judge) told(i int, group uint64, l *loss) bool {
	c := j.all[i]
	for k := range c.entries {
		e := &c.entries[k]
		if e.Group != group || !e.Late && (e.Promoted == 0 || e.Damage == nil) {
			continue // parts may have gone out before the chunk's own entry tells
		}
		if l.next < 0 {
			return true
		}
		// It was written after the chunk before it was, so not before that began.
		at := int64(0)
		for _, ch := range j.chunks[i] {
			if ch.entry.after < e.after && ch.from >= 0 {
				at = max(at, j.s.packets[ch.from].at)
			}
		}
		if at <= j.s.packets[l.next].at+10*second {
			return true
		}
	}
	return false
}

// excused looks for a loss at receiver i that explains a wrong chunk: one that nothing shows, or one that is told late.
func (j *judge) excused(i int, group uint64, from, to int32) bool {
	c := j.all[i]
	if j.sixteenTables(c, from, to) {
		j.res.Invisible++
		return true
	}
	list := c.lossesIn(from, to)
	for _, l := range list {
		if l.invisible {
			j.res.Invisible++
			return true
		}
	}
	for _, l := range list {
		if j.told(i, group, l) {
			j.res.LateTold++
			return true
		}
		if !j.sparse(l) {
			continue
		}
		if l.next < 0 || j.s.packets[len(j.s.packets)-1].at < j.s.packets[l.next].at+10*second {
			j.res.Unripe++
			return true
		}
	}
	return false
}

// sixteenTables tells whether a multiple of 16 packets of the PMT in a row was lost around two packets: no counter shows that.
func (j *judge) sixteenTables(c *reception, from, to int32) bool {
	for p := from; p >= c.join; p-- {
		if j.s.packets[p].kind == kindPMT && c.heard[p] {
			from = p
			break
		}
	}
	n := 0
	for p := from + 1; p < int32(len(j.s.packets)); p++ {
		if j.s.packets[p].kind != kindPMT {
			continue
		}
		if !c.heard[p] {
			n++
			continue
		}
		if n > 0 && n%16 == 0 {
			return true
		}
		if n = 0; p > to {
			break
		}
	}
	return false
}

// lost describes the losses between two packets.
func (j *judge) lost(i int, from, to int32) string {
	var b strings.Builder
	for n, l := range j.all[i].lossesIn(from, to) {
		if n == 4 {
			b.WriteString(" …")
			break
		}
		fmt.Fprintf(&b, " PID %#x packets %d–%d", l.track.pid, l.from, l.to)
	}
	if b.Len() == 0 {
		return "it lost nothing there"
	}
	return "lost" + b.String()
}

// around is what one chunk and the one before it span, for whether a loss can explain it.
func (j *judge) around(i int, ch *chunk) (from, to int32) {
	from, to = ch.from, ch.to
	var before int32
	for _, o := range j.chunks[i] {
		if o.from >= 0 && o.from < ch.from {
			before = max(before, o.from)
		}
	}
	// Where it ends depends on what follows.
	for _, r := range ch.runs {
		if t := r.track; t == j.s.cut {
			to = max(to, t.index[min(int(r.last)+20, len(t.index)-1)])
		}
	}
	return min(from, before), to
}

// hashes: one full name has one hash, over all receivers.
func (j *judge) hashes() {
	type first struct {
		receiver int
		o        *gotObject
	}
	names := map[string]first{}
	wide := map[*gotObject]*chunk{}
	for i := range j.chunks {
		for _, ch := range j.chunks[i] {
			for _, o := range ch.objects {
				wide[o] = ch
			}
		}
	}
	// Receivers that got everything speak first.
	var order []int
	for i, c := range j.all {
		if c.r.whole() {
			order = append(order, i)
		}
	}
	for i, c := range j.all {
		if !c.r.whole() {
			order = append(order, i)
		}
	}
	blamed := map[*chunk]bool{}
	for _, i := range order {
		c := j.all[i]
		own := map[string]bool{}
		for k := range c.objects {
			o := &c.objects[k]
			if own[o.name] {
				j.res.add(TwoHashes, i, o.name, "written twice")
			}
			own[o.name] = true
			f, ok := names[o.name]
			if !ok {
				names[o.name] = first{i, o}
				continue
			}
			if f.receiver == i {
				continue
			}
			if f.o.hash == o.hash {
				j.res.Compared++
				continue
			}
			if o.payload == nil {
				j.res.add(TwoCatalogs, i, o.name, "receiver %d has another", f.receiver)
				continue
			}
			ch, ref := wide[o], wide[f.o]
			if ch == nil || ref == nil || blamed[ch] {
				continue
			}
			blamed[ch] = true
			from, to := j.around(i, ch)
			a, b := j.around(f.receiver, ref)
			from, to = min(from, a), max(to, b)
			if j.excused(i, o.group, from, to) || j.excused(f.receiver, o.group, from, to) {
				continue
			}
			j.res.add(TwoHashes, i, o.name, "receiver %d has %s, this one %s; %s", f.receiver, j.describe(ref), j.describe(ch), j.lost(i, ch.from, max(ch.to, ref.to)))
		}
	}
}

func (j *judge) describe(ch *chunk) string {
	var b strings.Builder
	for n, r := range ch.runs {
		if n > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%#x:%d–%d", r.track.pid, r.first, r.last)
	}
	return b.String()
}

// gaps: what is promoted holds a gap-free run of every PID.
func (j *judge) gaps(i int) {
	for _, ch := range j.chunks[i] {
		if ch.wide == 0 {
			continue
		}
		c := ch.content
		if ch.wide < len(ch.objects) {
			c = j.s.read(ch.objects[:ch.wide])
		}
		for _, r := range c.runs {
			for k := r.first; k <= r.last; k++ {
				if j.s.packets[r.track.index[k]].scrambled {
					j.res.add(Scrambled, i, ch.objects[0].name, "packet %d of PID %#x", k, r.track.pid)
					break
				}
			}
		}
		if g := c.gap(); g != "" {
			from, to := j.around(i, ch)
			if !j.excused(i, ch.entry.Group, from, to) {
				j.res.add(Gap, i, ch.objects[0].name, "%s; %s", g, j.lost(i, c.from, c.to))
			}
		}
	}
}

// cuts: a chunk starts at a random access point.
func (j *judge) cuts(i int) {
	whole := j.all[i].r.whole()
	for _, ch := range j.chunks[i] {
		if ch.start < 0 || ch.wide == 0 && (!whole || ch.entry.Reason == catalog.ReasonDiscontinuity) {
			continue
		}
		if h := &j.s.spec.H; h[hPES] == 3 && h[hRAI] == 2 {
			continue // an access unit goes on in the next PES packet, and the flag says that this one is a random access point
		}
		if _, ok := j.s.randomAccess(ch.start); !ok {
			from, to := j.around(i, ch)
			if ch.wide > 0 && j.excused(i, ch.entry.Group, from, to) {
				continue
			}
			j.res.add(NoRAP, i, fmt.Sprintf("group %d", ch.entry.Group), "%s %s, starts at byte %d of the PID", ch.entry.Scope, ch.entry.Reason, ch.start)
		}
	}
}

// complete: of what is kept, every packet from the first chunk on is in a chunk.
func (j *judge) complete(i int) {
	for _, t := range j.s.order {
		if t.kind == kindSparse {
			continue
		}
		var runs []run
		for _, ch := range j.chunks[i] {
			for _, r := range ch.runs {
				if r.track == t {
					runs = append(runs, r)
				}
			}
		}
		slices.SortFunc(runs, func(a, b run) int { return int(a.first - b.first) })
		for k := 1; k < len(runs); k++ {
			if runs[k].first > runs[k-1].last+1 {
				j.res.add(Incomplete, i, fmt.Sprintf("PID %#x", t.pid), "packets %d to %d of the PID are in no chunk", runs[k-1].last+1, runs[k].first-1)
				break
			}
		}
	}
}

// lacks tells whether c missed a packet that matters.
func (c *reception) lacks(s *Stream, i int32) bool {
	p := &s.packets[i]
	switch {
	case p.unit:
		return !c.got[s.tracks[p.data.PID()]][p.local]
	case p.kind == kindNull || p.kind == kindSI || p.kind == kindOther:
		return false
	}
	return !c.heard[i]
}

// known tells after which packet receiver c knows the program, and after which one identity and time, too.
func (j *judge) known(c *reception) (program, all int32) {
	s := j.s
	at, from := c.join, c.join
	for _, k := range []kind{kindPAT, kindPMT, kindIdentity} {
		begun := false
		found := int32(-1)
		for i := from; i < int32(len(s.packets)); i++ {
			p := &s.packets[i]
			if p.kind != k || p.later {
				continue
			}
			if !c.heard[i] && !(c.r.H[rRemake] != 0 && !p.whole) {
				begun = false
				continue
			}
			if p.data.UnitStart() && (k != kindPAT || j.s.patSecs == 1 || !p.whole) {
				begun = true
			}
			if p.whole && (begun || c.r.H[rRemake] != 0 && k == kindPAT) {
				found = i
				break
			}
		}
		if found < 0 {
			return -1, -1
		}
		at = max(at, found)
		if k == kindPMT {
			program, from = at, at
		}
	}
	for !s.packets[at].pcr && int(at) < len(s.packets)-1 { // without a PCR a time means nothing
		at++
	}
	all = j.timeAfter(c, at)
	return program, all
}

// timeAfter is the next time table that c heard.
func (j *judge) timeAfter(c *reception, at int32) int32 {
	for i := at + 1; i < int32(len(j.s.packets)); i++ {
		if j.s.packets[i].kind == kindTime && c.heard[i] {
			return i
		}
	}
	return -1
}

// live: what is promised to be promoted is.
func (j *judge) live(i int) {
	s, c := j.s, j.all[i]
	program, known := j.known(c)
	var list []*chunk
	if c.r.whole() {
		list = j.chunks[i]
	} else { // a chunk is where one that got everything found it
		for k := range j.all {
			if j.all[k].r.whole() {
				list = j.chunks[k]
				break
			}
		}
	}
	var chunks []*chunk
	for _, ch := range list {
		if ch.start >= 0 {
			chunks = append(chunks, ch)
		}
	}
	slices.SortStableFunc(chunks, func(a, b *chunk) int { return int(a.begin - b.begin) })
	if known < 0 {
		return
	}
	var raps []int32 // packets in which random access points begin, since c knew the program
	for n, a := range s.cut.aus {
		if s.cut.opens(n) {
			local := sort.Search(len(s.cut.starts), func(k int) bool { return int(s.cut.starts[k]) > a.at }) - 1
			if at := s.cut.index[local]; at > program {
				raps = append(raps, at)
			}
		}
	}
	stepIn := func(from, to int32) bool { return s.packets[from].seg != s.packets[to].seg }
	if c.r.whole() {
		for k := 0; k+1 < len(chunks); k++ {
			a, oka := s.randomAccess(chunks[k].start)
			b, okb := s.randomAccess(chunks[k+1].start)
			if oka && okb && !stepIn(chunks[k].begin, chunks[k+1].begin) && b.shown-a.shown > 3*second+s.longest {
				j.res.add(TooLong, i, fmt.Sprintf("group %d", chunks[k].entry.Group), "%.1f s, random access points are at most %.1f s apart", float64(b.shown-a.shown)/second, float64(s.longest)/second)
			}
		}
		begin := program
		if n := len(chunks); n > 0 {
			begin = chunks[n-1].begin
		}
		if n := len(chunks); s.packets[len(s.packets)-1].at-s.packets[begin].at > 4*second+s.longest {
			j.res.add(TooLong, i, "", "%d chunks, the last does not end", n)
		}
	}
	for k := 0; k+2 < len(chunks); k++ {
		ch := chunks[k]
		after, end := chunks[k+1], chunks[k+2].begin
		end = max(end, ch.to, after.to)
		if ch.begin <= known || stepIn(ch.from, end) {
			continue
		}
		seg := s.packets[ch.begin].seg
		if seg > 0 { // the clock that counts began here: time must have been heard on it
			first := int32(sort.Search(len(s.packets), func(k int) bool { return s.packets[k].seg >= seg }))
			if t := j.timeAfter(c, first); t < 0 || ch.begin <= t {
				continue
			}
		}
		before := false
		for _, r := range raps {
			before = before || r < ch.from && s.packets[r].seg == seg
		}
		if !before {
			continue
		}
		change := false
		for p := ch.from; p <= end; p++ {
			change = change || s.packets[p].change
		}
		promise := NotPromoted
		mine := ch
		if !c.r.whole() {
			promise = NotHealed
			if k == 0 || chunks[k-1].begin <= known || stepIn(chunks[k-1].from, end) {
				continue
			}
			lost := change
			for n, p := 0, ch.begin; p >= c.join && n < 2; p-- { // a time table that was lost makes those before it doubtful
				if s.packets[p].kind == kindTime {
					n++
					lost = lost || !c.heard[p]
				}
			}
			for _, l := range append(c.doubts, c.losses...) { // where in between it happened nobody knows
				lost = lost || l.last < end && (l.next < 0 || l.next >= chunks[k-1].from)
			}
			for _, p := range c.cut { // what lay in bytes that are missing nobody knows
				lost = lost || p >= chunks[k-1].from && p <= end
			}
			for p := chunks[k-1].from; p <= end; p++ {
				lost = lost || c.lacks(s, p)
			}
			if lost {
				continue
			}
			mine = nil
			for _, m := range j.chunks[i] {
				if m.start == ch.start {
					mine = m
				}
			}
		}
		if mine != nil && mine != ch && mine.entry.Reason == catalog.ReasonUnsynced {
			continue // it lost packets where the clock stepped, and so what the tables before said
		}
		if change {
			promise = NotAtChange
		}
		j.res.Due++
		if mine != nil && mine.entry.Scope == catalog.ScopeBroadcast {
			j.res.DueDone++
			continue
		}
		why := "it has no such chunk"
		if mine != nil {
			why = fmt.Sprintf("%s %+v", mine.entry.Reason, mine.entry.Damage)
			if mine.entry.Damage == nil {
				why = mine.entry.Reason
			}
		}
		j.res.add(promise, i, fmt.Sprintf("group %d", ch.entry.Group), "%s", why)
	}
}

// misled tells whether receiver i had not heard enough time tables to know that one of them is wrong.
func (j *judge) misled(i int, ch *chunk) bool {
	if j.s.spec.H[hIllegal] < 2 {
		return false
	}
	n := 0
	for p := j.all[i].join; p < ch.from; p++ {
		if j.s.packets[p].kind == kindTime && j.all[i].heard[p] && j.s.packets[p].seg == j.s.packets[ch.from].seg {
			n++
		}
	}
	return n < 4
}

// owners: no packet is in two objects of other names under the broadcast's name.
func (j *judge) owners() {
	type owner struct {
		receiver int
		name     string
	}
	var all []owner
	ids := map[string]int32{}
	of := map[*track][]int32{}
	for i := range j.chunks {
		for _, ch := range j.chunks[i] {
			if ch.wide == 0 {
				continue
			}
			told := false
			for _, p := range ch.owner {
				if p.object >= ch.wide || told {
					continue
				}
				name := ch.objects[p.object].name
				key := name + string(ch.objects[p.object].hash[:])
				id, ok := ids[key]
				if !ok {
					id = int32(len(all) + 1)
					ids[key] = id
					all = append(all, owner{i, name})
				}
				if of[p.track] == nil {
					of[p.track] = make([]int32, len(p.track.starts))
				}
				list := of[p.track]
				for k := p.first; k <= p.last; k++ {
					if list[k] == 0 {
						list[k] = id
						continue
					}
					if o := all[list[k]-1]; o.name != name {
						told = true
						from, to := j.around(i, ch)
						if j.s.edges[j.s.packets[ch.from].seg] <= j.s.jitter || j.misled(i, ch) || j.misled(o.receiver, ch) {
							j.res.Edge++
							break
						}
						if !j.excused(i, ch.entry.Group, from, to) && !j.excused(o.receiver, ch.entry.Group, from, to) {
							j.res.add(TwoNames, i, name, "packet %d of PID %#x is in %s of receiver %d, too; %s", k, p.track.pid, o.name, o.receiver, j.lost(i, from, to))
						}
						break
					}
				}
			}
		}
	}
}
