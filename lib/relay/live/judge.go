package live

import (
	"slices"
	"time"
)

// next returns the next object that may be sent without leaving out one that may still come. In each
// subgroup an object follows the one with the id before it. Where its publisher left ids out, it follows the
// one that its publisher sent before it; but another publisher may have what this one left out, so that is
// believed only after a while. If nothing may be sent now, retry tells when to ask again. The track's mutex is held.
func (c *Cursor) next(g *group, now time.Time) (o *Object, retry time.Duration) {
	from := c.start
	if !g.several && len(c.subgroups) == 1 {
		for _, w := range c.subgroups {
			from = uint64(w.id + 1)
		}
	}
	i, _ := g.search(from)
	retry = time.Hour
	var stuck []uint64
	for _, o := range g.objs[i:] {
		if o.Datagram != nil {
			if !c.datagrams[o.ID] {
				return o, 0
			}
			continue
		}
		w := c.subgroup(o.Subgroup)
		id := int64(o.ID)
		if id <= w.id || w.over || slices.Contains(stuck, o.Subgroup) {
			continue
		}
		if id == w.id+1 {
			return o, 0
		}
		if patience := c.patience(g, w, o); patience >= 0 {
			left := patience - now.Sub(o.At)
			if left <= 0 {
				return o, 0
			}
			retry = min(retry, left)
		}
		stuck = append(stuck, o.Subgroup)
	}
	return nil, retry
}

// patience is how long nothing may have come before an object until it is sent although ids before it are missing; negative: it is
// not sent before them. The track's mutex is held.
func (c *Cursor) patience(g *group, w *sentOf, o *Object) time.Duration {
	stall := c.t.m.stallWait()
	switch {
	case c.t.over: // what is missing will not come
		return 0
	case o.HasPrev && int64(o.Prev) <= w.id, !w.some && o.First:
		if !g.several && len(c.t.sources) > 1 {
			return stall / 2
		}
		return 0
	case !w.some && !o.HasPrev: // nobody knows what came before it
		return stall
	}
	return -1
}

// judge says, when nothing may be sent, what to do: wait, or end the group; and of which subgroups all was sent. The track's mutex
// is held.
func (c *Cursor) judge(g *group, now time.Time) (what Verdict, wait time.Duration, done []uint64) {
	t, stall := c.t, c.t.m.stallWait()
	i, _ := g.search(c.start)
	sent, last := true, uint64(0)
	for _, o := range g.objs[i:] {
		last = o.ID
		if o.Datagram != nil {
			sent = sent && c.datagrams[o.ID]
		} else if w := c.subgroup(o.Subgroup); !w.over && int64(o.ID) > w.id {
			sent = false
		}
	}
	finished := len(g.subs) > 0
	for sub, w := range c.subgroups {
		s := g.subs[sub]
		finished = finished && (s.finished || w.over)
		if s.finished && w.some && !w.over && w.id >= int64(s.last) {
			w.over = true
			done = append(done, sub)
		}
	}
	n := uint64(len(g.objs) - i)
	newer := t.overtaken(g)
	switch {
	case sent && g.hasEnd && (c.start > g.end || n == g.end-c.start+1):
		return Whole, 0, done // every object up to the end
	case sent && g.hasEnd && g.open == 0 && finished && last == g.end:
		if left := stall - now.Sub(g.touched); left > 0 && g.objs[len(g.objs)-1].Datagram != nil {
			return Wait, left, done // the end may have overtaken a stream
		}
		return Whole, 0, done // ids were left out by their publisher
	case t.over && sent && g.open == 0 && (finished || g.hasEnd || !t.ends):
		return Whole, 0, done
	case t.over && sent:
		return Incomplete, 0, done
	case newer.IsZero() && !t.over:
		return Wait, time.Hour, done
	}
	// A track whose groups do not carry their end may still bring another subgroup.
	c.Lingering = sent && finished && g.open == 0 && !t.ends
	if left := stall - now.Sub(laterTime(g.touched, newer)); left > 0 {
		return Wait, left, done
	}
	if sent && g.open == 0 && !t.ends {
		return Whole, 0, done
	}
	return Incomplete, 0, done
}

func laterTime(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
