package sub

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

const (
	// accountPatience bounds the time in which receivers' tracks must tell what was published.
	accountPatience = 10 * time.Second
	// apartGaps is how many buckets may lie between gaps that are asked for together.
	apartGaps = 64
	// maxAsked bounds the requests to one relay about one receiver.
	maxAsked = 64
)

// published is what receivers say of the groups that are missing: which ones went out in the track, and which ones did not. A group
// that did not is no loss: nobody that could be asked for it ever had it.
type published struct {
	here     map[uint64]bool
	withheld map[uint64]bool
}

// account settles what is missing of a track, once it was read: receivers tell the ids of the groups, and which groups they did not
// publish in this track (docs/format/catalog.md, "manifest"). What no receiver tells of stays as the reader counted it.
func (p *pull) account(ctx context.Context, r *reader) {
	e := r.e
	if len(r.gaps)+len(r.torn) == 0 {
		return
	}
	by := published{map[uint64]bool{}, map[uint64]bool{}}
	if len(e.name.Namespace) > 0 && e.name.Namespace[0] == "ec" {
		ctx, cancel := context.WithTimeout(ctx, accountPatience)
		defer cancel()
		p.rs.ask(ctx, func(ctx context.Context, sess *client.Session) bool {
			e.tell(ctx, sess, r.asked(), by)
			return false // other relays may tell of other receivers
		})
	}
	if e.to.Object > 0 && e.to != noEnd {
		by.here[e.to.Group] = true // a relay said so at the start
	}
	slices.SortFunc(r.gaps, func(a, b gap) int { return cmp.Compare(a.from, b.from) }) // that at the beginning was noted last
	for _, g := range r.gaps {
		r.settle(g, by)
	}
	for _, t := range r.torn {
		if by.withheld[t.group] && !by.here[t.group] {
			e.log.Info("the rest of the group was not published", "group", t.group)
			p.out.count(func(s *Stats) { s.MissingObjects -= t.objects; s.Unpublished++ })
			continue
		}
		p.missed(fmt.Sprintf("objects of %d", t.group))
	}
}

// asked returns the ranges of ids that receivers are to tell of, in order.
func (r *reader) asked() (list []gap) {
	for _, t := range r.torn {
		list = append(list, gap{from: t.group, to: t.group + 1})
	}
	list = append(list, r.gaps...)
	slices.SortFunc(list, func(a, b gap) int { return cmp.Compare(a.from, b.from) })
	return list
}

// settle counts and names what of a gap is missing.
func (r *reader) settle(g gap, by published) {
	in := func(all map[uint64]bool) (list []uint64) {
		for id := range all {
			if g.from <= id && id < g.to {
				list = append(list, id)
			}
		}
		slices.Sort(list)
		return list
	}
	e, here := r.e, in(by.here)
	withheld := slices.DeleteFunc(in(by.withheld), func(id uint64) bool { return by.here[id] })
	if len(withheld) > 0 {
		e.log.Info("groups that receivers did not publish in the track", "groups", withheld)
	}
	if len(here) > 0 {
		e.log.Warn("groups missing, as their receivers tell", "groups", here)
		e.p.missed(between(here[0], here[len(here)-1]))
	}
	count := int64(len(here))
	if g.count > 0 {
		unknown := []gap{g}
		if len(here)+len(withheld) > 0 {
			unknown = r.untold(g, slices.Sorted(slices.Values(slices.Concat(here, withheld))))
		}
		for _, u := range unknown {
			count += u.count
			e.p.missed(e.nameOf(u.from, u.to))
		}
	}
	r.out.count(func(s *Stats) { s.MissingGroups += count - g.count; s.Unpublished += int64(len(withheld)) })
}

// untold returns the parts of a gap of which no receiver tells anything, and in which chunks as long as elsewhere leave a place.
func (r *reader) untold(g gap, told []uint64) (list []gap) {
	ids := r.e.ids
	last := ids.bucket(g.from - 1)
	if g.from == ids.first(ids.bucket(g.from)) {
		last = ids.bucket(g.from) - 1
	}
	for _, id := range append(told, g.to) {
		b := ids.bucket(id)
		if n := b - last - 1 - max(r.stride-1, 0); n > 0 {
			list = append(list, gap{from: ids.first(last + 1), to: ids.first(b), count: n})
		}
		last = max(last, b)
	}
	return list
}

// tell asks a relay what receivers published of ranges of ids.
func (e *epoch) tell(ctx context.Context, sess *client.Session, ranges []gap, by published) {
	within := func(id uint64) bool {
		i, _ := slices.BinarySearchFunc(ranges, id, func(g gap, id uint64) int {
			if g.to <= id {
				return -1
			}
			return 1
		})
		return i < len(ranges) && ranges[i].from <= id
	}
	for _, t := range e.tellers(ctx, sess) {
		asked := 0
		for i := 0; i < len(ranges) && asked < maxAsked && ctx.Err() == nil; asked++ {
			from, to := e.ids.bucket(ranges[i].from), e.ids.bucket(ranges[i].to-1)
			for i++; i < len(ranges) && e.ids.bucket(ranges[i].from)-to < apartGaps; i++ {
				to = max(to, e.ids.bucket(ranges[i].to-1))
			}
			err := fetchEach(ctx, sess, t, moqt.Location{Group: buckets.first(from)}, moqt.Location{Group: buckets.first(to)}, func(group uint64, payload []byte) {
				if e.ids == buckets {
					by.here[group] = true
					return
				}
				m, err := catalog.ParseManifestEntry(payload)
				switch {
				case err != nil || !within(m.Group):
				case m.Track.Equal(e.name):
					by.here[m.Group] = true
				case m.Scope == catalog.ScopeSource && e.kind() == media:
					by.withheld[m.Group] = true
				}
			})
			if err != nil {
				e.log.Debug("a receiver's track does not tell all", "teller", t.String(), "err", err)
			}
		}
	}
}

// tellers returns the tracks that tell which groups the epoch's track has.
func (e *epoch) tellers(ctx context.Context, sess *client.Session) (list []object.TrackName) {
	ns := e.name.Namespace
	switch {
	case e.kind() == loose:
		return nil
	case e.kind() == told && e.name.Name == catalog.TrackManifest:
		return []object.TrackName{{Namespace: ns, Name: catalog.TrackTimeline}}
	case e.kind() == told:
		return []object.TrackName{{Namespace: ns, Name: catalog.TrackManifest}}
	}
	q := &lookup{track: e.track, sess: sess}
	sources, _ := q.sources(ctx)
	for _, s := range sources {
		promoted := s.catalog.EC.BroadcastTrack // of another variant, whose chunks begin elsewhere
		if promoted == "" || catalog.For(object.TrackName{Name: promoted}).Name == catalog.For(e.name).Name {
			list = append(list, object.TrackName{Namespace: s.namespace, Name: catalog.TrackManifest})
		}
	}
	return list
}
