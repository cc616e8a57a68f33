package live

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"every.channel/ec/lib/object"
)

// Several homes that send one broadcast send the same bytes under the same names. So each confirms what others bring, and where two bring
// different bytes one of them is wrong. The relay cannot tell which one, as long as it is one word against another: the first object stays,
// and both are noted. Where two or more homes agree against fewer, these are contradicted; and a home that was contradicted in several groups
// within a while is quarantined: nothing more of it enters the track for a time. All homes of one host (Source.Host) have one vote for each
// version together, however many sessions they have, so one host never outvotes two; but each stands or falls by itself (Source.Who), so nobody
// is quarantined for what a neighbour behind the same address brought.

// Standing is what is known of a home that sends or sent a track: Who tells homes apart.
type Standing struct {
	Who string
	// Confirmed counts the groups that other homes brought, too, object for object; Contradicted those of which a majority of homes brought
	// something else; Disputed those of which another home brought something else and nobody can tell who is right.
	Confirmed, Contradicted, Disputed int64
	// Until is when the home's quarantine ends; zero: it is not quarantined.
	Until time.Time
}

// voter returns who stands behind a source. Nobody has a vote for an upstream, because what another relay brings may come from the same home,
// and for what was fetched.
func (src *Source) voter() (v voter, ok bool) {
	who := cmp.Or(src.Who, src.Name)
	return voter{who, cmp.Or(src.Host, who)}, !src.Upstream && !src.Fetched
}

// Barred reports whether nothing of a home enters the track at the moment.
func (t *Track) Barred(who string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.jury.barred(who)
}

// Homes returns the standing of all homes that are remembered, by name.
func (t *Track) Homes() (list []Standing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, s := range t.jury.homes {
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
	Apart                                   int64  // objects of groups that do not fit
	Strange                                 string // why the last of these groups did not
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
			Objects: src.Objects.Load(), Duplicates: src.Duplicates.Load(), Conflicts: src.Conflicts.Load(), Refused: src.Refused.Load(), Apart: src.Apart.Load(),
			Standing: Standing{Who: cmp.Or(src.Who, src.Name)},
		}
		if src.apart != nil {
			s.Strange = src.apart.Error()
		}
		if h := t.jury.homes[s.Who]; h != nil {
			s.Standing = h.Standing
		}
		here[s.Who] = true
		list = append(list, s)
	}
	for who, h := range t.jury.homes {
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
	n = t.jury.pardon(who)
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
	if d := t.jury.disputed(o.Group, o.ID); d != nil {
		d.add(said(&o.Object, sum), home)
		t.jury.decide(d)
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
func (g *group) vouchEarly(src *Source, o *Object, sum object.Hash) {
	if home, ok := src.voter(); ok && len(g.early) < maxVotes {
		g.early = append(g.early, early{o.ID, sum, home})
	}
}

// vouchLate counts the words for an object that has come into its group. The track's mutex is held.
func (g *group) vouchLate(o *Object, sum object.Hash) {
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

// objectTo notes that a source brought another object than the one that is there, old if it is in memory, or one behind the end of its group.
// The track's mutex is held.
func (t *Track) objectTo(f *Feed, g *group, old *Object, sum object.Hash) {
	home, ok := f.src.voter()
	if !ok {
		return
	}
	d := t.jury.dispute(f.o.Group, f.o.ID)
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
	t.jury.decide(d)
}

// barred reports whether a source is quarantined. The track's mutex is held.
func (t *Track) barred(src *Source) bool { return t.jury.barred(cmp.Or(src.Who, src.Name)) }

// quarantined tells operators. The track's mutex is held.
func (t *Track) quarantined(s *standing, most int) {
	t.m.Quarantined.Add(1)
	why := "most others bring something else under its names"
	if most < 2 {
		why = "its groups do not fit the broadcast's clock"
	}
	t.m.c.Logger.Error("home quarantined: nothing more of it enters the track", "why", why,
		"track", t.name.String(), "home", s.Who, "groups", len(s.against), "others", most, "until", s.Until.UTC().Format(time.RFC3339))
}

// errQuarantined says why an object is not taken.
var errQuarantined = errors.New("its home is quarantined")
