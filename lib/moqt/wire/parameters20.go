package wire

// Message parameter types of draft 20 besides those of draft 18 (draft-20 §10.2); those of range filters came with draft 19.
const (
	paramFill              = 0x23
	paramSubgroupFilter    = 0x25 // this and the next four are the range filters
	paramObjectFilter      = 0x26
	paramPriorityFilter    = 0x27
	paramPropertyFilter    = 0x28
	paramTrackFilter       = 0x29
	paramIncludeProperties = 0x35
)

// inFill stands for FILL_PARAMETERS among the messages that may carry a parameter: its value is a scope of its own.
const inFill = 1 << 32

// parameters20 are the parameters of draft 20. SUBSCRIBE_TRACKS (0x51) takes those of SUBSCRIBE that a PUBLISH can pass on (draft-20
// §10.20.1).
var parameters20 = map[uint64]parameterForm{
	paramDeliveryTimeout:         {asVarint, []uint64{0x03, 0x1d, 0x02, 0x51}},
	paramAuthorizationToken:      {asBytes, []uint64{0x1d, 0x03, 0x02, 0x11, 0x51, 0x06, 0x0d, 0x16}},
	paramRendezvousTimeout:       {asVarint, []uint64{0x03}},
	paramSubgroupDeliveryTimeout: {asVarint, []uint64{0x03, 0x1d, 0x02, 0x51}},
	paramExpires:                 {asVarint, []uint64{0x04, 0x1d, 0x07}},
	paramLargestObject:           {asLocation, []uint64{0x04, 0x1d, 0x07, 0x22}},
	paramFillTimeout:             {asVarint, []uint64{0x16, inFill}},
	paramForward:                 {asByte, []uint64{0x03, 0x02, 0x1d, 0x51, 0x22}},
	paramSubscriberPriority:      {asByte, []uint64{0x03, 0x1d, 0x16, 0x02, 0x51, inFill}},
	paramLocationFilter:          {asBytes, []uint64{0x16, 0x03, 0x1d, 0x02, 0x22, 0x51, inFill}},
	paramGroupOrder:              {asByte, []uint64{0x03, 0x1d, 0x51, 0x16, inFill}},
	paramFill:                    {asBytes, []uint64{0x03, 0x02, 0x51}},
	paramSubgroupFilter:          {asBytes, rangeFiltered},
	paramObjectFilter:            {asBytes, rangeFiltered},
	paramPriorityFilter:          {asBytes, rangeFiltered},
	paramPropertyFilter:          {asBytes, rangeFiltered},
	paramTrackFilter:             {asBytes, []uint64{0x51, 0x02}},
	paramNewGroupRequest:         {asVarint, []uint64{0x03, 0x02}},
	paramNamespacePrefix:         {asNamespace, []uint64{0x02}},
	paramIncludeProperties:       {asByte, []uint64{0x03, 0x0d, 0x16, 0x51}},
}

var rangeFiltered = []uint64{0x16, 0x03, 0x51, 0x02, inFill}

// isRangeFilter reports whether a parameter type is that of a range filter.
func isRangeFilter(t uint64) bool { return paramSubgroupFilter <= t && t <= paramTrackFilter }

// fill reads the value of FILL_PARAMETERS: parameters as in a message. A count comes first, which draft-20 §10.2.15 does not say, but
// all who wrote it so far do.
func (r *reader) fill(value []byte) *Parameters {
	sub := newReader(value, r.v)
	sub.typ = inFill
	p := sub.parameters()
	if err := sub.done("fill parameters"); err != nil {
		r.fail(violation("%v", err))
	}
	return &p
}

func (w *writer) fill(p Parameters) []byte {
	sub := newWriter(nil, w.v)
	sub.typ = inFill
	sub.parameters(p)
	if sub.err != nil {
		w.fail(sub.err)
	}
	return sub.b
}
