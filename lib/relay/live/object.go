package live

import (
	"slices"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// Object is an object that is stored, or on its way. In its group it never changes, and all subscribers are sent the same memory.
type Object struct {
	object.Object
	Place
	Size     int            // of the payload, also while it is not there
	Source   string         // who brought it first
	At       time.Time      // when it began to come
	Opens    bool           // its publisher said that it is the first of its subgroup (FIRST_OBJECT, draft 18)
	Datagram *moqt.Datagram // as it came, if it did as one: it leaves as one (draft-16 §10.2.1), unless it comes from the store

	arrival *arrival // nil if it was not seen before it was whole
	done    bool     // it arrived

	payloads []*Payload   // the memory in which anything of it is or was; held
	refs     atomic.Int32 // by its group, by feeds and by cursors
}

// Place is where an object is in its subgroup, as far as a publisher told: the object before it, or that there is none.
type Place struct {
	Prev    uint64
	HasPrev bool
	First   bool
}

// known reports whether any publisher told.
func (p Place) known() bool { return p.First || p.HasPrev }

// whole reports whether all of o is there, compared with its hash and stored. The track's mutex is held, or o never arrived in
// parts.
func (o *Object) whole() bool { return o.arrival == nil || o.done }

// use holds the memory of what o is made of, until o itself is released.
func (o *Object) use(p *Payload) {
	if p != nil && !slices.Contains(o.payloads, p) {
		p.Retain()
		o.payloads = append(o.payloads, p)
	}
}

// retain holds an object that is in its group; the track's mutex is held.
func (o *Object) retain() { o.refs.Add(1) }

func (o *Object) release() {
	if o.refs.Add(-1) == 0 {
		for _, p := range o.payloads {
			p.Release()
		}
		o.payloads = nil
	}
}
