package wire

import (
	"fmt"
	"math"
)

// Serialization flags of an object in a fetch stream (§10.4.4.1).
const (
	fetchSubgroupMode      = 0x03
	fetchSubgroupPrior     = 0x01
	fetchSubgroupPlusOne   = 0x02
	fetchSubgroupPresent   = 0x03
	fetchObjectPresent     = 0x04
	fetchGroupPresent      = 0x08
	fetchPriorityPresent   = 0x10
	fetchPropertiesPresent = 0x20
	fetchDatagram          = 0x40

	// FetchEndOfNonExistent marks a range in which nothing exists (§10.4.4.2). The ends of ranges have a group and an object id, which are
	// no deltas in any draft, and nothing else: the drafts do not say whether a payload length follows, and most who wrote them so far have none.
	FetchEndOfNonExistent = 0x8c
	// FetchEndOfUnknown marks a range the publisher knows nothing about.
	FetchEndOfUnknown = 0x10c
	// FetchEndOfTimedOut marks a range that could not be had in time. Drafts before 20 say unknown for it.
	FetchEndOfTimedOut = 0x20c
)

// AppendFetchHeader writes FETCH_HEADER (§10.4.4).
func AppendFetchHeader(b []byte, v Version, requestID uint64) []byte {
	b = AppendVarint(b, v, StreamFetch)
	return AppendVarint(b, v, requestID)
}

// ParseFetchHeader reads FETCH_HEADER, stream type included, and returns its length.
func ParseFetchHeader(b []byte, v Version) (requestID uint64, n int, err error) {
	r := reader{b: b, v: v, vi: drafts[v].varint}
	if t := r.varint("stream type"); r.err == nil && t != StreamFetch {
		return 0, 0, violation("stream type %#x", t)
	}
	requestID = r.varint("request id")
	if r.err != nil {
		return 0, 0, fmt.Errorf("fetch header: %w", r.err)
	}
	return requestID, len(b) - len(r.b), nil
}

// FetchObject are the fields before the payload of an object in a fetch stream (§10.4.4).
type FetchObject struct {
	Flags      uint64 // as read; ignored when writing, except for the ends of a range
	Group      uint64
	Subgroup   uint64
	ID         uint64
	Priority   uint8
	Datagram   bool
	Properties []byte
	Length     uint64
}

// EndOfRange reports that o is no object but marks the end of a range.
func (o *FetchObject) EndOfRange() bool {
	return o.Flags == FetchEndOfNonExistent || o.Flags == FetchEndOfUnknown || o.Flags == FetchEndOfTimedOut
}

// FetchState is what the fields of the next object in a fetch stream refer to: the object before. The zero value
// stands at the start of a stream.
type FetchState struct {
	// Descending: groups come in descending order, which draft 18 needs to know.
	Descending bool

	group, id     uint64
	subgroup      uint64
	priority      uint8
	located       bool // group and id are valid
	objected      bool // subgroup and priority are valid
	priorSubgroup bool // the object before had a subgroup
}

// ParseFetchObject reads the fields before a payload and returns their length. Fields absent on the wire are zero: Resolve
// fills them in. It returns n = 0 without error if b is too short. Properties alias b
// in draft 16.
func ParseFetchObject(b []byte, v Version, maxProperties uint64) (o FetchObject, n int, err error) {
	vi := drafts[v].varint
	at := 0
	next := func(x *uint64) bool {
		var n int
		*x, n = vi.parse(b[at:])
		at += n
		return n > 0
	}
	if !next(&o.Flags) {
		return o, 0, nil
	}
	f := o.Flags
	if f >= 128 && !o.EndOfRange() || f == FetchEndOfTimedOut && !drafts[v].timedOutRanges {
		return o, 0, violation("fetch serialization flags %#x", f)
	}
	if f&fetchGroupPresent != 0 && !next(&o.Group) {
		return o, 0, nil
	}
	if !o.EndOfRange() {
		o.Datagram = f&fetchDatagram != 0
		if !o.Datagram && f&fetchSubgroupMode == fetchSubgroupPresent && !next(&o.Subgroup) {
			return o, 0, nil
		}
	}
	if f&fetchObjectPresent != 0 && !next(&o.ID) {
		return o, 0, nil
	}
	if o.EndOfRange() {
		return o, at, nil
	}
	if f&fetchPriorityPresent != 0 {
		if at >= len(b) {
			return o, 0, nil
		}
		o.Priority = b[at]
		at++
	}
	if f&fetchPropertiesPresent != 0 {
		var l uint64
		if !next(&l) {
			return o, 0, nil
		}
		properties, whole, err := objectProperties(b[at:], l, maxProperties, v)
		if err != nil || !whole {
			return o, 0, err
		}
		o.Properties = properties
		at += int(l)
	}
	if !next(&o.Length) {
		return o, 0, nil
	}
	return o, at, nil
}

