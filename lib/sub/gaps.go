package sub

import (
	"fmt"
	"strings"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/exit"
)

const (
	// maxRemembered bounds how many gaps of a track are remembered.
	maxRemembered = 4096
	// maxNamed bounds how many are named in the error at the end; the log names all.
	maxNamed = 16
)

// gap is a range of group ids, from one up to before another, of which nothing came.
type gap struct {
	from, to uint64
	count    int64 // groups that are missing there, as far as the reader can tell; for chunks, buckets
}

// torn is a group that was written without some of its objects.
type torn struct {
	group   uint64
	objects int64
}

// kind says how one can tell that a group of a track is missing.
type kind uint8

const (
	media kind = iota // what is not there is missing, unless timestamps go on or receivers say that they did not publish it here
	told              // group ids skip, and another track tells which groups there are
	loose             // group ids skip, and nothing tells which groups there are
)

// kind returns the kind of a track (docs/format/names.md).
func (t track) kind() kind {
	source := t.name.Namespace.HasPrefix(sourcePrefix)
	switch n := t.name.Name; {
	case t.ids == plain, !source && catalog.IsTS(n):
		return media
	case source && (catalog.IsTS(n) || n == catalog.TrackManifest || n == catalog.TrackTimeline):
		return told
	}
	return loose
}

// ErrGaps says that some of what was asked for did not come.
var ErrGaps error = gaps{}

type gaps struct{}

func (gaps) Error() string { return "part of what was asked for is missing" }
func (gaps) ExitCode() int { return exit.BadData }
func (gaps) Hint() string {
	return "--allow-gaps takes what there is; another relay, named after the first, may have the rest"
}

// lostGroups takes note of a gap. It is counted until receivers have been asked what they published (account).
func (r *reader) lostGroups(g gap) {
	switch r.e.kind() {
	case loose:
		return
	case told:
		g.count = 0
	}
	if g.count > 0 {
		r.e.log.Warn("groups missing", "from", g.from, "to", g.to-1, "count", g.count)
		r.out.count(func(s *Stats) { s.MissingGroups += g.count })
	}
	if len(r.gaps) < maxRemembered {
		r.gaps = append(r.gaps, g)
	} else if g.count > 0 {
		r.e.p.missed(r.e.nameOf(g.from, g.to))
	}
}

// lostObjects takes note of objects of a group that are missing.
func (r *reader) lostObjects(group uint64, n int64) {
	r.out.count(func(s *Stats) { s.MissingObjects += n })
	if len(r.torn) < maxRemembered {
		r.torn = append(r.torn, torn{group, n})
	} else {
		r.e.p.missed(fmt.Sprintf("objects of %d", group))
	}
}

// edges takes note of what is missing between the place to begin at and the first object, and between the last object and the place
// to end with.
func (r *reader) edges() {
	e := r.e
	if !r.wrote {
		return // that is an error of its own
	}
	if at := e.asked; at != nil && e.ids.bucket(r.first) > e.ids.bucket(at.Group) {
		whole := e.ids.bucket(at.Group)
		if e.ids.first(whole) < at.Group {
			whole++ // a bucket of which only a part was asked for may have nothing there
		}
		r.lostGroups(r.edge(at.Group, r.first, e.ids.bucket(r.first)-whole))
	}
	if r.enough || e.to == noEnd || e.nearest {
		return
	}
	end, whole := e.to.Group, e.ids.bucket(e.to.Group)
	if e.to.Object > 0 {
		end, whole = end+1, whole+1
	}
	if r.open && e.asm.lacks(r.group) { // otherwise what follows is not there yet, or is the mark of the end
		e.log.Warn("end of a group missing", "group", r.group)
		r.lostObjects(r.group, 1)
	}
	if r.group+1 < end && e.ids.bucket(end-1) > e.ids.bucket(r.group) {
		r.lostGroups(r.edge(r.group+1, end, whole-e.ids.bucket(r.group)-1))
	}
}

// edge is a gap at the edge of what was asked for. Chunks may be as long there as elsewhere, and leave out buckets.
func (r *reader) edge(from, to uint64, units int64) gap {
	return gap{from: from, to: to, count: max(units-max(r.stride-1, 0), 0)}
}

// lacks reports whether a relay said that it may lack some of a group.
func (a *assembler) lacks(group uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.groups[group]
	return g != nil && g.unknown
}

// nameOf writes ids from one up to before another for people: by bucket where nothing tells the ids of chunks.
func (e *epoch) nameOf(from, to uint64) string {
	if e.ids != tagged {
		return between(from, to-1)
	}
	first, last := clock.GroupBucket(from), clock.GroupBucket(to-1)
	if from > e.ids.first(first) {
		first++
	}
	if to < e.ids.first(last+1) {
		last--
	}
	if first > last {
		return "of bucket " + between(uint64(last), uint64(first))
	}
	return "bucket " + between(uint64(first), uint64(last))
}

// between writes a range of ids.
func between(first, last uint64) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d…%d", first, last)
}

// missed notes something that is missing, for the error at the end.
func (p *pull) missed(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unnamed++; len(p.missing) < maxNamed {
		p.missing = append(p.missing, name)
		p.unnamed--
	}
}

// gapsError is the error about what is missing; nil: nothing is.
func gapsError(s Stats, pulls []*pull) error {
	var list []string
	unnamed, nothing := 0, false
	for _, p := range pulls {
		p.mu.Lock()
		if p.nothing {
			nothing = true
			list = append(list, "nothing of "+p.written)
		}
		if n := len(p.missing); n > 0 {
			list = append(list, p.written+" "+strings.Join(p.missing, ", "))
		}
		unnamed += p.unnamed
		p.mu.Unlock()
	}
	if s.MissingGroups+s.MissingObjects == 0 && !nothing {
		return nil
	}
	if unnamed > 0 {
		list = append(list, fmt.Sprintf("and %d more, which the log names", unnamed))
	}
	return fmt.Errorf("%w, %d groups and %d objects: %s", ErrGaps, s.MissingGroups, s.MissingObjects, strings.Join(list, "; "))
}
