package wire

import (
	"bytes"
	"fmt"
	"slices"

	"every.channel/ec/lib/object"
)

// Message parameter types (§9.2.2, §14.2).
const (
	paramDeliveryTimeout    = 0x02
	paramAuthorizationToken = 0x03
	paramExpires            = 0x08
	paramLargestObject      = 0x09
	paramForward            = 0x10
	paramSubscriberPriority = 0x20
	paramLocationFilter     = 0x21
	paramGroupOrder         = 0x22
	paramNewGroupRequest    = 0x32
)

// Parameters are the message parameters (§9.2.2). A nil or zero field is absent.
type Parameters struct {
	DeliveryTimeout    uint64 // milliseconds; 0: absent, and forbidden on the wire of draft 16. OBJECT_DELIVERY_TIMEOUT from draft 18 on
	Tokens             []Token
	Expires            *uint64 // milliseconds
	LargestObject      *Location
	Forward            *bool
	SubscriberPriority *uint8
	SubscriptionFilter *Filter
	GroupOrder         GroupOrder
	NewGroupRequest    *uint64

	// From draft 18 on.
	NoDeliveryTimeout       bool // DeliveryTimeout is there with value 0: none any more
	RendezvousTimeout       *uint64
	SubgroupDeliveryTimeout *uint64
	FillTimeout             *uint64
	NamespacePrefix         *object.Namespace // in REQUEST_UPDATE of a namespace subscription

	// From draft 20 on; range filters came with 19.
	Fill              *Parameters // FILL_PARAMETERS: what came before a subscription is wanted, too
	RangeFilters      []KeyValue  // as on the wire; ParseRangeFilters reads them
	IncludeProperties *bool

	// Unknown types: a session must be closed for them with PROTOCOL_VIOLATION unless they were negotiated (§9.2).
	Unknown []KeyValue
}

// parameters reads Number of Parameters and that many pairs.
func (r *reader) parameters() (p Parameters) {
	n := r.varint("parameter count")
	var prev uint64
	typed := drafts[r.v].typedParameters != nil
	for i := uint64(0); i < n && r.err == nil; i++ {
		var kv KeyValue
		if typed {
			kv = r.typedParameter(r.delta(prev, "parameter type"))
		} else {
			kv = r.keyValue(prev)
		}
		if r.err != nil {
			break
		}
		again := i > 0 && kv.Type == prev
		prev = kv.Type
		if again && (typed || p.known(kv.Type)) && kv.Type != paramAuthorizationToken && !isRangeFilter(kv.Type) {
			r.fail(violation("parameter %#x twice", kv.Type))
			break
		}
		p.set(r, kv)
	}
	return p
}

func (*Parameters) known(t uint64) bool {
	switch t {
	case paramDeliveryTimeout, paramAuthorizationToken, paramExpires, paramLargestObject, paramForward,
		paramSubscriberPriority, paramLocationFilter, paramGroupOrder, paramNewGroupRequest:
		return true
	}
	return false
}

func (p *Parameters) set(r *reader, kv KeyValue) {
	v := kv.Value
	if drafts[r.v].typedParameters != nil {
		switch kv.Type {
		case paramDeliveryTimeout:
			p.DeliveryTimeout, p.NoDeliveryTimeout = v, v == 0
			return
		case paramRendezvousTimeout:
			p.RendezvousTimeout = &v
			return
		case paramSubgroupDeliveryTimeout:
			p.SubgroupDeliveryTimeout = &v
			return
		case paramFillTimeout:
			p.FillTimeout = &v
			return
		case paramNamespacePrefix:
			ns := newReader(kv.Bytes, r.v).trackNamespace(0) // read before without error
			p.NamespacePrefix = &ns
			return
		case paramFill:
			p.Fill = r.fill(kv.Bytes)
			return
		case paramIncludeProperties:
			if v > 1 {
				r.fail(violation("include properties %d", v))
			}
			with := v == 1
			p.IncludeProperties = &with
			return
		}
		if isRangeFilter(kv.Type) {
			p.RangeFilters = append(p.RangeFilters, KeyValue{Type: kv.Type, Bytes: bytes.Clone(kv.Bytes)})
			return
		}
	}
	switch kv.Type {
	case paramDeliveryTimeout:
		if v == 0 {
			r.fail(violation("delivery timeout 0"))
		}
		p.DeliveryTimeout = v
	case paramAuthorizationToken:
		t, err := ParseToken(kv.Bytes, r.v)
		if err != nil {
			r.fail(err)
		}
		p.Tokens = append(p.Tokens, t)
	case paramExpires:
		p.Expires = &v
	case paramLargestObject:
		sub := newReader(kv.Bytes, r.v)
		l := sub.location("largest object")
		if err := sub.done("largest object parameter"); err != nil {
			r.fail(badKeyValue("%v", err)) // §1.4.2: value does not match the type
		}
		p.LargestObject = &l
	case paramForward:
		if v > 1 {
			r.fail(violation("forward %d", v))
		}
		f := v == 1
		p.Forward = &f
	case paramSubscriberPriority:
		if v > 255 {
			r.fail(violation("subscriber priority %d", v))
		}
		pr := uint8(v)
		p.SubscriberPriority = &pr
	case paramLocationFilter:
		sub := newReader(kv.Bytes, r.v)
		f := drafts[r.v].filters.parse(sub)
		if err := sub.done("subscription filter"); err != nil {
			r.fail(violation("%v", err)) // §9.2.2.5
		}
		p.SubscriptionFilter = &f
	case paramGroupOrder:
		if v != 1 && v != 2 {
			r.fail(violation("group order %d", v))
		}
		p.GroupOrder = GroupOrder(v)
	case paramNewGroupRequest:
		p.NewGroupRequest = &v
	default:
		p.Unknown = append(p.Unknown, KeyValue{kv.Type, kv.Value, append([]byte(nil), kv.Bytes...)})
	}
}

