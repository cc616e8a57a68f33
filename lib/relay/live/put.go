package live

import (
	"errors"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// Feed is one publisher's copy of an object on its way in. It begins with Begin and ends with Put or Fail. One goroutine at a time
// may use it.
type Feed struct {
	src     *Source
	o       *Object // as the publisher declared it
	hash    object.Hash
	hasHash bool
	err     error // why the properties cannot be read; the object will be refused
	apart   error // why its group does not fit

	into  *Object // the object of the group that is made of this feed and perhaps others; it is held
	alone bool    // nothing is forwarded of this feed
}

// Alone reports that nothing of the feed is forwarded before all of it is there.
func (f *Feed) Alone() bool { return f.alone }

// Result is what became of an object.
type Result struct {
	Outcome Outcome
	// Err says why the object was Refused or Lost. With another outcome it says why the object is not on disk although it is served.
	Err error
	// First names the publisher of the object that is there instead; only Conflict has it.
	First string
}

// Outcome is what became of an object.
type Outcome uint8

// Outcomes.
const (
	Stored      Outcome = iota // the object is new
	Duplicate                  // another publisher has brought the same
	Conflict                   // another publisher has brought something else, or the group ends before it
	Refused                    // the object contradicts its own hash
	Quarantined                // it is not looked at, because of what its home brought before
	Apart                      // its group does not fit the broadcast's clock, or what other homes bring
	Withheld                   // its group or its payload is neither taken nor served
	Lost                       // the object is of the past and could not be stored, so nobody is served it

	anew // not an outcome: the track begins anew with the object, if it may
)

// Begin begins a feed of an object that src brings. Everything of the object is set but its payload. Nothing is seen of the object
// before Append or Put.
func (t *Track) Begin(src *Source, o *Object) (f Feed) {
	f = Feed{src: src, o: o}
	o.Source = src.Name
	if o.At.IsZero() {
		o.At = time.Now()
	}
	p, err := object.ParseProperties(o.Properties)
	f.hash, f.hasHash, f.err = p.Hash, err == nil && p.HasHash, err
	f.alone = err != nil || t.files.Withheld(o.Group) || f.hasHash && !t.files.Takes(o.Group, f.hash)
	t.mu.Lock()
	if t.leads.naming != nil && t.leads.set(time.Now()) {
		t.jury.forgetClock()
	}
	if t.barred(src) {
		f.alone = true
	} else if f.apart = t.fits(src, o.Group); f.apart != nil {
		f.alone = true
	}
	t.mu.Unlock()
	return f
}

// Append forwards what has come of an object. b is the beginning of its payload and lies in mem, which the caller holds; these bytes
// must not change any more.
func (t *Track) Append(f *Feed, b []byte, mem *Payload) {
	if f.into == nil && !f.alone {
		f.alone = !t.join(f)
	}
	if f.alone {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	in := f.into
	if a := in.arrival; !in.whole() && !a.failed && len(b) > a.have {
		in.use(mem)
		a.add(b)
		if g := t.groups[in.Group]; g != nil {
			g.touched = a.touched
		}
		t.progressed(f.src)
		a.change()
	}
}

// join finds the object of the group that f feeds: one that is on its way already, or a new one. It reports false if another object
// has the id, or if the group cannot have the object; then the object is judged when all of it is there.
func (t *Track) join(f *Feed) bool {
	o := f.o
	g := t.lock(o.Group)
	if g == nil {
		t.mu.Unlock()
		if !t.files.Wants(o.Group, o.ID) {
			return false
		}
		var added bool
		if g, added = t.bring(o.Group); added && len(g.objs) == 0 {
			t.born(f.src, g)
			t.reached(f.src, o.Group)
		}
	}
	defer t.mu.Unlock()
	old := g.find(o.ID)
	switch {
	case old == nil:
		if g.hasEnd && o.ID >= g.end {
			return false
		}
		in := &Object{Object: o.Object, Size: o.Size, Place: o.Place, Source: o.Source, At: o.At}
		in.arrival = &arrival{hash: f.hash, hasHash: f.hasHash, feeds: 1, changed: make(chan struct{})}
		t.insert(g, in)
		in.retain()
		f.into = in
		g.change()
		t.evict()
		return true
	case old.whole() || !old.sameAs(f):
		return false
	}
	old.arrival.feeds++
	old.retain()
	f.into = old
	return true
}

// Fail ends a feed of which the rest does not come, and releases mem. If nobody else feeds the object, an object whose hash is known
// waits, like its group, for a publisher that continues it; any other is broken off.
func (t *Track) Fail(f *Feed, mem *Payload) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leave(f, false)
	mem.Release()
}

// leave ends a feed. wrong says that the object is broken off if nobody else feeds it, because it is not what should be there.
func (t *Track) leave(f *Feed, wrong bool) {
	if f.into == nil {
		return
	}
	a := f.into.arrival
	if a.feeds--; a.feeds == 0 && (wrong || !a.hasHash) {
		t.breakOff(f.into)
	}
	f.into.release()
	f.into = nil
}

// Put ends a feed of which all is there, and releases mem, in which the payload lies; the payload's hash is sum. The object is compared
// with its own hash, and it is stored before anybody is served its last bytes.
func (t *Track) Put(f *Feed, payload []byte, mem *Payload, sum object.Hash) Result {
	defer mem.Release()
	t.beginning.RLock()
	r := t.put(f, payload, mem, sum)
	t.beginning.RUnlock()
	if r.Outcome == anew {
		t.beginAnew(f)
		t.beginning.RLock()
		r = t.put(f, payload, mem, sum)
		t.beginning.RUnlock()
	}
	return r
}

func (t *Track) put(f *Feed, payload []byte, mem *Payload, sum object.Hash) Result {
	o, src := f.o, f.src
	o.Payload = payload
	if t.outdated(src) {
		return t.putNothing(f, Result{Outcome: Lost, Err: ErrAnew})
	}
	if t.files.Withheld(o.Group) {
		return t.putNothing(f, Result{Outcome: Withheld, Err: store.ErrWithheld})
	}
	err := f.err
	if err == nil && f.hasHash && o.Status == object.Normal && f.hash != sum {
		err = object.ErrHash
	}
	if err != nil {
		t.m.Refused.Add(1)
		src.Refused.Add(1)
		return t.putNothing(f, Result{Outcome: Refused, Err: err})
	}
	if f.apart != nil {
		src.Apart.Add(1)
		return t.putNothing(f, Result{Outcome: Apart, Err: f.apart})
	}
	t.mu.Lock()
	barred := t.barred(src)
	t.mu.Unlock()
	if barred {
		return t.putNothing(f, Result{Outcome: Quarantined, Err: errQuarantined})
	}
	src.Heard.Store(time.Now().UnixNano())
	t.prepare(src, o.Group)
	stored, err := t.files.PutFrom(src.Origin, &o.Object, sum)
	if errors.Is(err, store.ErrWithheld) { // by its hash, or since a moment
		if t.files.Withheld(o.Group) {
			t.Withhold()
		}
		r := t.putNothing(f, Result{Outcome: Withheld, Err: err})
		t.mu.Lock()
		if g := t.groups[o.Group]; g != nil && len(g.objs) == 0 {
			t.drop(g)
		}
		t.mu.Unlock()
		return r
	}
	if err != nil {
		t.m.NotStored.Add(1)
		if src.Origin != store.Live { // what is long over is served from the store alone
			return t.putNothing(f, Result{Outcome: Lost, Err: err})
		}
	}
	g := t.lock(o.Group)
	if g == nil && stored != store.Conflict && stored != store.Duplicate { // the group has left memory
		t.mu.Unlock()
		g, _ = t.bring(o.Group)
	}
	defer t.mu.Unlock()
	old := g.find(o.ID)
	switch { // what the store could not compare
	case err == nil:
	case old != nil && old.whole() && old.Status == o.Status && object.Sum(old.Payload) == sum:
		stored = store.Duplicate
	case old != nil && old.whole(), old == nil && g != nil && g.hasEnd && o.ID >= g.end:
		stored = store.Conflict
	}
	switch {
	case stored == store.Conflict && t.mayBegin(f):
		return Result{Outcome: anew}
	case stored == store.Conflict:
		t.objectTo(f, g, old, sum)
		return t.conflict(f, old, err)
	case stored == store.Duplicate:
		return t.duplicate(f, g, old, mem, sum, err)
	}
	return t.keep(f, g, old, mem, sum, err)
}

// putNothing ends the feed of an object that is not taken.
func (t *Track) putNothing(f *Feed, r Result) Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leave(f, true)
	return r
}

