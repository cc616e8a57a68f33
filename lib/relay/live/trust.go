package live

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// Several homes that send one broadcast send the same bytes under the same names. So each confirms what others bring, and where two bring
// different bytes one of them is wrong. The relay cannot tell which one, as long as it is one word against another: the first object stays,
// and both are noted. Where two or more homes agree against fewer, these are contradicted; and a home that was contradicted in several groups
// within a while is quarantined: nothing more of it enters the track for a time. All homes of one host (Source.Host) have one vote for each
// version together, however many sessions they have, so one host never outvotes two; but each stands or falls by itself (Source.Who), so nobody
// is quarantined for what a neighbour behind the same address brought.

const (
	// againstGroups is in how many groups within againstWithin a home must have been contradicted to be quarantined, for quarantineFor.
	// Of a host with a home in quarantine, of which this one may be a new session, one group is enough.
	againstGroups = 3
	againstWithin = 10 * time.Minute
	quarantineFor = time.Hour
	// maxHomes bounds the homes of a track whose standing is remembered; maxDisputes the objects in dispute; maxVersions and maxVotes what is
	// remembered of one such object. Any client may be a home.
	maxHomes, maxDisputes, maxVersions, maxVotes = 64, 256, 8, 32
)

// Standing is what is known of a home that sends or sent a track: Who tells homes apart.
type Standing struct {
	Who string
	// Confirmed counts the groups that other homes brought, too, object for object; Contradicted those of which a majority of homes brought
	// something else; Disputed those of which another home brought something else and nobody can tell who is right.
	Confirmed, Contradicted, Disputed int64
	// Until is when the home's quarantine ends; zero: it is not quarantined.
	Until time.Time
}

// standing is one with what decides. The track's mutex guards it.
type standing struct {
	Standing
	host    string
	heard   time.Time
	against []verdictOf // groups of late
	argued  []uint64    // groups in dispute of late
}

type verdictOf struct {
	group uint64
	at    time.Time
}

// dispute is what homes brought for one object. The track's mutex guards it.
type dispute struct {
	at       moqt.Location
	versions []*version
	against  []string // homes that were contradicted here, which counts once, at its time
}

type version struct {
	hash object.Hash
	by   []voter
}

// voter is a home, and the host whose vote it gives.
type voter struct{ who, host string }

// votes counts the hosts that say so.
func (v *version) votes() (n int) {
	for i, a := range v.by {
		if !slices.ContainsFunc(v.by[:i], func(b voter) bool { return b.host == a.host }) {
			n++
		}
	}
	return n
}

// voter returns who stands behind a source. Nobody has a vote for an upstream, because what another relay brings may come from the same home,
// and for what was fetched.
func (src *Source) voter() (v voter, ok bool) {
	who := cmp.Or(src.Who, src.Name)
	return voter{who, cmp.Or(src.Host, who)}, !src.Upstream && !src.Fetched
}

// home returns the standing of a home, which is made if need be; nil if there is no room. The track's mutex is held.
func (t *Track) home(v voter) *standing {
	now := time.Now()
	if s := t.homes[v.who]; s != nil {
		s.heard = now
		return s
	}
	if len(t.homes) >= maxHomes { // the one that was heard longest ago goes, but none that is quarantined
		var oldest *standing
		for _, s := range t.homes {
			if !s.Until.After(now) && (oldest == nil || s.heard.Before(oldest.heard)) {
				oldest = s
			}
		}
		if oldest == nil {
			return nil
		}
		delete(t.homes, oldest.Who)
	}
	if t.homes == nil {
		t.homes = make(map[string]*standing)
	}
	s := &standing{Standing: Standing{Who: v.who}, host: v.host, heard: now}
	t.homes[v.who] = s
	return s
}

// barred reports whether a source is quarantined. The track's mutex is held.
func (t *Track) barred(src *Source) bool {
	s := t.homes[cmp.Or(src.Who, src.Name)]
	return s != nil && s.Until.After(time.Now())
}

// Barred reports whether nothing of a home enters the track at the moment.
func (t *Track) Barred(who string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.barred(&Source{Who: who})
}

// Homes returns the standing of all homes that are remembered, by name.
func (t *Track) Homes() (list []Standing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, s := range t.homes {
		if !s.Until.After(now) {
			s.Until = time.Time{}
		}
		list = append(list, s.Standing)
	}
	slices.SortFunc(list, func(a, b Standing) int { return cmp.Compare(a.Who, b.Who) })
	return list
}

