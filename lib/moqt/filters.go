package moqt

import "every.channel/ec/lib/moqt/wire"

// maxFilterRanges is how many ranges the filters of one request of the peer may have in all (MAX_FILTER_RANGES, draft-19 §10.3.1.6).
const maxFilterRanges uint64 = 64

// sieve is what a subscription or fetch filters besides groups; nil lets everything through.
type sieve struct {
	ranges wire.RangeFilters
	last   Location // of the location filter
}

func (s *sieve) passes(l Location, o wire.Ranged) bool {
	return s == nil || !s.last.Less(l) && s.ranges.PassesObject(o)
}

// passesFetched is passes for an object of a fetch. It is apart because what it is called with goes to the heap.
func (s *sieve) passesFetched(o FetchObject) bool {
	r := wire.Ranged{ID: o.ID, Priority: o.Priority, Properties: o.Properties}
	if !o.Datagram {
		r.Subgroup = &o.Subgroup
	}
	return s.passes(Location{Group: o.Group, Object: o.ID}, r)
}

// newSieve is that of range filters and a last location.
func newSieve(ranges wire.RangeFilters, last Location) *sieve {
	if last.Object == openEnd.Object { // groups are the publisher's business
		last = openEnd
	}
	if ranges.None() && last == openEnd {
		return nil
	}
	return &sieve{ranges, last}
}

// readFilters reads range filters of the peer.
func (s *Session) readFilters(list []wire.KeyValue) (wire.RangeFilters, *RequestError) {
	f, err := wire.ParseRangeFilters(list, s.v, maxFilterRanges)
	if err != nil {
		return f, &RequestError{Code: wire.RequestInvalidFilter, Reason: err.Error()}
	}
	return f, nil
}

// checkFilters says what is wrong with the range filters of a request.
func (s *Session) checkFilters(p wire.Parameters) *RequestError {
	_, refusal := s.readFilters(p.RangeFilters)
	if refusal == nil && p.Fill != nil {
		_, refusal = s.readFilters(p.Fill.RangeFilters)
	}
	return refusal
}

// sift makes the filters of a publication those that it has after some parameters; mu is held. They were checked, but with those that
// were there before they may be too many.
func (p *Publication) sift(params wire.Parameters) *RequestError {
	list := wire.ReplaceRangeFilters(p.filters, params.RangeFilters)
	ranges, refusal := p.s.readFilters(list)
	if refusal != nil {
		return refusal
	}
	p.filters = list
	p.sieve.Store(newSieve(ranges, Location{Group: p.state.EndGroup, Object: p.state.EndObject}))
	return nil
}
