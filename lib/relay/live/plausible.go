package live

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// The group ids of a broadcast's tracks stand for times of the broadcast's clock, so a relay can tell whether an id fits. A group that does
// not fit is held apart: nothing of it enters the track, its publisher is told, and ec-pub then sends it under its source's name.
//
// - No group may be further ahead of the relay's own clock than Config.MaxAhead.
// - A home may not run ahead of the homes of other hosts that send in step with time, unless as many hosts say the same of the clock. Of two
//   alone that disagree, the one that was there first goes on, as long as it does not jump. A home of which groups were held apart, and then
//   provenClaims brought by another host, too, is early and no liar: it may be ahead as far as that.
// - Of two groups of one bucket, by homes of different hosts of which neither brought the other one's, the first stays, and the jury weighs them.
// - Of two homes that brought different groups for a bucket, the one that was there first is waited for in the buckets after that, and so it is
//   with a second group for a bucket: nobody replaces or adds to a broadcast by being a little earlier.
//
// A home whose groups are held apart, and that two hosts have passed without bringing them, is contradicted, and quarantined like one that others
// contradict (jury). One host's word against another's only holds groups apart. When this machine's clock is set, what it told is forgotten.

// Naming says what group ids of a track stand for.
type Naming interface {
	Time(group uint64) time.Time // when the group's bucket begins, in UTC
	First(group uint64) uint64   // the least id of the group's bucket
	Length() time.Duration       // of a bucket
	Chunks() bool                // each bucket has one group, and the groups are exact to each other
}

const (
	// aheadSlack is how far ahead of all others a home may run, beside a bucket's length: homes hear, cut and send at different speeds.
	aheadSlack = 3 * time.Second
	// stepGroups are the groups that a home must have brought in step with time to be one that others are compared with.
	stepGroups = 4
	// leadFor is how long the greatest lead of a home counts, at least, and at most twice as long.
	leadFor = 5 * time.Minute
	// provenClaims groups that were held apart must have been confirmed; maxClaims are remembered.
	provenClaims, maxClaims = 3, 8
	// clockSet is how far this machine's clock goes at once when somebody has set it.
	clockSet = 2 * time.Second
	// setSince is 2025 in Unix seconds: a machine whose clock is before that has not been told the time yet.
	setSince = 1735689600
	// firstTable is 1980, before which no broadcast has told the time (docs/format/time.md): such ids stand for none.
	firstTable = 315532800
)

// ErrApart says why a group is held apart.
var ErrApart = errors.New("group held apart")

// leads are how far ahead of the wall clock the groups of a track's homes are. The track's mutex guards it.
type leads struct {
	naming Naming
	most   time.Duration // of Config
	homes  map[string]*lead
	came   int
	differ map[string][]string // of a host, those that brought another group for a bucket than it, and have not said the same since
	wall   time.Time           // what this machine's clock said when a group was judged last, and when that was: a clock that is set shows by both
	judged time.Time
}

// lead is what is known of one home. All leads are the time of a group's bucket less the time at which the group came: about minus the
// delay of the home's path.
type lead struct {
	voter
	place  int // in the order in which hosts came
	last   time.Time
	recent []arrived // its last groups, at most stepGroups
	best   [2]time.Duration
	since  time.Time     // when best[0] began to be looked for
	claims []claim       // groups that were held apart, the newest last
	right  int           // how many such groups other hosts brought
	upTo   time.Duration // the greatest lead of those
}

type arrived struct {
	group uint64
	at    time.Time
	lead  time.Duration
}

// claim is a group that was held apart.
type claim struct {
	arrived
	confirmed, over bool
	passed          []string // hosts that have left it out
}

