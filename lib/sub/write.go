package sub

import (
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// write writes an object and reports whether enough was written before it.
func (r *reader) write(o *object.Object) (enough bool, err error) {
	prop, err := object.ParseProperties(o.Properties)
	if err != nil {
		r.e.log.Warn("object with malformed properties", "group", o.Group, "object", o.ID, "err", err)
	}
	if before := r.meter.add(prop, time.Now()); r.c.Duration > 0 && before >= r.c.Duration {
		return true, nil
	}
	if !r.wrote && r.c.First != nil {
		r.c.First(r.e.name, o.Group)
	}
	ok, err := r.out.object(r.e.name, o)
	if err != nil {
		return false, err
	}
	if !r.wrote {
		r.first = o.Group
	}
	r.wrote, r.open, r.group = true, true, o.Group
	r.brokeOff = r.brokeOff || !ok
	r.hasNext = prop.HasPTS && prop.HasDuration
	r.expected = clock.PTS(prop.PTS).Add(clock.Ticks(prop.Duration))
	return false, nil
}

// endGroup writes the end of a group if all of it was written.
func (r *reader) endGroup(end moqt.Location) error {
	whole := !r.brokeOff && end.Object > 0
	r.brokeOff, r.open = false, false
	if !whole {
		return nil
	}
	_, err := r.out.object(r.e.name, &object.Object{Group: end.Group, ID: end.Object, Status: object.EndOfGroup})
	return err
}

// leaveGroup ends the group in progress; over: no object of it is missing.
func (r *reader) leaveGroup(at moqt.Location, over bool) error {
	if over {
		return r.endGroup(at)
	}
	r.e.log.Warn("end of a group missing", "group", at.Group, "from_object", at.Object)
	r.lostObjects(at.Group, 1)
	r.brokeOff, r.open = false, false
	return nil
}

// skip gives up everything before newer, which is the location of the newer object or the end of what is read. It reports missing
// objects, if there are any.
func (r *reader) skip(v view, newer moqt.Location, over bool) error {
	r.unstick()
	at := v.next
	if at.Object > 0 && newer.Group > at.Group { // objects of the group in progress are missing
		if err := r.leaveGroup(at, over); err != nil {
			return err
		}
		at = moqt.Location{Group: at.Group + 1}
	}
	if newer.Group > at.Group {
		r.skipGroups(v, at.Group, newer)
		at = moqt.Location{Group: newer.Group}
	}
	if newer.Object > at.Object && newer != r.e.to {
		r.e.log.Warn("objects missing", "group", newer.Group, "from", at.Object, "to", newer.Object-1)
		r.lostObjects(newer.Group, int64(newer.Object-at.Object))
		r.brokeOff = true
	}
	r.e.asm.skipTo(newer)
	return nil
}

// skipGroups notes which groups are missing from one id up to before another, if any are. What is missing before the first object
// that is written, or behind the last one, shows at the end.
func (r *reader) skipGroups(v view, from uint64, newer moqt.Location) {
	switch {
	case !r.wrote, newer == r.e.to:
	case r.steps(v):
		r.e.log.Warn("the broadcast's clock was set ahead", "from", r.group, "to", newer.Group)
	case r.adjacent(v, true):
		r.stride = max(r.stride, r.e.ids.bucket(newer.Group)-r.e.ids.bucket(r.group))
	default:
		n := int64(newer.Group - from)
		if r.e.ids == tagged {
			n = max(clock.BucketsBetween(r.group, newer.Group), 1)
		}
		r.lostGroups(gap{from: from, to: newer.Group, count: n})
		r.e.asm.giveUp(from, newer.Group)
	}
}

// meter measures the media that was written, across all tracks to which a broadcast moves: by presentation time where objects
// have one, otherwise by the time that passes.
type meter struct {
	began  time.Time // when the first object came
	media  clock.Ticks
	pts    clock.PTS // of the last object that had one
	hasPTS bool
}

// add takes note of an object and returns how much media lies before it.
func (m *meter) add(prop object.Properties, now time.Time) time.Duration {
	if m.began.IsZero() {
		m.began = now
	}
	if !prop.HasPTS && m.media == 0 {
		return now.Sub(m.began)
	}
	if prop.HasPTS {
		at := clock.PTS(prop.PTS)
		if m.hasPTS {
			m.media += max(at.Sub(m.pts), 0)
		}
		m.pts, m.hasPTS = at, true
	}
	return m.media.Duration()
}

// cut notes that presentation time begins anew, because the broadcast goes on in another track.
func (m *meter) cut() { m.hasPTS = false }
