package wire

import (
	"fmt"
	"math"
)

// Bits of the type of a subgroup stream (§10.4.2): 0b00X1XXXX.
const (
	subgroupForm            = 0x10
	subgroupProperties      = 0x01
	subgroupIDMode          = 0x06
	subgroupIDFirstObject   = 0x02
	subgroupIDPresent       = 0x04
	subgroupEndOfGroup      = 0x08
	subgroupDefaultPriority = 0x20
	subgroupFirstObject     = 0x40 // from draft 18 on
)

// StreamFetch is the type of a stream that answers a FETCH (§10).
const StreamFetch = 0x05

// IsPadding reports whether a unidirectional stream of type t carries nothing (draft-18 §11.5).
func IsPadding(t uint64, v Version) bool { return t == 0x132b3e28 && drafts[v].padding }

// IsSetup reports whether a stream type is that of a control stream.
func IsSetup(t uint64, v Version) bool { return t != 0 && t == drafts[v].setupType }

// IsSubgroup reports whether a unidirectional stream of type t carries a subgroup.
func IsSubgroup(t uint64, v Version) bool {
	return t&^drafts[v].subgroupTypes == 0 && t&subgroupForm != 0 && t&subgroupIDMode != subgroupIDMode
}

// SubgroupHeader is SUBGROUP_HEADER (§10.4.2).
type SubgroupHeader struct {
	TrackAlias uint64
	Group      uint64
	Subgroup   uint64
	// FromFirst: no subgroup id on the wire, it is the id of the first object.
	FromFirst     bool
	Priority      *uint8 // nil: the track's default
	EndOfGroup    bool
	HasProperties bool
	// FirstObject: the stream begins with the first object ever published in the subgroup. Not told before draft 18.
	FirstObject bool
}

// Append writes the header, stream type first.
func (h SubgroupHeader) Append(b []byte, v Version) []byte {
	w := writer{b: b, v: v, vi: drafts[v].varint}
	t := uint64(subgroupForm)
	switch {
	case h.FromFirst:
		t |= subgroupIDFirstObject
	case h.Subgroup != 0:
		t |= subgroupIDPresent
	}
	if h.HasProperties {
		t |= subgroupProperties
	}
	if h.EndOfGroup {
		t |= subgroupEndOfGroup
	}
	if h.Priority == nil {
		t |= subgroupDefaultPriority
	}
	if h.FirstObject {
		t |= subgroupFirstObject & drafts[v].subgroupTypes
	}
	w.varint(t)
	w.varint(h.TrackAlias)
	w.varint(h.Group)
	if t&subgroupIDMode == subgroupIDPresent {
		w.varint(h.Subgroup)
	}
	if h.Priority != nil {
		w.byte(*h.Priority)
	}
	return w.b
}

// ParseSubgroupHeader reads a header, stream type included, and returns its length. The error is ErrIncomplete if
// b is too short.
func ParseSubgroupHeader(b []byte, v Version) (h SubgroupHeader, n int, err error) {
	r := reader{b: b, v: v, vi: drafts[v].varint}
	t := r.varint("stream type")
	if r.err == nil && !IsSubgroup(t, v) {
		return h, 0, violation("stream type %#x", t)
	}
	h.TrackAlias = r.varint("track alias")
	h.Group = r.varint("group id")
	switch t & subgroupIDMode {
	case subgroupIDFirstObject:
		h.FromFirst = true
	case subgroupIDPresent:
		h.Subgroup = r.varint("subgroup id")
	}
	if t&subgroupDefaultPriority == 0 {
		p := r.byte("publisher priority")
		h.Priority = &p
	}
	h.HasProperties = t&subgroupProperties != 0
	h.EndOfGroup = t&subgroupEndOfGroup != 0
	h.FirstObject = t&subgroupFirstObject != 0
	if r.err != nil {
		return h, 0, fmt.Errorf("subgroup header: %w", r.err)
	}
	return h, len(b) - len(r.b), nil
}

// SubgroupObject are the fields before the payload of an object in a subgroup (§10.4.2).
type SubgroupObject struct {
	ID         uint64
	Properties []byte // key-value-pairs
	Length     uint64 // of the payload
	Status     ObjectStatus
}

// AppendSubgroupObject writes the fields. prev is the id of the object before, nil for the first one.
func AppendSubgroupObject(b []byte, v Version, prev *uint64, hasProperties bool, o SubgroupObject) []byte {
	w := writer{b: b, v: v, vi: drafts[v].varint}
	delta := o.ID
	if prev != nil {
		delta = o.ID - *prev - 1
	}
	w.varint(delta)
	if hasProperties {
		w.objectProperties(o.Properties)
	}
	w.varint(o.Length)
	if o.Length == 0 {
		w.varint(uint64(o.Status))
	}
	return w.b
}

// ParseSubgroupObject reads the fields before a payload and returns their length; Properties alias b in draft 16. It returns n = 0
// without error if b is too short, allocating nothing, because that is the regular case on a stream. A block of
// properties longer than maxProperties is ErrLimit.
func ParseSubgroupObject(b []byte, v Version, prev *uint64, hasProperties bool, maxProperties uint64) (o SubgroupObject, n int, err error) {
	vi := drafts[v].varint
	at := 0
	next := func() (x uint64, ok bool) {
		x, n := vi.parse(b[at:])
		at += n
		return x, n > 0
	}
	delta, ok := next()
	if !ok {
		return o, 0, nil
	}
	o.ID = delta
	if prev != nil {
		if delta >= math.MaxUint64-*prev {
			return o, 0, violation("object id %d + %d overflows", *prev, delta)
		}
		o.ID = *prev + 1 + delta
	}
	if hasProperties {
		l, ok := next()
		if !ok {
			return o, 0, nil
		}
		properties, whole, err := objectProperties(b[at:], l, maxProperties, v)
		if err != nil || !whole {
			return o, 0, err
		}
		o.Properties = properties
		at += int(l)
	}
	if o.Length, ok = next(); !ok {
		return o, 0, nil
	}
	if o.Length == 0 {
		s, ok := next()
		if !ok {
			return o, 0, nil
		}
		o.Status = ObjectStatus(s)
		if !o.Status.Valid() {
			return o, 0, violation("object status %#x", s)
		}
	}
	return o, at, nil
}