func (l *leads) home(v voter) *lead {
	if h := l.homes[v.who]; h != nil {
		return h
	}
	h := &lead{voter: v, place: l.came + 1}
	many := make(map[string]int) // homes of a host
	for _, o := range l.homes {
		if many[o.host]++; o.host == h.host { // a new session of a host that was here
			h.place = min(h.place, o.place)
		}
	}
	if len(l.homes) >= maxHomes { // a host with many sessions drives out its own
		var out *lead
		for _, o := range l.homes {
			if out == nil || many[o.host] > many[out.host] || many[o.host] == many[out.host] && o.last.Before(out.last) {
				out = o
			}
		}
		delete(l.homes, out.who)
		if many[out.host] == 1 && out.host != h.host {
			delete(l.differ, out.host)
		}
	}
	if l.homes == nil {
		l.homes = make(map[string]*lead)
	}
	l.came++
	l.homes[v.who] = h
	return h
}

// set forgets what this machine's clock told, once somebody has set the clock, and reports that.
func (l *leads) set(now time.Time) bool {
	was, judged := l.wall, l.judged
	l.wall, l.judged = now.Round(0), now
	if judged.IsZero() || (l.wall.Sub(was)-now.Sub(judged)).Abs() < clockSet {
		return false
	}
	for _, h := range l.homes {
		h.recent, h.best, h.since = nil, [2]time.Duration{}, time.Time{}
		h.claims, h.right, h.upTo = nil, 0, 0
	}
	return true
}

// note notes that a home brings something of a group now.
func (h *lead) note(a arrived) {
	h.last = a.at
	if n := len(h.recent); n > 0 && h.recent[n-1].group == a.group {
		return
	}
	if h.recent = append(h.recent, a); len(h.recent) > stepGroups {
		h.recent = slices.Delete(h.recent, 0, 1)
	}
	if h.since.IsZero() || a.at.Sub(h.since) > leadFor {
		if h.since.IsZero() {
			h.best[0] = a.lead
		}
		h.best[1], h.best[0], h.since = h.best[0], a.lead, a.at
	}
	h.best[0] = max(h.best[0], a.lead)
}

// lead is the greatest of late.
func (h *lead) lead() time.Duration { return max(h.best[0], h.best[1]) }

// inStep reports whether the home sends as time goes by, now. What sends a file as fast as it can says nothing of the clock.
func (h *lead) inStep(now time.Time, length time.Duration) bool {
	if len(h.recent) < stepGroups || now.Sub(h.last) > quietSource+2*length {
		return false
	}
	first, last := h.recent[0], h.recent[len(h.recent)-1]
	took := last.at.Sub(first.at)
	return took > length && (last.lead-first.lead).Abs() <= took/2
}

// judge says why a group of a home that nobody has brought yet does not fit. far says that no home can confirm it.
func (l *leads) judge(h *lead, a arrived) (err error, far bool) {
	if ahead := l.naming.Time(a.group).Sub(a.at); l.most > 0 && ahead > l.most && a.at.Unix() > setSince {
		return fmt.Errorf("%w: %v ahead of this relay's clock, more than --max-ahead %v", ErrApart, ahead.Round(time.Second), l.most), true
	}
	slack := l.naming.Length() + aheadSlack
	if !l.naming.Chunks() || h.right >= provenClaims && a.lead <= h.upTo+slack {
		return nil, false
	}
	goesOn := h.inStep(a.at, l.naming.Length()) && a.lead <= h.lead()+slack // it does not jump
	var with, against []string                                              // hosts
	var nearest time.Duration
	for _, o := range l.homes {
		if o.host == h.host || !o.inStep(a.at, l.naming.Length()) {
			continue
		}
		ahead := a.lead - o.lead()
		if ahead <= slack || o.claimed(a, slack) {
			with = add(with, o.host)
			continue
		}
		if len(against) == 0 || ahead < nearest {
			nearest = ahead
		}
		against, goesOn = add(against, o.host), goesOn && h.place < o.place
	}
	if mine := len(with) + 1; len(against) < mine || len(against) == mine && goesOn {
		return nil, false
	}
	return fmt.Errorf("%w: %v ahead of what all others send", ErrApart, nearest.Round(100*time.Millisecond)), false
}

func add(hosts []string, host string) []string {
	if slices.Contains(hosts, host) {
		return hosts
	}
	return append(hosts, host)
}