// Sender is a source as operators are told of it, with the standing of its home.
type Sender struct {
	Name                                    string
	Standby, Sends                          bool // a standby that rests does not send
	Objects, Duplicates, Conflicts, Refused int64
	Standing
}

// Senders returns the sources of a track, by home, and the homes in quarantine that are gone.
func (t *Track) Senders() (list []Sender) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	here := make(map[string]bool)
	for src := range t.sources {
		s := Sender{
			Name: src.Name, Standby: src.Standby, Sends: !src.Standby || !src.reserve.asked.IsZero(),
			Objects: src.Objects.Load(), Duplicates: src.Duplicates.Load(), Conflicts: src.Conflicts.Load(), Refused: src.Refused.Load(),
			Standing: Standing{Who: cmp.Or(src.Who, src.Name)},
		}
		if h := t.homes[s.Who]; h != nil {
			s.Standing = h.Standing
		}
		here[s.Who] = true
		list = append(list, s)
	}
	for who, h := range t.homes {
		if !here[who] && h.Until.After(now) {
			list = append(list, Sender{Standing: h.Standing})
		}
	}
	for i := range list {
		if !list[i].Until.After(now) {
			list[i].Until = time.Time{}
		}
	}
	slices.SortFunc(list, func(a, b Sender) int { return cmp.Or(cmp.Compare(a.Who, b.Who), cmp.Compare(a.Name, b.Name)) })
	return list
}

// Pardon ends the quarantine of a home, of all if who is "", and returns how many that were.
func (t *Track) Pardon(who string) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, s := range t.homes {
		if who != "" && s.Who != who {
			continue
		}
		if s.Until.After(now) {
			n++
		}
		s.Until, s.against = time.Time{}, nil
	}
	if n > 0 {
		t.Stir()
	}
	return n
}

// vouch notes that a source brought an object that is there. The track's mutex is held.
func (t *Track) vouch(src *Source, o *Object, sum object.Hash) {
	home, ok := src.voter()
	if !ok || o == nil {
		return
	}
	if !slices.Contains(o.by, home) && len(o.by) < maxVotes {
		o.by = append(o.by, home)
	}
	if d := t.disputed(o.Group, o.ID); d != nil {
		d.add(said(&o.Object, sum), home)
		t.decide(d)
	}
}

// said is what a home says of an id: an object with a payload, or that the group ends before it.
func said(o *object.Object, sum object.Hash) object.Hash {
	if o.Status != object.Normal {
		return object.Hash{}
	}
	return sum
}

// early is the word of a home for an object that is stored, and that the publisher which brought it first has not put into its group yet.
type early struct {
	id   uint64
	hash object.Hash
	home voter
}

// vouchEarly notes such a word. The track's mutex is held.
func (t *Track) vouchEarly(src *Source, g *group, o *Object, sum object.Hash) {
	if home, ok := src.voter(); ok && g != nil && len(g.early) < maxVotes {
		g.early = append(g.early, early{o.ID, sum, home})
	}
}

// vouchLate counts the words for an object that has come into its group. The track's mutex is held.
func (t *Track) vouchLate(g *group, o *Object, sum object.Hash) {
	g.early = slices.DeleteFunc(g.early, func(e early) bool {
		if e.id != o.ID {
			return false
		}
		if e.hash == sum && !slices.Contains(o.by, e.home) && len(o.by) < maxVotes {
			o.by = append(o.by, e.home)
		}
		return true
	})
}

func (t *Track) disputed(group, id uint64) *dispute {
	for _, d := range t.disputes {
		if d.at.Group == group && d.at.Object == id {
			return d
		}
	}
	return nil
}

// objectTo notes that a source brought another object than the one that is there, old if it is in memory, or one behind the end of its group.
// The track's mutex is held.
func (t *Track) objectTo(f *Feed, g *group, old *Object, sum object.Hash) {
	home, ok := f.src.voter()
	if !ok {
		return
	}
	d := t.disputed(f.o.Group, f.o.ID)
	if d == nil {
		if len(t.disputes) >= maxDisputes {
			t.disputes = slices.Delete(t.disputes, 0, 1)
		}
		d = &dispute{at: moqt.Location{Group: f.o.Group, Object: f.o.ID}}
		t.disputes = append(t.disputes, d)
	}
	kept := old
	if kept == nil && g != nil && g.hasEnd {
		kept = g.find(g.end)
	}
	if kept != nil && kept.whole() {
		for _, w := range kept.by {
			d.add(said(&kept.Object, object.Sum(kept.Payload)), w)
		}
	}
	d.add(said(&f.o.Object, sum), home)
	t.decide(d)
}

