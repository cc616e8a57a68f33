package live

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
	pieces  [][]byte    // which follow one another, in memory that the object holds
	touched time.Time   // when the last of them came
	failed  bool        // it will not become whole
	changed chan struct{}
}

// add takes what b, the beginning of the payload, has more than came before.
func (a *arrival) add(b []byte) {
	a.touched = time.Now()
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

// sameAs reports whether two publishers declare the same object, so that either continues what the other began.
func (in *Object) sameAs(f *Feed) bool {
	return in.arrival.hasHash && f.hasHash && in.arrival.hash == f.hash && in.Size == f.o.Size && in.Subgroup == f.o.Subgroup &&
		bytes.Equal(in.Properties, f.o.Properties)
}

// complete makes an object that was on its way whole with the payload of o, which is stored and lies in mem. If what was forwarded
// of it is something else, it fails and false is returned.
func (t *Track) complete(in, o *Object, mem *Payload) bool {
	a := in.arrival
	if in.whole() || a.failed || in.Size != o.Size || in.Status != o.Status || in.Subgroup != o.Subgroup || !bytes.Equal(in.Properties, o.Properties) ||
		!a.begins(o.Payload) {
		t.breakOff(in)
		return false
	}
	in.use(mem)
	in.Payload, in.done = o.Payload, true
	a.pieces = nil
	a.change()
	return true
}

// breakOff tells those who were sent a part of an object that the rest will not come, and takes it out of its group.
func (t *Track) breakOff(in *Object) {
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
