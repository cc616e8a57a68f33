package wire

import (
	"fmt"
	"math"
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
)

// Filter is a Subscription Filter (§5.1.2): which objects of a track a subscriber wants.
type Filter struct {
	Type     FilterType
	Start    Location // AbsoluteStart and AbsoluteRange
	EndGroup uint64   // AbsoluteRange, inclusive
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
	}
	return fmt.Sprintf("filter %d", uint64(f.Type))
}

func (f Filter) appendTo(w *writer) {
	w.varint(uint64(f.Type))
	if f.Type == FilterAbsoluteStart || f.Type == FilterAbsoluteRange {
		w.location(f.Start)
	}
	if f.Type == FilterAbsoluteRange {
		end := f.EndGroup
		if drafts[w.v].requestStreams { // a delta from 17 on
			if end < f.Start.Group {
				w.fail(fmt.Errorf("filter %v: %w", f, ErrValue))
			}
			end -= f.Start.Group
		}
		w.varint(end)
	}
}

func (r *reader) filter() (f Filter) {
	f.Type = FilterType(r.varint("filter type"))
	switch f.Type {
	case FilterNextGroupStart, FilterLargestObject:
	case FilterAbsoluteStart:
		f.Start = r.location("filter start")
	case FilterAbsoluteRange:
		f.Start = r.location("filter start")
		f.EndGroup = r.varint("filter end group")
		if drafts[r.v].requestStreams {
			if f.EndGroup > math.MaxUint64-f.Start.Group {
				r.fail(violation("filter end group %d + %d overflows", f.Start.Group, f.EndGroup))
			}
			f.EndGroup += f.Start.Group
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