// parameters writes Number of Parameters and the pairs.
func (w *writer) parameters(p Parameters) {
	var kvs []KeyValue
	add := func(t, v uint64, b []byte) { kvs = append(kvs, KeyValue{t, v, b}) }
	typed := drafts[w.v].typedParameters != nil
	if p.DeliveryTimeout > 0 || typed && p.NoDeliveryTimeout {
		add(paramDeliveryTimeout, p.DeliveryTimeout, nil)
	}
	if typed {
		number := func(t uint64, x *uint64) {
			if x != nil {
				add(t, *x, nil)
			}
		}
		number(paramRendezvousTimeout, p.RendezvousTimeout)
		number(paramSubgroupDeliveryTimeout, p.SubgroupDeliveryTimeout)
		number(paramFillTimeout, p.FillTimeout)
		if p.NamespacePrefix != nil {
			sub := newWriter(nil, w.v)
			sub.namespace(*p.NamespacePrefix, 0)
			if sub.err != nil {
				w.fail(sub.err)
			}
			add(paramNamespacePrefix, 0, sub.b)
		}
		if p.Fill != nil {
			add(paramFill, 0, w.fill(*p.Fill))
		}
		if p.IncludeProperties != nil {
			add(paramIncludeProperties, bit(*p.IncludeProperties), nil)
		}
		kvs = append(kvs, p.RangeFilters...)
	}
	for _, t := range p.Tokens {
		add(paramAuthorizationToken, 0, t.Append(nil, w.v))
	}
	if p.Expires != nil {
		add(paramExpires, *p.Expires, nil)
	}
	if p.LargestObject != nil {
		sub := newWriter(nil, w.v)
		sub.location(*p.LargestObject)
		if sub.err != nil {
			w.fail(sub.err)
		}
		add(paramLargestObject, 0, sub.b)
	}
	if p.Forward != nil {
		add(paramForward, bit(*p.Forward), nil)
	}
	if p.SubscriberPriority != nil {
		add(paramSubscriberPriority, uint64(*p.SubscriberPriority), nil)
	}
	if p.SubscriptionFilter != nil {
		sub := newWriter(nil, w.v)
		drafts[w.v].filters.append(sub, *p.SubscriptionFilter)
		if sub.err != nil {
			w.fail(sub.err)
		}
		add(paramLocationFilter, 0, sub.b)
	}
	if p.GroupOrder != GroupOrderDefault {
		add(paramGroupOrder, uint64(p.GroupOrder), nil)
	}
	if p.NewGroupRequest != nil {
		add(paramNewGroupRequest, *p.NewGroupRequest, nil)
	}
	kvs = append(kvs, p.Unknown...)
	w.varint(uint64(len(kvs)))
	if typed {
		slices.SortStableFunc(kvs, byType)
		w.typedParameters(kvs)
		return
	}
	w.keyValues(kvs)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func errParameter(t, message uint64) error {
	return fmt.Errorf("parameter %#x in message %#x: %w", t, message, ErrValue)
}
