package sub

import (
	"context"
	"slices"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// A clock that was set back passes over the same time again, and by their ids the chunks of both passes interleave. The timeline of
// a source tells in which order they were on (docs/format/catalog.md). So the past is read pass by pass: each is a range of groups
// without those that are known to belong to another.

// pass is a time in which the group ids of a track went up.
type pass struct {
	from, to moqt.Location // to is exclusive
	last     uint64        // the last group that the timeline tells of
}

// passes are those that are still to be read, in the order in which they were on.
type passes struct {
	rest []pass
	of   map[uint64]int // the pass of each group that the timeline tells of
	now  int
}

// maxTellers bounds the sources whose timelines are read.
const maxTellers = 4

// history finds the passes of the past that is to be read, from a group on; none if ids tell the order.
func (p *pull) history(ctx context.Context, sess *client.Session, from uint64, largest moqt.Location) error {
	sources, err := p.sources(ctx, sess)
	if err != nil {
		return err
	}
	var told []*catalog.TimelineEntry // what the source says that tells most: two clocks are not comparable to a chunk's length
	for _, ns := range sources[:min(len(sources), maxTellers)] {
		payloads, err := fetchAll(ctx, sess, object.TrackName{Namespace: ns, Name: catalog.TrackTimeline},
			moqt.Location{Group: buckets.first(p.ids.bucket(from))}, moqt.Location{Group: buckets.first(p.ids.bucket(largest.Group))})
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if list := p.onAir(payloads); len(list) > len(told) {
			told = list
		}
	}
	of := map[uint64]int{}       // −1: before Config.From
	if p.c.From.kind == atTime { // the last chunk that began before is on then
		n := slices.IndexFunc(told, func(e *catalog.TimelineEntry) bool { return e.UTC.After(p.c.From.time) })
		if n < 0 {
			n = len(told)
		}
		n = max(n-1, 0)
		for _, e := range told[:n] {
			of[e.Group] = -1
		}
		told = told[n:]
	}
	var list []pass
	for i, e := range told {
		if i == 0 || clock.GroupBucket(e.Group) <= clock.GroupBucket(told[i-1].Group) {
			list = append(list, pass{from: moqt.Location{Group: e.Group}})
		}
		last := &list[len(list)-1]
		last.last, last.to = e.Group, p.behind(e, largest)
		of[e.Group] = len(list) - 1
	}
	if len(list) < 2 {
		return nil
	}
	if p.c.From.kind == first && of[from] == 0 {
		list[0].from.Group = from // also what nobody tells of
	}
	if to := p.c.To; to.kind != atTime || !told[len(told)-1].UTC.After(to.time) {
		list[len(list)-1].to = p.to
	} else { // what was on after that is none of it
		n := slices.IndexFunc(told, func(e *catalog.TimelineEntry) bool { return e.UTC.After(to.time) })
		if n == 0 {
			return nil
		}
		last := told[n-1]
		list = list[:of[last.Group]+1]
		list[len(list)-1].to = p.behind(last, largest)
	}
	p.log.Info("the broadcast's clock was set back in the past", "track", p.name.String(), "times", len(list)-1)
	p.passes = passes{rest: list, of: of}
	p.begin(largest)
	return nil
}

// behind is where the bucket of an entry's chunk ends, or all that there is.
func (p *pull) behind(e *catalog.TimelineEntry, largest moqt.Location) moqt.Location {
	end, all := moqt.Location{Group: p.ids.first(clock.GroupBucket(e.Group) + 1)}, moqt.Location{Group: largest.Group, Object: largest.Object + 1}
	if all.Less(end) {
		return all
	}
	return end
}

// onAir are the entries that speak of the track's chunks, in the order in which those were on.
func (p *pull) onAir(payloads [][]byte) (list []*catalog.TimelineEntry) {
	seen := map[uint64]bool{}
	for _, b := range payloads {
		e, err := catalog.ParseTimelineEntry(b)
		// A chunk that the source did not promote is the same chunk, by the same group id.
		if err != nil || e.UTC.IsZero() || seen[e.Group] || !e.Track.Equal(p.name) && !e.Track.Namespace.HasPrefix(sourcePrefix) {
			continue
		}
		seen[e.Group] = true
		list = append(list, e)
	}
	slices.SortStableFunc(list, func(a, b *catalog.TimelineEntry) int { return a.UTC.Compare(b.UTC.Time) })
	return list
}

// begin makes the next pass what is read. The feeders are away, or have not begun.
func (p *pull) begin(largest moqt.Location) {
	next, now := p.passes.rest[0], p.passes.now
	p.passes.rest = p.passes.rest[1:]
	p.passes.now++
	of := p.passes.of
	p.asm = newAssembler(p.c.Buffer)
	p.asm.allow(true)
	p.asm.leaveOut(func(id uint64) bool { n, told := of[id]; return told && n != now })
	p.asm.start(next.from)
	p.to = next.to
	if next.to == noEnd && next.last < largest.Group { // and the clock is still behind where it was
		p.asm.turn.top = largest.Group
	}
	p.largest = largest
	p.hasNext, p.began = false, time.Time{}
	clear(p.exhausted)
}
