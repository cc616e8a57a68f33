package wire

import "slices"

// Message parameter types of draft 18 besides those of draft 16 (draft-18 §10.2).
const (
	paramRendezvousTimeout       = 0x04
	paramSubgroupDeliveryTimeout = 0x06
	paramFillTimeout             = 0x0a
	paramNamespacePrefix         = 0x34
)

// parameterForm says how a parameter's value is written and which messages may carry it (draft-18 §10.2, §10.2.1).
type parameterForm struct {
	value    parameterValue
	messages []uint64 // by Message.Type
}

type parameterValue uint8

const (
	asVarint parameterValue = iota
	asByte
	asLocation
	asBytes // with a length before
	asNamespace
	asFilter // which says where it ends
)

// parameters18 are the parameters of draft 18. REQUEST_OK (0x07) stands for the answers to all requests, among them
// PUBLISH_OK, whose own number is 0x1e.
var parameters18 = map[uint64]parameterForm{
	paramDeliveryTimeout:         {asVarint, []uint64{0x03, 0x02, 0x07, 0x1e}},
	paramAuthorizationToken:      {asBytes, []uint64{0x1d, 0x03, 0x02, 0x11, 0x51, 0x06, 0x0d, 0x16}},
	paramRendezvousTimeout:       {asVarint, []uint64{0x03}},
	paramSubgroupDeliveryTimeout: {asVarint, []uint64{0x03, 0x02, 0x07, 0x1e}},
	paramExpires:                 {asVarint, []uint64{0x04, 0x1d, 0x07, 0x1e}},
	paramLargestObject:           {asLocation, []uint64{0x04, 0x1d, 0x07}},
	paramFillTimeout:             {asVarint, []uint64{0x16}},
	paramForward:                 {asByte, []uint64{0x03, 0x02, 0x1d, 0x07, 0x1e, 0x51}},
	paramSubscriberPriority:      {asByte, []uint64{0x03, 0x16, 0x02, 0x07, 0x1e}},
	paramLocationFilter:          {asBytes, []uint64{0x03, 0x02, 0x07, 0x1e}},
	paramGroupOrder:              {asByte, []uint64{0x03, 0x16, 0x07, 0x1e}},
	paramNewGroupRequest:         {asVarint, []uint64{0x03, 0x02, 0x07, 0x1e}},
	paramNamespacePrefix:         {asNamespace, []uint64{0x02}},
}

// typedParameter reads one parameter of type t into the form of a key-value-pair, whose bytes alias the input.
func (r *reader) typedParameter(t uint64) KeyValue {
	kv := KeyValue{Type: t}
	f, ok := drafts[r.v].typedParameters[t]
	if !ok {
		r.fail(violation("unknown parameter %#x", t)) // its length cannot be known
		return kv
	}
	if !slices.Contains(f.messages, r.typ) {
		r.fail(violation("parameter %#x in message %#x", t, r.typ))
		return kv
	}
	start := r.b
	value := f.value
	if value == asByte && r.wideBytes {
		value = asVarint
	}
	switch value {
	case asVarint:
		kv.Value = r.varint("parameter value")
	case asByte:
		kv.Value = uint64(r.byte("parameter value"))
	case asLocation:
		r.location("parameter value")
		kv.Bytes = start[:len(start)-len(r.b)]
	case asBytes:
		kv.Bytes = r.lengthBytes(MaxValueLength, "parameter value")
	case asNamespace:
		r.trackNamespace(0)
		kv.Bytes = start[:len(start)-len(r.b)]
	case asFilter:
		drafts[r.v].filters.parse(r)
		kv.Bytes = start[:len(start)-len(r.b)]
	}
	return kv
}

// typedParameters writes pairs, which are in ascending order of type.
func (w *writer) typedParameters(kvs []KeyValue) {
	var prev uint64
	for _, kv := range kvs {
		f, ok := drafts[w.v].typedParameters[kv.Type]
		if !ok || !slices.Contains(f.messages, w.typ) {
			w.fail(errParameter(kv.Type, w.typ))
			return
		}
		w.varint(kv.Type - prev)
		prev = kv.Type
		switch f.value {
		case asVarint:
			w.varint(kv.Value)
		case asByte:
			w.byte(byte(kv.Value))
		case asLocation, asNamespace, asFilter:
			w.b = append(w.b, kv.Bytes...)
		case asBytes:
			w.lengthBytes(kv.Bytes)
		}
	}
}
