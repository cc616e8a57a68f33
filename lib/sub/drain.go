package sub

import (
	"context"
	"time"

	"every.channel/ec/lib/client"
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
		case v.started && !v.next.Less(p.to), v.ended && p.c.ExitAtEnd:
			return nil
		}
		wait := time.Duration(-1)
		switch {
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

// heal fetches what is missing, from the relays in turn until one brings something.
func (p *pull) heal(ctx context.Context, from, to moqt.Location) {
	p.rs.ask(ctx, func(ctx context.Context, sess *client.Session) bool {
		if err := p.fetch(ctx, sess, from, to, true); err != nil {
			p.log.Debug("relay did not heal a hole", "track", p.name.String(), "from", from.String(), "to", to.String(), "error", err)
		}
		return p.asm.has(from)
	})
}

// adjacent reports that the newer object's group follows what was written without a gap in the media, so that
// nothing is missing although group ids may skip.
func (p *pull) adjacent(v view, over bool) bool {
	if v.newer.ID != 0 || !p.hasNext || !(v.next.Object == 0 || over) {
		return false
	}
	prop, err := object.ParseProperties(v.newer.Properties)
	if err != nil || !prop.HasPTS {
		return false
	}
	diff := int64(prop.PTS-p.expected) << 31 >> 31 // modulo 2^33
	return diff > -tolerance && diff < tolerance
}

// skip gives up what lies before newer, and says so if anything is missing.
func (p *pull) skip(v view, newer moqt.Location, over bool) error {
	track := p.name.String()
	at := v.next
	if at.Object > 0 && newer.Group > at.Group { // the group in progress
		if over {
			if err := p.endGroup(at); err != nil {
				return err
			}
		} else {
			p.log.Warn("end of a group missing", "track", track, "group", at.Group, "from_object", at.Object)
			p.out.count(func(s *Stats) { s.MissingObjects++ })
			p.brokeOff = false
		}
		at = moqt.Location{Group: at.Group + 1}
	}
	if newer.Group > at.Group && p.began.IsZero() == false && !p.adjacent(v, true) && newer != p.to {
		n := newer.Group - at.Group
		p.log.Warn("groups missing", "track", track, "from", at.Group, "to", newer.Group-1)
		p.out.count(func(s *Stats) { s.MissingGroups += int64(n) })
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
	p.brokeOff = p.brokeOff || !ok
	p.hasNext = prop.HasPTS && prop.HasDuration
	p.expected = (prop.PTS + prop.Duration) & ptsMask
	return false, nil
}

// enough keeps account of the media written before an object.
func (p *pull) enough(prop object.Properties) bool {
	if !prop.HasPTS {
		return p.media == 0 && time.Since(p.began) >= p.c.Duration
	}
	if p.hasPTS {
		if step := (prop.PTS - p.pts) & ptsMask; step < 1<<32 {
			p.media += step
		}
	}
	p.pts, p.hasPTS = prop.PTS, true
	return time.Duration(float64(p.media)/90000*float64(time.Second)) >= p.c.Duration
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
