package sub

import (
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// view is what a look into the assembler finds.
type view struct {
	object   *object.Object // the one that is due
	groupEnd bool           // the due group is over, and next has moved to the following id; end tells where it ended
	end      moqt.Location
	newer    *object.Object // without object and groupEnd: the first object behind the due location, if there is one
	back     *object.Object // without object and groupEnd: the first object of the group to which the clock may have been set back
	known    bool           // the id of that group is above the first one written
	fetched  bool           // everything from the due location to newer certainly does not exist
	limit    moqt.Location  // objects below this location that are not here do not exist
	over     bool           // nothing more will come
	alive    bool           // a stream of the due group is open
	fin      bool           // the streams of the due group ended with FIN, and none said that the group is over
	unknown  bool           // the due group may lack objects
	touched  time.Time      // when the due group last made progress
	ended    bool           // the track ends here
	started  bool
	next     moqt.Location
}

// look takes the due object or the end of the due group, or tells what is there in its place.
func (a *assembler) look() view {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := view{started: a.started, next: a.next, ended: a.ended != nil && !a.next.Less(*a.ended)}
	if !a.started {
		return v
	}
	g := a.groups[a.next.Group]
	if g != nil {
		if o, ok := g.objects[a.next.Object]; ok {
			a.wrote(a.next.Group, g)
			delete(g.objects, a.next.Object)
			a.bytes -= int64(len(o.Payload) + len(o.Properties))
			a.next.Object++
			a.changed()
			v.object = &o
			return v
		}
		if g.hasEnd && a.next.Object >= g.end {
			v.groupEnd, v.end = true, a.next
			a.skip(moqt.Location{Group: a.next.Group + 1})
			return v
		}
		v.alive, v.touched, v.fin, v.unknown = g.streams > 0, g.touched, g.fin, g.unknown
	}
	if least, ok := a.least(); ok {
		o := a.groups[least.Group].objects[least.Object]
		v.newer = &o
	} else {
		v.back, v.known = a.backTo()
	}
	v.limit, v.over = a.fetched, a.over
	v.fetched = a.over || v.newer != nil && !a.fetched.Less(moqt.Location{Group: v.newer.Group, Object: v.newer.ID})
	return v
}

// least returns the location of the first object that is not below the due group.
func (a *assembler) least() (at moqt.Location, ok bool) {
	for id, g := range a.groups {
		if id < a.next.Group {
			continue
		}
		for n := range g.objects {
			if l := (moqt.Location{Group: id, Object: n}); !ok || l.Less(at) {
				at, ok = l, true
			}
		}
	}
	return at, ok
}

// skipTo gives up everything due below a location.
func (a *assembler) skipTo(at moqt.Location) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.skip(at)
}

func (a *assembler) skip(at moqt.Location) {
	if at.Less(a.next) {
		return
	}
	for id, g := range a.groups {
		for n, o := range g.objects {
			if (moqt.Location{Group: id, Object: n}).Less(at) {
				delete(g.objects, n)
				a.bytes -= int64(len(o.Payload) + len(o.Properties))
			}
		}
		if id < at.Group {
			delete(a.groups, id)
		}
	}
	a.next = at
	a.clock.passed(at.Group)
	a.changed()
}
