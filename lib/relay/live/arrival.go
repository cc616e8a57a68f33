package live

import (
	"bytes"
	"time"

	"every.channel/ec/lib/object"
)

// An object that takes a while to come is in its group before it is whole. The bytes that have come are forwarded; the last bytes are
// held back until the object was compared with its hash and is in its group file. Several publishers that declare the same object feed
// one arrival: each stream is read from the object's beginning, and whatever a stream has beyond what was forwarded is forwarded next.
// Only when all bytes of one stream are there can they be compared with what was forwarded; if they differ, the object is broken off.

// arrival holds the bytes of an object that have come, while the object is not whole. The track's mutex guards it.
type arrival struct {
	hash    object.Hash // as publishers declare it
	hasHash bool        // without a hash, only the first publisher can continue the object
	feeds   int         // feeds that may bring more
	have    int         // number of bytes that have come
	pieces  [][]byte    // these bytes, one piece after the other, in memory that the object holds
	touched time.Time   // when the last of them came
	failed  bool        // the object was broken off
	changed chan struct{}
}

// add takes b, the beginning of the payload, which has more bytes than came before.
func (a *arrival) add(b []byte) {
	a.touched = time.Now()
	if n := len(a.pieces); n > 0 {
		last := a.pieces[n-1]
		if start := a.have - len(last); &last[0] == &b[start] { // b lies in the same memory as the last piece
			a.pieces[n-1], a.have = b[start:], len(b)
			return
		}
	}
	a.pieces, a.have = append(a.pieces, b[a.have:]), len(b)
}

// change wakes everybody who waits for more of the object.
func (a *arrival) change() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// at returns bytes from an offset on: those that lie in one piece.
func (a *arrival) at(off int) []byte {
	for _, p := range a.pieces {
		if off < len(p) {
			return p[off:]
		}
		off -= len(p)
	}
	return nil
}

// begins reports whether a payload begins with the bytes that have come.
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

// sameAs reports whether a feed declares the same object as in, so that it can continue in.
func (in *Object) sameAs(f *Feed) bool {
	return in.arrival.hasHash && f.hasHash && in.arrival.hash == f.hash && in.Size == f.o.Size && in.Subgroup == f.o.Subgroup &&
		bytes.Equal(in.Properties, f.o.Properties)
}

// complete makes in whole, an object that was on its way, with the payload of o, which is stored and lies in mem. If other bytes than
// these were forwarded, complete breaks in off and returns false.
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

// breakOff tells the subscribers that were sent a part of an object that the rest will not come, and takes the object out of its group.
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
