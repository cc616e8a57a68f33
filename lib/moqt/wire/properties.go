package wire

import "fmt"

// Property types of the draft (§11, §14.3).
const (
	PropertyDeliveryTimeout   uint64 = 0x02 // track, milliseconds; object from draft 19 on
	PropertyMaxCacheDuration  uint64 = 0x04 // track, milliseconds
	PropertySubgroupTimeout   uint64 = 0x06 // track, milliseconds; from draft 18 on; object from draft 19 on
	PropertyImmutable         uint64 = 0x0b // track, object: key-value-pairs
	PropertyDefaultPriority   uint64 = 0x0e // track, 0–255
	PropertyDefaultGroupOrder uint64 = 0x22 // track
	PropertyDynamicGroups     uint64 = 0x30 // track, 0 or 1
	PropertyPriorGroupIDGap   uint64 = 0x3c // object
	PropertyPriorObjectIDGap  uint64 = 0x3e // object
)

// TrackProperties are the track properties that shape delivery (§11). All others are passed on unseen.
type TrackProperties struct {
	DeliveryTimeout uint64 // milliseconds; 0: none
	SubgroupTimeout uint64 // milliseconds; 0: none. From draft 18 on
	MaxCache        *uint64
	Priority        uint8 // DefaultPriority if absent
	GroupOrder      GroupOrder
	DynamicGroups   bool
}

// ParseTrackProperties reads the known properties of a block, checking their values by draft v.
func ParseTrackProperties(b []byte, v Version) (TrackProperties, error) {
	p := TrackProperties{Priority: 128, GroupOrder: GroupOrderAscending}
	kvs, err := heldPairs(b)
	if err != nil {
		return p, err
	}
	for _, kv := range kvs {
		switch x := kv.Value; kv.Type {
		case PropertyDeliveryTimeout:
			if x == 0 && !drafts[v].requestStreams {
				return p, violation("delivery timeout 0")
			}
			p.DeliveryTimeout = x
		case PropertySubgroupTimeout:
			if drafts[v].requestStreams {
				p.SubgroupTimeout = x
			}
		case PropertyMaxCacheDuration:
			p.MaxCache = &x
		case PropertyDefaultPriority:
			if x > 255 {
				return p, violation("default publisher priority %d", x)
			}
			p.Priority = uint8(x)
		case PropertyDefaultGroupOrder:
			if x != 1 && x != 2 {
				return p, violation("default publisher group order %d", x)
			}
			p.GroupOrder = GroupOrder(x)
		case PropertyDynamicGroups:
			if x > 1 {
				return p, violation("dynamic groups %d", x)
			}
			p.DynamicGroups = x == 1
		}
	}
	return p, nil
}

// SubgroupTimeouts are the timeouts that a subgroup has in place of its track's, in milliseconds (draft-19 §8).
type SubgroupTimeouts struct {
	Object, Subgroup       uint64
	HasObject, HasSubgroup bool
}

// ParseSubgroupTimeouts reads them from the properties of a subgroup's first object, without allocating.
func ParseSubgroupTimeouts(held []byte) (t SubgroupTimeouts) {
	r := reader{b: held, v: PropertyForm, vi: drafts[PropertyForm].varint}
	for typ := uint64(0); len(r.b) > 0 && typ < PropertySubgroupTimeout; {
		kv := r.keyValue(typ)
		typ = kv.Type
		switch {
		case r.err != nil:
			return SubgroupTimeouts{}
		case typ == PropertyDeliveryTimeout:
			t.Object, t.HasObject = kv.Value, true
		case typ == PropertySubgroupTimeout:
			t.Subgroup, t.HasSubgroup = kv.Value, true
		}
	}
	return t
}

// Properties of tracks from the first to before the end are mandatory.
const (
	firstMandatory = 0x4000
	endMandatory   = 0x8000
)

// MandatoryProperty finds a track property that only those may use who understand it, of which this package knows none
// (draft-18 §2.5.1).
func MandatoryProperty(b []byte, v Version) (t uint64, ok bool) {
	if !drafts[v].requestStreams || len(b) == 0 {
		return 0, false
	}
	kvs, _ := heldPairs(b)
	for _, kv := range kvs {
		if kv.Type >= firstMandatory && kv.Type < endMandatory {
			return kv.Type, true
		}
	}
	return 0, false
}