// prepare adds the group to memory if nothing of it is stored. After its first object it would have to be read from the store.
func (t *Track) prepare(src *Source, id uint64) {
	t.mu.Lock()
	if t.groups[id] == nil {
		t.mu.Unlock()
		if t.files.Has(id) {
			t.mu.Lock()
		} else if g, added := t.bring(id); added && len(g.objs) == 0 {
			t.born(src, g)
		}
	}
	t.reached(src, id)
	t.mu.Unlock()
}

// conflict ends the feed of an object that contradicts the one that is there.
func (t *Track) conflict(f *Feed, old *Object, err error) Result {
	t.m.Conflicts.Add(1)
	f.src.Conflicts.Add(1)
	first := "store"
	if old != nil {
		first = old.Source
	}
	t.leave(f, true)
	return Result{Outcome: Conflict, Err: err, First: first}
}

// duplicate ends the feed of an object that another publisher has brought.
func (t *Track) duplicate(f *Feed, g *group, old *Object, mem *Payload, sum object.Hash, err error) Result {
	t.m.Duplicates.Add(1)
	f.src.Duplicates.Add(1)
	if old != nil && !old.Place.known() {
		old.Place = f.o.Place
		g.change()
	}
	in := old
	if f.into != nil {
		in = f.into // not old, if the group has left memory and come back
	}
	// The publisher whose object was stored may not have got here yet, so the object may not be whole in memory.
	ok := in != nil && !in.whole() && t.complete(in, f.o, mem)
	t.leave(f, !ok)
	switch {
	case old != nil:
		t.vouch(f.src, old, sum)
	case g != nil:
		g.vouchEarly(f.src, f.o, sum)
	}
	t.credit(f.src, g, false)
	return Result{Outcome: Duplicate, Err: err}
}

// keep ends the feed of an object that is new.
func (t *Track) keep(f *Feed, g *group, old *Object, mem *Payload, sum object.Hash, err error) Result {
	o := f.o
	t.m.Objects.Add(1)
	t.m.Bytes.Add(int64(len(o.Payload)))
	f.src.Objects.Add(1)
	t.hashes = t.hashes || f.hasHash
	if f.src.Origin == store.Live {
		t.came++
	}
	if f.into != nil && f.into != old { // the group has left memory and come back
		t.complete(f.into, o, mem)
	}
	if old == nil || old.whole() || !t.complete(old, o, mem) {
		t.remove(g, o.ID) // it may have been read from the store already, without its place
		o.use(mem)
		t.insert(g, o)
	}
	g.touched = time.Now()
	if l := (moqt.Location{Group: o.Group, Object: o.ID}); t.largest == nil || t.largest.Less(l) {
		t.largest = &l
	}
	g.change()
	t.newObject(f.src, o)
	kept := g.find(o.ID)
	t.vouch(f.src, kept, sum)
	g.vouchLate(kept, sum)
	t.credit(f.src, g, true)
	t.evict()
	t.leave(f, false)
	return Result{Err: err}
}
