package live

import (
	"slices"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// Object is an object that is stored, or that is on its way. What was sent of it never changes, and all subscribers are sent the same
// memory.
type Object struct {
	object.Object
	Place
	Size     int            // of the payload, also before the payload is there
	Source   string         // name of the publisher that brought it first
	At       time.Time      // when it began to come
	Opens    bool           // its publisher said that it is the first of its subgroup (FIRST_OBJECT, draft 18)
	Datagram *moqt.Datagram // set if it came as a datagram: then it leaves as one (draft-16 §10.2.1), unless it is read from the store

	by []voter // homes that brought it, see Source.voter; the track's mutex guards it

	arrival *arrival // nil if nothing of it was forwarded before all of it was there
	done    bool     // the arrival is over, and the object is whole

	payloads []*Payload   // all memory in which bytes of it are or were; the object holds them
	refs     atomic.Int32 // holds on the object: of its group, of feeds and of cursors
}

// Place says where an object stands in its subgroup, as far as a publisher told: behind which object, or that it is the first.
type Place struct {
	Prev    uint64
	HasPrev bool
	First   bool
}

// known reports whether any publisher told the place.
func (p Place) known() bool { return p.First || p.HasPrev }

// whole reports whether all of o is there, was compared with its hash, and is stored. The track's mutex is held, or o has no arrival.
func (o *Object) whole() bool { return o.arrival == nil || o.done }

// use has o hold memory in which bytes of it lie, until o itself is released. The track's mutex is held, and so is o.
func (o *Object) use(p *Payload) {
	if p != nil && !slices.Contains(o.payloads, p) {
		p.Retain()
		o.payloads = append(o.payloads, p)
	}
}

// retain holds an object once more. The track's mutex is held, and the object is held by its group or a feed.
func (o *Object) retain() { o.refs.Add(1) }

// release gives up one hold. With the last one, o gives up its memory.
func (o *Object) release() {
	if o.refs.Add(-1) == 0 {
		for _, p := range o.payloads {
			p.Release()
		}
		o.payloads = nil
	}
}
