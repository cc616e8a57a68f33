package moqt

import (
	"math"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// PublicationState is what a subscriber asked for, updates included.
type PublicationState struct {
	Forward         bool
	Priority        uint8
	GroupOrder      GroupOrder
	Filter          Filter        // as sent
	Start           Location      // first location that passes the filter
	EndGroup        uint64        // last group that passes; math.MaxUint64 for an open end
	EndObject       uint64        // last object of that group that passes; math.MaxUint64: all do
	DeliveryTimeout time.Duration // the smaller of subscriber's and track's; 0 none
	SubgroupTimeout time.Duration // likewise for whole subgroups, draft 18; see SubgroupWriter.Published
	NewGroup        *uint64       // last NEW_GROUP_REQUEST
	Resumed         *Location     // largest object when the subscription was last resumed: what follows is to be sent

	asked timeouts // those of the subscriber
}

// timeouts are those of a subscription (§9.2.2.2, draft-18 §8); 0: none.
type timeouts struct{ object, subgroup time.Duration }

// and is the smaller of both sides' timeouts.
func (t timeouts) and(o timeouts) timeouts {
	smaller := func(a, b time.Duration) time.Duration {
		if a == 0 || b == 0 {
			return a + b
		}
		return min(a, b)
	}
	return timeouts{smaller(t.object, o.object), smaller(t.subgroup, o.subgroup)}
}

// instead puts those of a subgroup in the place of the track's.
func (t timeouts) instead(own wire.SubgroupTimeouts) timeouts {
	if own.HasObject {
		t.object = duration(own.Object)
	}
	if own.HasSubgroup {
		t.subgroup = duration(own.Subgroup)
	}
	return t
}

// Wants reports whether an object passes the filter.
func (s PublicationState) Wants(l Location) bool {
	return !l.Less(s.Start) && !(Location{Group: s.EndGroup, Object: s.EndObject}).Less(l)
}

// resolve computes start and end of the filter for a track whose largest object is known (§5.1.2).
func (s *PublicationState) resolve(largest *Location) {
	var last Location
	s.Start, last = bounds(s.Filter, largest)
	s.EndGroup, s.EndObject = last.Group, last.Object
}

// openEnd is the last location of a range that has no end.
var openEnd = Location{Group: math.MaxUint64, Object: math.MaxUint64}

// bounds are the first and last location that pass a filter, for a track whose largest object is known.
func bounds(f Filter, largest *Location) (start, last Location) {
	last = openEnd
	if f.Type == wire.FilterRelativeStart && f.Groups == 0 {
		f.Type = wire.FilterNextGroupStart
	}
	switch f.Type {
	case wire.FilterNextGroupStart:
		if largest != nil {
			start = Location{Group: min(largest.Group, openEnd.Group-1) + 1}
		}
	case wire.FilterRelativeStart:
		if largest != nil {
			start = Location{Group: largest.Group - min(f.Groups-1, largest.Group)}
		}
	case wire.FilterLargestObject:
		if largest != nil {
			start = Location{Group: largest.Group, Object: min(largest.Object, openEnd.Object-1) + 1}
		}
	case wire.FilterAbsoluteStart:
		start = f.Start
	case wire.FilterAbsoluteRange:
		start, last.Group = f.Start, f.EndGroup
	case wire.FilterObjectRange:
		start, last = f.Start, Location{Group: f.EndGroup, Object: f.EndObject}
	}
	return start, last
}

// limit sets the timeouts of the subscription for those of the track.
func (s *PublicationState) limit(track timeouts) {
	t := s.asked.and(track)
	s.DeliveryTimeout, s.SubgroupTimeout = t.object, t.subgroup
}

// apply takes over the parameters of a request or update.
func (s *PublicationState) apply(p wire.Parameters) {
	if p.Forward != nil {
		s.Forward = *p.Forward
	}
	if p.SubscriberPriority != nil {
		s.Priority = *p.SubscriberPriority
	}
	if p.GroupOrder != wire.GroupOrderDefault {
		s.GroupOrder = p.GroupOrder
	}
	if p.SubscriptionFilter != nil {
		s.Filter = *p.SubscriptionFilter
	}
	if p.DeliveryTimeout > 0 || p.NoDeliveryTimeout {
		s.asked.object = duration(p.DeliveryTimeout)
	}
	if p.SubgroupDeliveryTimeout != nil {
		s.asked.subgroup = duration(*p.SubgroupDeliveryTimeout)
	}
	s.limit(timeouts{})
	if p.NewGroupRequest != nil {
		s.NewGroup = p.NewGroupRequest
	}
}