// fits says whether a group that a source brings something of fits, and notes when it came. The track's mutex is held, but not while the store
// is asked.
func (t *Track) fits(src *Source, group uint64) error {
	home, ok := src.voter()
	if t.leads.naming == nil || !ok {
		return nil
	}
	begins := t.leads.naming.Time(group)
	if begins.Unix() < firstTable {
		return nil
	}
	now := time.Now()
	h, here := t.leads.home(home), t.groups[group] != nil
	if n := len(h.recent); here && n > 0 && h.recent[n-1].group == group {
		h.last = now
		return nil
	}
	a := arrived{group, now, begins.Sub(now)}
	if err := t.strange(h, a, here); err != nil {
		t.mu.Unlock()
		kept := t.files.Has(group)
		t.mu.Lock()
		if !kept {
			t.m.Apart.Add(1)
			src.apart = err
			return err
		}
	}
	h.note(a)
	t.confirmClaims(h, a)
	return nil
}

// strange says why a group does not fit. One that is there does, but the home's word for it counts.
func (t *Track) strange(h *lead, a arrived, here bool) error {
	if here {
		if d := t.jury.disputed(t.bucketOf(a.group)); d != nil {
			t.word(d, a.group, h.voter)
			t.jury.decide(d)
		}
		return nil
	}
	err, far := t.leads.judge(h, a)
	if err != nil {
		t.claim(h, a, far)
		return err
	}
	return t.clash(h, a)
}

// claim notes a group that is held apart. One that nobody can confirm counts against its home at once.
func (t *Track) claim(h *lead, a arrived, far bool) {
	h.last = a.at
	if slices.ContainsFunc(h.claims, func(c claim) bool { return c.group == a.group }) {
		return
	}
	if len(h.claims) >= maxClaims { // claims of which nobody knows yet stay
		i := slices.IndexFunc(h.claims, func(c claim) bool { return c.confirmed || c.over })
		if i < 0 {
			return
		}
		h.claims = slices.Delete(h.claims, i, i+1)
	}
	h.claims = append(h.claims, claim{arrived: a, over: far})
	if far {
		t.jury.contradict(h.voter, moqt.Location{Group: a.group}, byClock)
	}
}

// confirmClaims looks at what other homes claimed, once a home has brought a group: the same one confirms the claim, and one of a later
// bucket ends the time in which it could be confirmed.
func (t *Track) confirmClaims(by *lead, a arrived) {
	for _, h := range t.leads.homes {
		if h.host == by.host || len(h.claims) == 0 {
			continue
		}
		for i := range h.claims {
			c := &h.claims[i]
			switch {
			case c.confirmed:
			case c.group == a.group:
				if c.confirmed = true; h.right == 0 || c.lead > h.upTo {
					h.upTo = c.lead
				}
				h.right++
			case c.over:
			case a.at.Sub(c.at) > againstWithin:
				c.over = true
			case by.passed(c, a, t.leads.naming.Length()):
				if c.passed = add(c.passed, by.host); len(c.passed) >= 2 {
					c.over = true
					t.jury.contradict(h.voter, moqt.Location{Group: c.group}, len(c.passed))
				}
			}
		}
	}
}

// claimed reports whether a home has lately claimed that the clock is where another one claims it now.
func (h *lead) claimed(a arrived, slack time.Duration) bool {
	return slices.ContainsFunc(h.claims, func(c claim) bool {
		return !c.over && a.at.Sub(c.at) < quietSource && (a.lead-c.lead).Abs() <= slack
	})
}

// passed reports whether a home that brings a and sends in step with time has left out what was claimed.
func (h *lead) passed(c *claim, a arrived, length time.Duration) bool {
	return a.lead-c.lead+a.at.Sub(c.at) > length && h.inStep(a.at, length)
}

// bucketOf returns what stands for a whole bucket where objects are disputed: no object has this id.
func (t *Track) bucketOf(group uint64) (first, object uint64) {
	return t.leads.naming.First(group), math.MaxUint64
}

