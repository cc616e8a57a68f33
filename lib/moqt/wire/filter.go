package wire

import (
	"fmt"
	"math"
	"slices"
)

// FilterType selects how a subscription's start is found (§5.1.2).
type FilterType uint64

// Filter types.
const (
	// FilterNone is no filter at all: every object passes. It never appears on the wire.
	FilterNone           FilterType = 0
	FilterNextGroupStart FilterType = 1
	FilterLargestObject  FilterType = 2
	FilterAbsoluteStart  FilterType = 3
	FilterAbsoluteRange  FilterType = 4

	// From draft 20 on; their numbers appear on no wire.
	FilterRelativeStart FilterType = 5 // Groups before the group after the largest
	FilterObjectRange   FilterType = 6 // ends inside a group
)

// Filter is a Subscription Filter (§5.1.2), from draft 20 on a Location Filter: which objects of a track a subscriber wants.
type Filter struct {
	Type      FilterType
	Start     Location // of those that are absolute
	EndGroup  uint64   // of ranges, inclusive
	EndObject uint64   // ObjectRange: last one of the last group
	Groups    uint64   // RelativeStart
}

func (f Filter) String() string {
	switch f.Type {
	case FilterNone:
		return "all"
	case FilterNextGroupStart:
		return "next group"
	case FilterLargestObject:
		return "largest object"
	case FilterAbsoluteStart:
		return "from " + f.Start.String()
	case FilterAbsoluteRange:
		return fmt.Sprintf("from %v to group %d", f.Start, f.EndGroup)
	case FilterRelativeStart:
		return fmt.Sprintf("from %d groups before the next", f.Groups)
	case FilterObjectRange:
		return fmt.Sprintf("from %v to %v", f.Start, Location{f.EndGroup, f.EndObject})
	}
	return fmt.Sprintf("filter %d", uint64(f.Type))
}

// filterCodec writes and reads a filter.
type filterCodec interface {
	append(w *writer, f Filter)
	parse(r *reader) Filter
}

// taggedFilter begins with the type; up to draft 18.
type taggedFilter struct {
	delta bool // the end group counts from the start; from draft 17 on
}

func (c taggedFilter) append(w *writer, f Filter) {
	if f.Type > FilterAbsoluteRange {
		w.fail(fmt.Errorf("filter %v in %v: %w", f, w.v, ErrValue))
		return
	}
	w.varint(uint64(f.Type))
	if f.Type == FilterAbsoluteStart || f.Type == FilterAbsoluteRange {
		w.location(f.Start)
	}
	if f.Type == FilterAbsoluteRange {
		end := f.EndGroup
		if c.delta {
			if end < f.Start.Group {
				w.fail(fmt.Errorf("filter %v: %w", f, ErrValue))
			}
			end -= f.Start.Group
		}
		w.varint(end)
	}
}

func (c taggedFilter) parse(r *reader) (f Filter) {
	f.Type = FilterType(r.varint("filter type"))
	switch f.Type {
	case FilterNextGroupStart, FilterLargestObject:
	case FilterAbsoluteStart:
		f.Start = r.location("filter start")
	case FilterAbsoluteRange:
		f.Start = r.location("filter start")
		f.EndGroup = r.varint("filter end group")
		if c.delta {
			f.EndGroup = r.endGroup(f.Start.Group, f.EndGroup)
		}
		if r.err == nil && f.EndGroup < f.Start.Group {
			r.fail(violation("filter ends at group %d before it starts at %v", f.EndGroup, f.Start))
		}
	default:
		if r.err == nil {
			r.fail(violation("filter type %d", uint64(f.Type)))
		}
	}
	return f
}

// endGroup adds the delta of a filter's end group to its start.
func (r *reader) endGroup(start, delta uint64) uint64 {
	if delta > math.MaxUint64-start {
		r.fail(violation("filter end group %d + %d overflows", start, delta))
	}
	return start + delta
}

// fields are what a filter has from draft 20 on: the group to start with, relative if it is alone, the object, the end group as a
// delta and the end object (draft-20 §5.1.2).
func (f Filter) fields(w *writer) []uint64 {
	switch f.Type {
	case FilterNextGroupStart:
		return []uint64{0}
	case FilterRelativeStart:
		return []uint64{f.Groups}
	}
	fields := []uint64{f.Start.Group, f.Start.Object, f.EndGroup - f.Start.Group, f.EndObject}
	switch f.Type {
	case FilterAbsoluteStart:
		return fields[:2]
	case FilterAbsoluteRange:
		fields = fields[:3]
	case FilterObjectRange:
	default:
		return nil
	}
	if f.EndGroup < f.Start.Group {
		w.fail(fmt.Errorf("filter %v: %w", f, ErrValue))
	}
	return fields
}

// filterOf is the filter that has some fields.
func (r *reader) filterOf(fields []uint64) (f Filter) {
	switch len(fields) {
	case 1:
		if fields[0] == 0 {
			return Filter{Type: FilterNextGroupStart}
		}
		return Filter{Type: FilterRelativeStart, Groups: fields[0]}
	case 2:
		f.Type = FilterAbsoluteStart
	case 3:
		f.Type = FilterAbsoluteRange
	case 4:
		f.Type, f.EndObject = FilterObjectRange, fields[3]
	default:
		return f
	}
	f.Start = Location{fields[0], fields[1]}
	if len(fields) > 2 {
		f.EndGroup = r.endGroup(f.Start.Group, fields[2])
	}
	return f
}

// countedFilter is told by how many fields there are, up to the end of the parameter (draft-20 §5.1.2). Two that are 0 are the next
// object. So what starts with the first object of all is written with the largest end there is: for no filter a publisher sends only
// what is new.
type countedFilter struct{}

var fromTheFirst = []uint64{0, 0, math.MaxUint64}

func (countedFilter) append(w *writer, f Filter) {
	fields := f.fields(w)
	switch {
	case f.Type == FilterLargestObject:
		fields = []uint64{0, 0}
	case f.Type == FilterAbsoluteStart && f.Start == Location{}:
		fields = fromTheFirst
	}
	for _, x := range fields {
		w.varint(x)
	}
}

func (countedFilter) parse(r *reader) Filter {
	var fields []uint64
	for r.err == nil && len(r.b) > 0 {
		if len(fields) == 4 {
			r.fail(violation("filter with more than four fields"))
			break
		}
		fields = append(fields, r.varint("filter"))
	}
	switch {
	case len(fields) == 2 && fields[0] == 0 && fields[1] == 0:
		return Filter{Type: FilterLargestObject}
	case slices.Equal(fields, fromTheFirst):
		return Filter{Type: FilterAbsoluteStart}
	}
	return r.filterOf(fields)
}

// typedFilter begins with a type that says which fields follow (draft-22 §9.20.9).
type typedFilter struct{}

// The type is how many fields there are, but for the next object.
const filterNextObject = 5

func (typedFilter) append(w *writer, f Filter) {
	if f.Type == FilterLargestObject {
		w.varint(filterNextObject)
		return
	}
	fields := f.fields(w)
	w.varint(uint64(len(fields)))
	for _, x := range fields {
		w.varint(x)
	}
}

func (typedFilter) parse(r *reader) Filter {
	n := r.varint("filter type")
	if n == filterNextObject {
		return Filter{Type: FilterLargestObject}
	}
	if n > filterNextObject {
		r.fail(violation("filter type %d", n))
	}
	var fields []uint64
	for ; r.err == nil && n > 0; n-- {
		fields = append(fields, r.varint("filter"))
	}
	return r.filterOf(fields)
}
