package relay

import (
	"bytes"
	"time"

	"every.channel/ec/lib/object"
)

// An object that takes a while to come is in its group before it is whole. What came of it is forwarded; its last bytes leave
// when the object was compared with its hash and is in the group file. Which publisher brings bytes does not matter as long as
// they declare the same object: each reads its own stream from the beginning, and what has come further than anybody's is
// forwarded. That it continues what came from others is seen at the end.

// arrival is what an object has while it is not whole. The track's mutex guards it.
type arrival struct {
	hash    object.Hash // declared
	hasHash bool        // else only its first publisher can continue it
	feeds   int         // publishers that may bring more of it
	have    int         // bytes that came, in
	pieces  [][]byte    // which follow one another, in the memory of those who brought them
	touched time.Time   // when the last of them came
	failed  bool        // it will not become whole
	changed chan struct{}
}

// join makes f a publisher of the object that is on its way in the place of f.o, which may be a new one. It reports false if
// there is something else, or if there may be nothing: then f's object is judged when it is whole.
func (t *track) join(f *feed) bool {
	o := f.o
	g := t.groups[o.Group]
	if g == nil {
		if !t.st.Wants(o.Group, o.ID) {
			return false
		}
		if g = t.newGroup(o.Group); len(g.objs) == 0 {
			t.born(f.src, g)
			f.src.reached(o.Group)
		}
	}
	old := g.find(o.ID)
	switch {
	case old == nil:
		if g.hasEnd && o.ID >= g.end {
			return false
		}
		in := &obj{Object: o.Object, size: o.size, place: o.place, source: o.source, at: o.at}
		in.arrival = &arrival{hash: f.hash, hasHash: f.hasHash, feeds: 1, changed: make(chan struct{})}
		t.insert(g, in)
		f.into = in
		g.change()
		t.evict()
	case old.whole():
		return false
	case !old.arrival.hasHash || !f.hasHash || old.arrival.hash != f.hash || old.size != o.size || old.Subgroup != o.Subgroup ||
		!bytes.Equal(old.Properties, o.Properties):
		return false
	default:
		old.arrival.feeds++
		f.into = old
	}
	return true
}

// forward makes b, the beginning of the payload of f.o, available to subscribers.
func (t *track) forward(f *feed, b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.into == nil && (f.alone || !t.join(f)) {
		f.alone = true
		return
	}
	a := f.into.arrival
	if f.into.whole() || a.failed || len(b) <= a.have {
		return
	}
	a.add(b)
	a.touched = time.Now()
	f.shared = true
	if g := t.groups[f.o.Group]; g != nil {
		g.touched = a.touched
	}
	a.change()
}

// add takes what b, the beginning of the payload, has more than came before.
func (a *arrival) add(b []byte) {
	if n := len(a.pieces); n > 0 {
		last := a.pieces[n-1]
		if start := a.have - len(last); &last[0] == &b[start] { // the same memory goes on
			a.pieces[n-1], a.have = b[start:], len(b)
			return
		}
	}
	a.pieces, a.have = append(a.pieces, b[a.have:]), len(b)
}

// change wakes those who wait for more of the object.
func (a *arrival) change() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// at returns what came from an offset on, as far as it is in one place.
func (a *arrival) at(off int) []byte {
	for _, p := range a.pieces {
		if off < len(p) {
			return p[off:]
		}
		off -= len(p)
	}
	return nil
}

// begins reports whether payload begins with what came.
func (a *arrival) begins(payload []byte) bool {
	for _, p := range a.pieces {
		n := len(p)
		if n > len(payload) || &p[0] != &payload[0] && !bytes.Equal(p, payload[:n]) {
			return false
		}
		payload = payload[n:]
	}
	return true
}

// whole reports whether all of o is there, compared with its hash and stored. The track's mutex is held, or o never arrived in
// parts.
func (o *obj) whole() bool { return o.arrival == nil || o.done }

// complete makes an object that was on its way whole with the payload of o, which is stored. If what was forwarded of it is
// something else, it fails and false is returned.
func (t *track) complete(in, o *obj) bool {
	a := in.arrival
	if in.whole() || a.failed || in.size != o.size || in.Status != o.Status || in.Subgroup != o.Subgroup || !bytes.Equal(in.Properties, o.Properties) ||
		!a.begins(o.Payload) {
		t.fail(in)
		return false
	}
	in.Payload, in.done = o.Payload, true
	if g := t.groups[in.Group]; len(a.pieces) == 1 && &a.pieces[0][0] == &o.Payload[0] && g.find(in.ID) == in {
		in.mem = o.mem // nobody else has any of it
	}
	o.mem = nil
	a.pieces = nil
	a.change()
	return true
}

// fail tells those who were sent a part of an object that the rest will not come, and takes it out of its group.
func (t *track) fail(in *obj) {
	if in.whole() || in.arrival.failed {
		return
	}
	in.arrival.failed = true
	in.arrival.change()
	if g := t.groups[in.Group]; g.find(in.ID) == in {
		t.remove(g, in.ID)
		g.change()
	}
}

// leave ends what f brings of an object. Without another publisher, an object whose hash is known waits like its group for one
// that continues it; wrong says that there is none to wait for.
func (t *track) leave(f *feed, wrong bool) {
	if f.into == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	a := f.into.arrival
	if a.feeds--; a.feeds == 0 && (wrong || !a.hasHash) {
		t.fail(f.into)
	}
	f.into = nil
}

// retain keeps the memory of an object that is in its group; the track's mutex is held.
func (o *obj) retain() { o.refs.Add(1) }

func (o *obj) release() {
	if o.refs.Add(-1) == 0 {
		o.mem.free()
		o.mem = nil
	}
}