// objectProperties takes an object's block of l bytes, at most so many, from the beginning of b, as heldObjectProperties gives it; whole is false if b does not
// have all of them yet.
func objectProperties(b []byte, l, most uint64, v Version) (held []byte, whole bool, err error) {
	if l > most {
		return nil, false, fmt.Errorf("properties of %d bytes: %w", l, ErrLimit)
	}
	if l > uint64(len(b)) {
		return nil, false, nil
	}
	held, err = heldObjectProperties(b[:l:l], v)
	return held, true, err
}

// heldObjectProperties turns an object's block from the wire into PropertyForm. An object that has a property of those that only those may
// use who understand it makes its track malformed, since such properties are tracks' own (draft-18 §2.5.1).
func heldObjectProperties(b []byte, v Version) ([]byte, error) {
	held, err := heldProperties(b, v)
	if err != nil || !drafts[v].requestStreams {
		return held, err
	}
	r := reader{b: held, v: PropertyForm, vi: drafts[PropertyForm].varint}
	for typ := uint64(0); len(r.b) > 0; {
		if typ = r.delta(typ, "key-value type"); r.err != nil || typ >= endMandatory {
			break
		}
		if typ >= firstMandatory {
			return nil, fmt.Errorf("%w: an object with property %#x", ErrMalformedTrack, typ)
		}
		if typ&1 == 0 {
			r.varint("key-value value")
		} else {
			r.lengthBytes(MaxValueLength, "key-value value")
		}
	}
	return held, nil
}

// trackProperties reads the properties that end a message.
func (r *reader) trackProperties() []byte {
	b := r.rest()
	if r.err != nil || len(b) == 0 {
		return nil
	}
	if err := CheckKeyValues(b, r.v); err != nil {
		r.fail(err)
		return nil
	}
	held, err := heldProperties(b, r.v)
	if err != nil {
		r.fail(err)
		return nil
	}
	return append([]byte(nil), held...)
}

func (w *writer) properties(b []byte) {
	if err := CheckKeyValues(b, PropertyForm); err != nil {
		w.fail(err)
		return
	}
	w.sentProperties(b)
}

// PropertyForm is the draft in whose integers every block of properties is held outside of the wire, whatever the draft of
// the session: so a relay passes a block from a session of one draft to one of another without knowing what is in it.
const PropertyForm = Draft16

// sentProperties writes a block in the form of the draft.
func (w *writer) sentProperties(b []byte) {
	if w.v == PropertyForm {
		w.b = append(w.b, b...)
		return
	}
	w.recode(b, PropertyForm)
}

// recode appends pairs written in another form, one integer after the other: types are differences in every form.
func (w *writer) recode(b []byte, from Version) {
	start, all := len(w.b), b
	r := reader{b: b, v: from, vi: drafts[from].varint}
	var typ uint64
	for r.err == nil && len(r.b) > 0 {
		next := r.delta(typ, "key-value type")
		if r.err != nil {
			break
		}
		if next >= PropertyWide {
			if from == PropertyForm && next == PropertyWide {
				w.b = w.b[:start]
				w.unfold(all)
				return
			}
			if w.v == PropertyForm {
				w.fail(fmt.Errorf("property %#x: %w", next, ErrLimit))
				return
			}
		}
		w.varint(next - typ)
		typ = next
		if typ&1 == 0 {
			w.varint(r.varint("key-value value"))
		} else {
			w.lengthBytes(r.lengthBytes(MaxValueLength, "key-value value"))
		}
	}
	if r.err != nil {
		w.fail(fmt.Errorf("properties: %w: %w", ErrValue, r.err))
	}
}

// objectProperties writes a block with its length. What cannot be read as pairs is the caller's mistake and left out.
func (w *writer) objectProperties(b []byte) {
	if w.v == PropertyForm || len(b) == 0 {
		w.lengthBytes(b)
		return
	}
	at := len(w.b)
	if w.recode(b, PropertyForm); w.err != nil {
		w.b = w.b[:at]
	}
	n := len(w.b) - at
	size := w.vi.size(uint64(n))
	w.b = append(w.b, make([]byte, size)...)
	copy(w.b[at+size:], w.b[at:at+n])
	w.vi.append(w.b[:at], uint64(n))
}

// heldProperties turns a block from the wire into PropertyForm.
func heldProperties(b []byte, v Version) ([]byte, error) {
	if v == PropertyForm || len(b) == 0 {
		return b, nil
	}
	if err := CheckKeyValues(b, v); err != nil {
		return nil, err
	}
	w := writer{b: make([]byte, 0, len(b)+len(b)/4), v: PropertyForm, vi: drafts[PropertyForm].varint}
	if w.recode(b, v); w.err != nil {
		return wideProperties(b, v)
	}
	return w.b, nil
}
