package sub

import (
	"context"
	"time"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// drain writes what is due, in order, until enough was written.
func (p *pull) drain(ctx context.Context) error {
	var stuck, tried time.Time // since when something newer is here; when the hole was last fetched
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		v := p.asm.look()
		switch {
		case v.object != nil:
			stuck, tried = time.Time{}, time.Time{}
			if at := (moqt.Location{Group: v.object.Group, Object: v.object.ID}); !at.Less(p.to) {
				return nil
			}
			if done, err := p.write(v.object); done || err != nil {
				return err
			}
			continue
		case v.groupEnd:
			stuck, tried = time.Time{}, time.Time{}
			if err := p.endGroup(v.end); err != nil {
				return err
			}
			continue
		case v.started && (!v.next.Less(p.to) || p.atEnd(v)), v.ended && p.c.ExitAtEnd:
			return nil
		}
		wait := time.Duration(-1)
		switch {
		case v.newer == nil && v.back != nil && !v.over:
			now := time.Now()
			if stuck.IsZero() || v.alive && v.touched.After(stuck) {
				stuck = now
			}
			since, patience := now.Sub(stuck), p.backPatience(v)
			if since >= patience {
				if err := p.goBack(v); err != nil {
					return err
				}
				stuck, tried = time.Time{}, time.Time{}
				continue
			}
			wait = patience - since
			if unfinished := v.next.Object > 0 && !v.alive && tried.IsZero(); unfinished && since >= grace {
				tried = now
				p.heal(ctx, v.next, moqt.Location{Group: v.next.Group + 1})
				continue
			} else if unfinished {
				wait = grace - since
			}
		case v.newer != nil && !v.fetched && p.feeding.Load() == 0: // no relay is there that could bring what is missing
			stuck, tried = time.Time{}, time.Time{}
		case v.newer != nil:
			newer := moqt.Location{Group: v.newer.Group, Object: v.newer.ID}
			if !newer.Less(p.to) {
				newer = p.to
			}
			over := newer.Group > v.next.Group && !v.unknown && (v.fetched || v.fin)
			if p.adjacent(v, over) || v.fetched {
				if err := p.skip(v, newer, over); err != nil {
					return err
				}
				continue
			}
			now := time.Now()
			if stuck.IsZero() || v.touched.After(stuck) && v.alive {
				stuck = now
			}
			since := now.Sub(stuck)
			if !tried.IsZero() && p.steps(v) && !v.alive { // nobody had anything between
				if err := p.skip(v, newer, over); err != nil {
					return err
				}
				stuck, tried = time.Time{}, time.Time{}
				continue
			}
			if tried.IsZero() && !v.alive && since >= grace || since >= p.c.Reorder && tried.Before(stuck.Add(p.c.Reorder)) {
				tried = now
				p.heal(ctx, v.next, newer)
				continue
			}
			if since >= p.c.Reorder {
				if err := p.skip(v, newer, over); err != nil {
					return err
				}
				stuck, tried = time.Time{}, time.Time{}
				continue
			}
			if wait = p.c.Reorder - since; tried.IsZero() && !v.alive {
				wait = grace - since
			}
		case !v.limit.Less(p.to), v.over:
			return nil
		}
		if p.c.Idle > 0 && v.newer == nil && p.feeding.Load() > 0 {
			rest := p.c.Idle - p.asm.idle()
			if rest <= 0 {
				return nil
			}
			wait = rest
		}
		if wait < 0 {
			wait = time.Hour
			if p.to != noEnd && p.someExhausted() {
				wait = p.c.Reorder
			}
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.asm.wake:
		case <-timer.C:
		}
	}
}

// atEnd reports that no chunk is left before the end, although group ids skip: none fits between the buckets, or a relay that has
// the end brought all that it has before the end, and nothing came since.
func (p *pull) atEnd(v view) bool {
	if p.ids != tagged || p.to == noEnd || p.to.Object > 0 || v.next.Object > 0 || v.newer != nil || p.began.IsZero() {
		return false
	}
	return clock.BucketsBetween(p.group, p.to.Group) <= 0 || p.someExhausted() && p.asm.idle() >= p.c.Reorder
}

// backPatience is how long nothing but lower groups must come before the clock counts as set back: no time at all if nothing else
// can be due.
func (p *pull) backPatience(v view) time.Duration {
	if v.alive || v.next.Object > 0 && (!v.fin || v.unknown) || !v.known && !resets(v.back) {
		return p.c.Reorder
	}
	return 0
}

// resets reports that an object begins after a reset of the clock, as its publisher saw it.
func resets(o *object.Object) bool {
	prop, err := object.ParseProperties(o.Properties)
	return err == nil && o.ID == 0 && prop.Flags&object.Discontinuity != 0
}

// goBack goes on with lower groups.
func (p *pull) goBack(v view) error {
	if v.next.Object > 0 {
		if err := p.leaveGroup(v.next, v.fin && !v.unknown); err != nil {
			return err
		}
	}
	p.log.Warn("the broadcast's clock was set back", "track", p.name.String(), "from", p.group, "to", v.back.Group)
	p.hasNext = false
	p.asm.goBack(v.back.Group)
	return nil
}