// groupWord is what a home says of a bucket: which group is its chunk.
func groupWord(group uint64) (h object.Hash) {
	binary.BigEndian.PutUint64(h[:], group)
	return h
}

// clash finds a group of the same bucket that a home of another host brought, and asks the jury which of them is right: the one that is there
// stays unless more hosts stand for the other one. A home that was there first is waited for by those that brought other groups than it.
func (t *Track) clash(h *lead, a arrived) error {
	n := t.leads.naming
	if !n.Chunks() {
		return nil
	}
	d, there := t.jury.disputed(t.bucketOf(a.group)), false
	for id, g := range t.groups {
		if id == a.group || n.First(id) != n.First(a.group) {
			continue
		}
		by := g.voters()
		if slices.ContainsFunc(by, func(v voter) bool { return v.host == h.host }) {
			return t.second(h, a, by)
		}
		for _, v := range by { // nobody, if the store or an upstream brought it
			if there = true; d == nil {
				d = t.jury.dispute(t.bucketOf(a.group))
			}
			t.word(d, id, v)
		}
	}
	waits := !there && t.waits(h, a.at)
	if waits && d == nil {
		d = t.jury.dispute(t.bucketOf(a.group))
	}
	if d == nil {
		return nil
	}
	t.word(d, a.group, h.voter)
	t.jury.decide(d)
	switch {
	case there && !d.won(groupWord(a.group)):
		return fmt.Errorf("%w: another home brought another chunk for the same time", ErrApart)
	case waits && d.votes(groupWord(a.group)) < 2:
		return fmt.Errorf("%w: a home that was there first brought other chunks before, and none for this time yet", ErrApart)
	}
	return nil
}

// second says why a second group for a bucket does not fit, of which others brought the first one, too: the broadcast's clock was set back, but
// only if a home that was there first and goes on says so.
func (t *Track) second(h *lead, a arrived, by []voter) error {
	for _, v := range by {
		if o := t.leads.homes[v.who]; o != nil && o.host != h.host && o.place < h.place && o.inStep(a.at, t.leads.naming.Length()) {
			return fmt.Errorf("%w: a second chunk for the same time, and a home that was there first brought one only", ErrApart)
		}
	}
	return nil
}

// waits reports whether a home's group for a new bucket waits for homes that were there first, because it brought other groups than these before.
func (t *Track) waits(h *lead, now time.Time) bool {
	var with, against []string
	for _, o := range t.leads.homes {
		switch {
		case o.host == h.host || !o.inStep(now, t.leads.naming.Length()):
		case !slices.Contains(t.leads.differ[h.host], o.host):
			with = add(with, o.host)
		case o.place < h.place:
			against = add(against, o.host)
		}
	}
	return len(against) > len(with)
}

// word counts a home's word for a group of a bucket. Who said the same before does not differ from the home any more; who says the same later may
// only repeat it.
func (t *Track) word(d *dispute, group uint64, home voter) {
	mine := groupWord(group)
	if !d.add(mine, home) {
		return
	}
	for _, v := range d.versions {
		for _, w := range v.by {
			switch {
			case w.host == home.host:
			case v.hash != mine:
				t.leads.differs(home.host, w.host)
				t.leads.differs(w.host, home.host)
			case len(t.leads.differ[w.host]) > 0:
				t.leads.differ[w.host] = slices.DeleteFunc(t.leads.differ[w.host], func(host string) bool { return host == home.host })
			}
		}
	}
}

// differs notes that a host brought another group for a bucket than another one.
func (l *leads) differs(host, other string) {
	if l.differ == nil {
		l.differ = make(map[string][]string)
	}
	if l.differ[host] = add(l.differ[host], other); len(l.differ[host]) > maxHomes {
		l.differ[host] = l.differ[host][1:]
	}
}

// voters are the homes that brought something of a group.
func (g *group) voters() (by []voter) {
	if g.home != (voter{}) {
		by = append(by, g.home)
	}
	for _, o := range g.objs {
		for _, v := range o.by {
			if !slices.Contains(by, v) {
				by = append(by, v)
			}
		}
	}
	return by
}
