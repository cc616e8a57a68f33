package wire

// Property types of the draft (§11, §14.3).
const (
	PropertyDeliveryTimeout   uint64 = 0x02 // track, milliseconds
	PropertyMaxCacheDuration  uint64 = 0x04 // track, milliseconds
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
	MaxCache        *uint64
	Priority        uint8 // DefaultPriority if absent
	GroupOrder      GroupOrder
	DynamicGroups   bool
}

// ParseTrackProperties reads the known properties of a block, checking their values.
func ParseTrackProperties(b []byte, v Version) (TrackProperties, error) {
	p := TrackProperties{Priority: 128, GroupOrder: GroupOrderAscending}
	kvs, err := ParseKeyValues(b, v)
	if err != nil {
		return p, err
	}
	for _, kv := range kvs {
		switch x := kv.Value; kv.Type {
		case PropertyDeliveryTimeout:
			if x == 0 {
				return p, violation("delivery timeout 0")
			}
			p.DeliveryTimeout = x
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
	return append([]byte(nil), b...)
}

func (w *writer) properties(b []byte) {
	if err := CheckKeyValues(b, w.v); err != nil {
		w.fail(err)
		return
	}
	w.b = append(w.b, b...)
}