// Resolve fills in the fields that o left to the object before, and moves on to o.
func (s *FetchState) Resolve(v Version, o *FetchObject) error {
	f := o.Flags
	if drafts[v].deltaFetch && s.located && !o.EndOfRange() {
		if err := s.undelta(o); err != nil {
			return err
		}
	}
	refers := func(what string) error {
		return violation("first fetch object takes its %s from the one before", what)
	}
	if f&fetchGroupPresent == 0 {
		if !s.located {
			return refers("group")
		}
		o.Group = s.group
	}
	if f&fetchObjectPresent == 0 {
		if !s.located {
			return refers("object id")
		}
		if s.id == math.MaxUint64 {
			return violation("object id overflows")
		}
		o.ID = s.id + 1
	}
	if o.EndOfRange() {
		s.group, s.id, s.located = o.Group, o.ID, true
		return nil
	}
	if f&fetchPriorityPresent == 0 {
		if !s.objected {
			return refers("priority")
		}
		o.Priority = s.priority
	}
	if !o.Datagram {
		switch f & fetchSubgroupMode {
		case fetchSubgroupPrior, fetchSubgroupPlusOne:
			if !s.objected || !s.priorSubgroup {
				return refers("subgroup")
			}
			o.Subgroup = s.subgroup
			if f&fetchSubgroupMode == fetchSubgroupPlusOne {
				if o.Subgroup == math.MaxUint64 {
					return violation("subgroup id overflows")
				}
				o.Subgroup++
			}
		}
	}
	s.moveTo(o)
	return nil
}

// undelta turns the deltas of draft 18 into ids. In an end of range the draft speaks of ids, not of deltas, and a delta of
// groups could not name the group of the object before.
func (s *FetchState) undelta(o *FetchObject) error {
	if o.Flags&fetchGroupPresent == 0 {
		if o.Flags&fetchObjectPresent != 0 {
			if o.ID > math.MaxUint64-s.id {
				return violation("object id %d + %d overflows", s.id, o.ID)
			}
			o.ID += s.id
		}
		return nil
	}
	if s.Descending {
		if o.Group >= s.group {
			return violation("group id %d - %d - 1 underflows", s.group, o.Group)
		}
		o.Group = s.group - o.Group - 1
		return nil
	}
	if o.Group >= math.MaxUint64-s.group {
		return violation("group id %d + %d + 1 overflows", s.group, o.Group)
	}
	o.Group = s.group + o.Group + 1
	return nil
}

func (s *FetchState) moveTo(o *FetchObject) {
	s.group, s.id, s.located = o.Group, o.ID, true
	s.priority, s.objected = o.Priority, true
	if !o.Datagram {
		s.subgroup, s.priorSubgroup = o.Subgroup, true
	}
}

// Append writes the fields of o in the shortest form that follows from s, and moves on to o. ErrValue: draft 18 cannot
// write groups or objects against the order, and no draft integers over its largest.
func (s *FetchState) Append(b []byte, v Version, o FetchObject) ([]byte, error) {
	w := writer{b: b, v: v, vi: drafts[v].varint}
	if o.EndOfRange() {
		if o.Flags == FetchEndOfTimedOut && !drafts[v].timedOutRanges {
			o.Flags = FetchEndOfUnknown
		}
		w.varint(o.Flags)
		w.varint(o.Group)
		w.varint(o.ID)
		if w.err != nil {
			return b, w.err
		}
		s.group, s.id, s.located = o.Group, o.ID, true
		return w.b, nil
	}
	group, id := o.Group, o.ID
	if drafts[v].deltaFetch && s.located {
		switch forward := o.Group > s.group; {
		case o.Group == s.group:
			if o.ID < s.id {
				return b, fmt.Errorf("object %d after %d in a fetch: %w", o.ID, s.id, ErrValue)
			}
			id = o.ID - s.id
		case forward == s.Descending:
			return b, fmt.Errorf("group %d after %d in a fetch: %w", o.Group, s.group, ErrValue)
		case forward:
			group = o.Group - s.group - 1
		default:
			group = s.group - o.Group - 1
		}
	}
	var f uint64
	if !s.located || o.Group != s.group {
		f |= fetchGroupPresent
	}
	if !s.located || o.ID != s.id+1 {
		f |= fetchObjectPresent
	}
	if !s.objected || o.Priority != s.priority {
		f |= fetchPriorityPresent
	}
	if len(o.Properties) > 0 {
		f |= fetchPropertiesPresent
	}
	switch {
	case o.Datagram:
		f |= fetchDatagram
	case o.Subgroup == 0:
	case s.priorSubgroup && o.Subgroup == s.subgroup:
		f |= fetchSubgroupPrior
	case s.priorSubgroup && o.Subgroup == s.subgroup+1:
		f |= fetchSubgroupPlusOne
	default:
		f |= fetchSubgroupPresent
	}
	w.varint(f)
	if f&fetchGroupPresent != 0 {
		w.varint(group)
	}
	if !o.Datagram && f&fetchSubgroupMode == fetchSubgroupPresent {
		w.varint(o.Subgroup)
	}
	if f&fetchObjectPresent != 0 {
		w.varint(id)
	}
	if f&fetchPriorityPresent != 0 {
		w.byte(o.Priority)
	}
	if f&fetchPropertiesPresent != 0 {
		w.objectProperties(o.Properties)
	}
	w.varint(o.Length)
	if w.err != nil {
		return b, w.err
	}
	s.moveTo(&o)
	return w.b, nil
}
