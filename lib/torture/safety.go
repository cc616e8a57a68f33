package torture

import (
	"fmt"
	"slices"
	"strings"

	"every.channel/ec/lib/catalog"
)

// names checks that every broadcast-scoped object is named after this broadcast.
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
			if !j.s.titled(o.track.Namespace, 0, int32(len(j.s.packets))) {
				j.res.add(WrongName, i, o.name, "the broadcast is %s", j.s.name(j.s.titles[0]))
				break
			}
		}
		for _, ch := range j.chunks[i] {
			if ch.wide == 0 || !j.s.named || ch.from < 0 || j.s.titled(ch.objects[0].track.Namespace, ch.from, ch.to) {
				continue
			}
			if j.unseen(i, ch) {
				j.res.Invisible++
				continue
			}
			j.res.add(WrongName, i, ch.objects[0].name, "packets %d–%d, the broadcast is called otherwise there", ch.from, ch.to)
			break
		}
	}
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
			if j.straddled(append(j.seams(ch, slices.Index(ch.objects, o)), j.seams(ref, slices.Index(ref.objects, f.o))...), i, f.receiver) {
				j.res.Invisible++
				continue
			}
			blamed[ch] = true
			if name := strings.TrimRight(o.name, "0123456789"); j.chance == "" && j.apart(ch, ref) || j.chance == name {
				j.chance = name
				j.res.Chance++
				continue
			}
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

// apart tells whether two chunks have nothing in common: the clock came to one time twice. What distinguishes their names is short, and one such pair
// in many shares a name by chance: one in a stream is excused, a second is none.
func (j *judge) apart(a, b *chunk) bool {
	for _, p := range a.runs {
		for _, q := range b.runs {
			if j.s.isCut(p.track) && q.track == p.track && p.first <= q.last && q.first <= p.last {
				return false
			}
		}
	}
	return true
}

// shared tells whether receiver i did not promote a chunk because another one had its name by chance.
func (j *judge) shared(i int, ch *chunk) bool {
	for _, o := range j.chunks[i] {
		if ch.entry.Reason != catalog.ReasonRepeated || o.wide == 0 || o.entry.Group != ch.entry.Group || !j.apart(o, ch) {
			continue
		}
		if name := strings.TrimRight(o.objects[0].name, "0123456789"); j.chance == "" || j.chance == name {
			j.chance = name
			return true
		}
	}
	return false
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

// knowsScrambled reports whether receiver i can know that packet k of a track is scrambled. PES_scrambling_control stands at the beginning of a
// PES packet alone, and a loss that nothing shows may have taken that.
func (j *judge) knowsScrambled(i int, ch *chunk, t *track, k int32) bool {
	if p := &j.s.packets[t.index[k]]; p.data.Scrambled() {
		return true
	}
	for k > 0 && !j.s.packets[t.index[k]].data.UnitStart() {
		k--
	}
	if j.all[i].got[t][k] {
		return true
	}
	from, to := j.around(i, ch)
	return !j.excused(i, ch.entry.Group, from, to)
}

// gaps checks that a promoted chunk holds a run of every PID without a gap.
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
				if j.s.packets[r.track.index[k]].scrambled && j.knowsScrambled(i, ch, r.track, k) {
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
			told, moved := false, false
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
						if j.straddled(append(j.seams(ch, 0), j.seams(ch, p.object)...), i, o.receiver) { // the first object is in the names of all
							if !moved {
								j.res.Invisible++
							}
							moved = true
							break
						}
						told = true
						from, to := j.around(i, ch)
						if j.unseen(i, ch) || j.unseen(o.receiver, ch) {
							j.res.Invisible++
							break
						}
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