// steps reports that the newer object's group begins after the clock was set ahead, with nothing left to come of the one before.
func (p *pull) steps(v view) bool {
	return p.ids == tagged && resets(v.newer) && v.next.Object == 0
}

// heal fetches what is missing, from the relays in turn until one brings something.
func (p *pull) heal(ctx context.Context, from, to moqt.Location) {
	within := from.Group == to.Group || to == moqt.Location{Group: from.Group + 1}
	if !within && !p.mayFetch() {
		return
	}
	p.rs.ask(ctx, func(ctx context.Context, sess *client.Session) bool {
		if err := p.fetch(ctx, sess, from, to, healing); err != nil {
			p.log.Debug("relay did not heal a hole", "track", p.name.String(), "from", from.String(), "to", to.String(), "error", err)
		}
		return p.asm.has(from)
	})
}

// adjacent reports that the newer object's group follows what was written without a gap in the media, so that
// nothing is missing although group ids may skip.
func (p *pull) adjacent(v view, over bool) bool {
	if v.newer.ID != 0 || !(v.next.Object == 0 || over) {
		return false
	}
	if n := clock.BucketsBetween(p.group, v.newer.Group); p.ids == tagged && !p.began.IsZero() && (n == 0 || n == -1) {
		return true // no chunk lies between two buckets in succession
	}
	if !p.hasNext {
		return false
	}
	prop, err := object.ParseProperties(v.newer.Properties)
	if err != nil || !prop.HasPTS {
		return false
	}
	diff := clock.PTS(prop.PTS).Sub(p.expected)
	return diff > -tolerance && diff < tolerance
}

// skip gives up what lies before newer, and says so if anything is missing.
func (p *pull) skip(v view, newer moqt.Location, over bool) error {
	track := p.name.String()
	at := v.next
	if at.Object > 0 && newer.Group > at.Group { // the group in progress
		if err := p.leaveGroup(at, over); err != nil {
			return err
		}
		at = moqt.Location{Group: at.Group + 1}
	}
	if newer.Group > at.Group && !p.began.IsZero() && p.steps(v) {
		p.log.Warn("the broadcast's clock was set ahead", "track", track, "from", p.group, "to", newer.Group)
		at = moqt.Location{Group: newer.Group}
	} else if newer.Group > at.Group && !p.began.IsZero() && !p.adjacent(v, true) && newer != p.to {
		n := int64(newer.Group - at.Group)
		if p.ids == tagged {
			n = max(clock.BucketsBetween(p.group, newer.Group), 1)
		}
		p.log.Warn("groups missing", "track", track, "from", at.Group, "to", newer.Group-1, "count", n)
		p.out.count(func(s *Stats) { s.MissingGroups += n })
		p.asm.giveUp(at.Group, newer.Group)
		at = moqt.Location{Group: newer.Group}
	} else if newer.Group > at.Group {
		at = moqt.Location{Group: newer.Group}
	}
	if newer.Object > at.Object && newer != p.to {
		p.log.Warn("objects missing", "track", track, "group", newer.Group, "from", at.Object, "to", newer.Object-1)
		p.out.count(func(s *Stats) { s.MissingObjects += int64(newer.Object - at.Object) })
		p.brokeOff = true
	}
	p.asm.skipTo(newer)
	return nil
}

// leaveGroup ends the group in progress; over: nothing of it is missing.
func (p *pull) leaveGroup(at moqt.Location, over bool) error {
	if over {
		return p.endGroup(at)
	}
	p.log.Warn("end of a group missing", "track", p.name.String(), "group", at.Group, "from_object", at.Object)
	p.out.count(func(s *Stats) { s.MissingObjects++ })
	p.brokeOff = false
	return nil
}

// write writes an object and reports whether it was the last one wanted.
func (p *pull) write(o *object.Object) (done bool, err error) {
	if p.began.IsZero() {
		p.began = time.Now()
	}
	prop, err := object.ParseProperties(o.Properties)
	if err != nil {
		p.log.Warn("object with malformed properties", "track", p.name.String(), "group", o.Group, "object", o.ID, "error", err)
	}
	if p.c.Duration > 0 && p.enough(prop) {
		return true, nil
	}
	ok, err := p.out.object(p.name, o)
	if err != nil {
		return false, err
	}
	p.brokeOff, p.group = p.brokeOff || !ok, o.Group
	p.hasNext = prop.HasPTS && prop.HasDuration
	p.expected = clock.PTS(prop.PTS).Add(clock.Ticks(prop.Duration))
	return false, nil
}

// enough keeps account of the media written before an object.
func (p *pull) enough(prop object.Properties) bool {
	if !prop.HasPTS {
		return p.media == 0 && time.Since(p.began) >= p.c.Duration
	}
	at := clock.PTS(prop.PTS)
	if p.hasPTS {
		p.media += max(at.Sub(p.pts), 0)
	}
	p.pts, p.hasPTS = at, true
	return p.media.Duration() >= p.c.Duration
}

// endGroup writes the end of a group if all of it was written.
func (p *pull) endGroup(end moqt.Location) error {
	whole := !p.brokeOff && end.Object > 0
	p.brokeOff = false
	if !whole {
		return nil
	}
	_, err := p.out.object(p.name, &object.Object{Group: end.Group, ID: end.Object, Status: object.EndOfGroup})
	return err
}