// add counts a home's word, the first one.
func (d *dispute) add(sum object.Hash, home voter) {
	var mine *version
	for _, v := range d.versions {
		if slices.ContainsFunc(v.by, func(o voter) bool { return o.who == home.who }) {
			return
		}
		if v.hash == sum {
			mine = v
		}
	}
	if mine == nil {
		if len(d.versions) >= maxVersions {
			return
		}
		mine = &version{hash: sum}
		d.versions = append(d.versions, mine)
	}
	if len(mine.by) < maxVotes {
		mine.by = append(mine.by, home)
	}
}

// decide looks who is contradicted in a dispute. The track's mutex is held.
func (t *Track) decide(d *dispute) {
	var most, second int
	for _, v := range d.versions {
		if n := v.votes(); n > most {
			most, second = n, most
		} else {
			second = max(second, n)
		}
	}
	if len(d.versions) < 2 {
		return
	}
	for _, v := range d.versions {
		for _, home := range v.by {
			if most < 2 || most == second {
				t.argue(home, d.at.Group)
				t.undecided = &d.at
				t.Stir()
			} else if v.votes() < most && !slices.Contains(d.against, home.who) {
				d.against = append(d.against, home.who)
				t.contradict(home, d.at, most)
			}
		}
	}
}

// argue notes that a home's word stands against another one's.
func (t *Track) argue(v voter, group uint64) {
	s := t.home(v)
	if s == nil || slices.Contains(s.argued, group) {
		return
	}
	if s.argued = append(s.argued, group); len(s.argued) > maxDisputes {
		s.argued = s.argued[1:]
	}
	s.Disputed++
}

// contradict notes that a majority says otherwise than a home, and quarantines the home if that happened often.
func (t *Track) contradict(v voter, at moqt.Location, most int) {
	s := t.home(v)
	if s == nil || slices.ContainsFunc(s.against, func(v verdictOf) bool { return v.group == at.Group }) {
		return
	}
	now := time.Now()
	s.against = slices.DeleteFunc(s.against, func(v verdictOf) bool { return now.Sub(v.at) > againstWithin })
	if len(s.against) > maxDisputes {
		s.against = s.against[1:]
	}
	s.against = append(s.against, verdictOf{at.Group, now})
	s.Contradicted++
	if i := slices.Index(s.argued, at.Group); i >= 0 { // it was one against one before
		s.argued = slices.Delete(s.argued, i, i+1)
		s.Disputed--
	}
	enough := againstGroups
	for _, o := range t.homes {
		if o != s && o.host == s.host && o.Until.After(now) {
			enough = 1
		}
	}
	if len(s.against) < enough || s.Until.After(now) {
		return
	}
	s.Until = now.Add(quarantineFor)
	t.m.Quarantined.Add(1)
	t.m.c.Logger.Error("home quarantined: nothing more of it enters the track, because most others bring something else under its names",
		"track", t.name.String(), "home", v.who, "groups", len(s.against), "others", most, "until", s.Until.UTC().Format(time.RFC3339))
	t.Stir()
}

// confirm notes that a home has brought all of a group that is whole, and whom that confirms. The track's mutex is held.
func (t *Track) confirm(c *closing, src *Source) {
	home, ok := src.voter()
	if !ok || slices.ContainsFunc(c.homes, func(o confirmed) bool { return o.who == home.who }) {
		return
	}
	c.homes = append(c.homes, confirmed{voter: home})
	for i := range c.homes { // the first one has waited for somebody who confirms it
		h := &c.homes[i]
		other := slices.ContainsFunc(c.homes, func(o confirmed) bool { return o.host != h.host })
		if h.done || !other {
			continue
		}
		h.done = true
		if s := t.home(h.voter); s != nil {
			s.Confirmed++
		}
	}
}

// confirmed is a home that brought all of a group, and whether another host has done so, too.
type confirmed struct {
	voter
	done bool
}

// errQuarantined says why an object is not taken.
var errQuarantined = errors.New("its home is quarantined")
