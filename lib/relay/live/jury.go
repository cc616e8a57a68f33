package live

import (
	"slices"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

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

// jury weighs the words of a track's homes against each other. The track's mutex guards it.
type jury struct {
	homes     map[string]*standing
	disputes  []*dispute     // the oldest first
	undecided *moqt.Location // an object about which homes disagree, and of which no standby was asked

	// stir says that there is something for standbys to do; quarantined, that a home was, which so many contradict.
	stir        func()
	quarantined func(s *standing, most int)
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
	clock bool // this machine's clock says so, and nobody else
}

// byClock is the number of those who contradict a home where this machine's clock alone does.
const byClock = 0

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

// home returns the standing of a home, which is made if need be; nil if there is no room.
func (j *jury) home(v voter) *standing {
	now := time.Now()
	if s := j.homes[v.who]; s != nil {
		s.heard = now
		return s
	}
	if len(j.homes) >= maxHomes { // of the host with most, the one that was heard longest ago goes, but none that is quarantined
		many := make(map[string]int)
		for _, s := range j.homes {
			many[s.host]++
		}
		var oldest *standing
		for _, s := range j.homes {
			if s.Until.After(now) {
				continue
			}
			if oldest == nil || many[s.host] > many[oldest.host] || many[s.host] == many[oldest.host] && s.heard.Before(oldest.heard) {
				oldest = s
			}
		}
		if oldest == nil {
			return nil
		}
		delete(j.homes, oldest.Who)
	}
	if j.homes == nil {
		j.homes = make(map[string]*standing)
	}
	s := &standing{Standing: Standing{Who: v.who}, host: v.host, heard: now}
	j.homes[v.who] = s
	return s
}

// barred reports whether a home is quarantined.
func (j *jury) barred(who string) bool {
	s := j.homes[who]
	return s != nil && s.Until.After(time.Now())
}

// disputed finds what homes brought for an object; nil: they do not disagree about it.
func (j *jury) disputed(group, id uint64) *dispute {
	for _, d := range j.disputes {
		if d.at.Group == group && d.at.Object == id {
			return d
		}
	}
	return nil
}

// dispute is disputed, and begins one if there is none, in place of the oldest if there are too many.
func (j *jury) dispute(group, id uint64) *dispute {
	if d := j.disputed(group, id); d != nil {
		return d
	}
	if len(j.disputes) >= maxDisputes {
		j.disputes = slices.Delete(j.disputes, 0, 1)
	}
	d := &dispute{at: moqt.Location{Group: group, Object: id}}
	j.disputes = append(j.disputes, d)
	return d
}

// add counts a home's word, the first one, and reports whether it did.
func (d *dispute) add(sum object.Hash, home voter) bool {
	var mine *version
	for _, v := range d.versions {
		if slices.ContainsFunc(v.by, func(o voter) bool { return o.who == home.who }) {
			return false
		}
		if v.hash == sum {
			mine = v
		}
	}
	if mine == nil {
		if len(d.versions) >= maxVersions {
			return false
		}
		mine = &version{hash: sum}
		d.versions = append(d.versions, mine)
	}
	if len(mine.by) >= maxVotes {
		return false
	}
	mine.by = append(mine.by, home)
	return true
}

// votes counts the hosts that stand for a version.
func (d *dispute) votes(sum object.Hash) int {
	for _, v := range d.versions {
		if v.hash == sum {
			return v.votes()
		}
	}
	return 0
}

// won reports whether a majority stands for a version.
func (d *dispute) won(sum object.Hash) bool {
	mine, others := 0, 0
	for _, v := range d.versions {
		if v.hash == sum {
			mine = v.votes()
		} else {
			others = max(others, v.votes())
		}
	}
	return mine > others
}

// decide looks who is contradicted in a dispute.
func (j *jury) decide(d *dispute) {
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
				j.argue(home, d.at.Group)
				j.undecided = &d.at
				j.stir()
			} else if v.votes() < most && !slices.Contains(d.against, home.who) {
				d.against = append(d.against, home.who)
				j.contradict(home, d.at, most)
			}
		}
	}
}

// argue notes that a home's word stands against another one's.
func (j *jury) argue(v voter, group uint64) {
	s := j.home(v)
	if s == nil || slices.Contains(s.argued, group) {
		return
	}
	if s.argued = append(s.argued, group); len(s.argued) > maxDisputes {
		s.argued = s.argued[1:]
	}
	s.Disputed++
}

// contradict notes that a majority says otherwise than a home, and quarantines the home if that happened often.
func (j *jury) contradict(v voter, at moqt.Location, most int) {
	s := j.home(v)
	if s == nil || slices.ContainsFunc(s.against, func(v verdictOf) bool { return v.group == at.Group }) {
		return
	}
	now := time.Now()
	s.against = slices.DeleteFunc(s.against, func(v verdictOf) bool { return now.Sub(v.at) > againstWithin })
	if len(s.against) > maxDisputes {
		s.against = s.against[1:]
	}
	s.against = append(s.against, verdictOf{at.Group, now, most == byClock})
	s.Contradicted++
	if i := slices.Index(s.argued, at.Group); i >= 0 { // it was one against one before
		s.argued = slices.Delete(s.argued, i, i+1)
		s.Disputed--
	}
	enough := againstGroups
	for _, o := range j.homes {
		if o != s && o.host == s.host && o.Until.After(now) {
			enough = 1
		}
	}
	if len(s.against) < enough || s.Until.After(now) {
		return
	}
	s.Until = now.Add(quarantineFor)
	j.quarantined(s, most)
	j.stir()
}

// forgetClock takes back what this machine's clock told before it was set.
func (j *jury) forgetClock() {
	for _, s := range j.homes {
		n := len(s.against)
		s.against = slices.DeleteFunc(s.against, func(v verdictOf) bool { return v.clock })
		if len(s.against) < n && len(s.against) < againstGroups {
			s.Until = time.Time{}
		}
	}
}

// confirm notes that a home has brought all of a group that is whole, and whom that confirms.
func (j *jury) confirm(c *closing, home voter) {
	if slices.ContainsFunc(c.homes, func(o confirmed) bool { return o.who == home.who }) {
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
		if s := j.home(h.voter); s != nil {
			s.Confirmed++
		}
	}
}

// pardon ends the quarantine of a home, of all if who is "", and returns how many that were.
func (j *jury) pardon(who string) (n int) {
	now := time.Now()
	for _, s := range j.homes {
		if who != "" && s.Who != who {
			continue
		}
		if s.Until.After(now) {
			n++
		}
		s.Until, s.against = time.Time{}, nil
	}
	return n
}

// confirmed is a home that brought all of a group, and whether another host has done so, too.
type confirmed struct {
	voter
	done bool
}
