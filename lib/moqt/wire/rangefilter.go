package wire

import (
	"fmt"
	"math"
	"slices"
)

// rangeFilter is one range filter: what passes has its value in one of the ranges (draft-19 §5.1.3).
type rangeFilter struct {
	typ      uint64 // parameter type
	set      byte
	property uint64 // of property filters
	ranges   [][2]uint64
}

// RangeFilters choose objects, and those of tracks choose tracks. Filters of one set must all be passed, and of several sets one.
type RangeFilters struct{ sets map[byte][]rangeFilter }

// Ranged is what range filters look at.
type Ranged struct {
	Subgroup   *uint64 // nil: a datagram, which has none
	ID         uint64
	Priority   uint8
	Properties []byte // as held outside of the wire
}

// ParseRangeFilters reads the filters of a request, which may have some number of ranges in all. What is wrong with them refuses the
// request and does not close the session.
func ParseRangeFilters(list []KeyValue, v Version, most uint64) (f RangeFilters, err error) {
	f.sets = map[byte][]rangeFilter{}
	for _, kv := range list {
		one, err := parseRangeFilter(kv, v)
		if err != nil {
			return f, err
		}
		if slices.ContainsFunc(f.sets[one.set], func(o rangeFilter) bool { return o.typ == one.typ && o.property == one.property }) {
			return f, fmt.Errorf("filter %#x twice in set %d", one.typ, one.set)
		}
		f.sets[one.set] = append(f.sets[one.set], one)
		if n := uint64(len(one.ranges)); n > most {
			return f, fmt.Errorf("more ranges than were offered")
		} else {
			most -= n
		}
	}
	return f, nil
}

func parseRangeFilter(kv KeyValue, v Version) (f rangeFilter, err error) {
	r := newReader(kv.Bytes, v)
	f.typ = kv.Type
	f.set = r.byte("set")
	if f.typ >= paramPropertyFilter {
		if f.property = r.varint("property type"); f.property&1 != 0 {
			return f, fmt.Errorf("filter %#x of property %#x, which is no integer", f.typ, f.property)
		}
	}
	var at uint64
	next := func(what string) uint64 {
		delta := r.varint(what)
		if r.err == nil && delta > math.MaxUint64-at {
			r.fail(fmt.Errorf("filter %#x: %d + %d overflows", f.typ, at, delta))
		}
		at += delta
		return at
	}
	for r.err == nil && len(r.b) > 0 {
		one := [2]uint64{next("range start"), math.MaxUint64}
		if r.err == nil && len(r.b) > 0 {
			one[1] = next("range end")
		}
		if f.typ == paramPriorityFilter && (one[0] > 255 || one[1] > 255 && one[1] < math.MaxUint64) {
			return f, fmt.Errorf("filter for priority %d to %d", one[0], one[1])
		}
		f.ranges = append(f.ranges, one)
	}
	return f, r.err
}

// None reports that there is nothing to look at in objects.
func (f RangeFilters) None() bool {
	for _, set := range f.sets {
		if slices.ContainsFunc(set, func(o rangeFilter) bool { return o.typ != paramTrackFilter }) {
			return false
		}
	}
	return true
}

// PassesTrack reports whether the filters of tracks let one with such properties through.
func (f RangeFilters) PassesTrack(properties []byte) bool {
	return f.passes(func(o rangeFilter) bool { return o.typ != paramTrackFilter || o.hasProperty(properties) })
}

// PassesObject reports whether the filters of objects let one through.
func (f RangeFilters) PassesObject(o Ranged) bool {
	return f.passes(func(f rangeFilter) bool {
		switch f.typ {
		case paramSubgroupFilter:
			return o.Subgroup != nil && f.has(*o.Subgroup)
		case paramObjectFilter:
			return f.has(o.ID)
		case paramPriorityFilter:
			return f.has(uint64(o.Priority))
		case paramPropertyFilter:
			return f.hasProperty(o.Properties)
		}
		return true
	})
}

func (f RangeFilters) passes(one func(rangeFilter) bool) bool {
	for _, set := range f.sets {
		if !slices.ContainsFunc(set, func(o rangeFilter) bool { return !one(o) }) {
			return true
		}
	}
	return len(f.sets) == 0
}

func (f rangeFilter) has(x uint64) bool {
	return slices.ContainsFunc(f.ranges, func(r [2]uint64) bool { return r[0] <= x && x <= r[1] })
}

func (f rangeFilter) hasProperty(properties []byte) bool {
	kvs, _ := heldPairs(properties)
	return slices.ContainsFunc(kvs, func(kv KeyValue) bool { return kv.Type == f.property && f.has(kv.Value) })
}

// ReplaceRangeFilters are the filters after an update: each type that it names is replaced, by nothing if its value is empty.
func ReplaceRangeFilters(now, update []KeyValue) []KeyValue {
	now = slices.DeleteFunc(slices.Clone(now), func(kv KeyValue) bool {
		return slices.ContainsFunc(update, func(u KeyValue) bool { return u.Type == kv.Type })
	})
	for _, kv := range update {
		if len(kv.Bytes) > 0 {
			now = append(now, kv)
		}
	}
	return now
}
