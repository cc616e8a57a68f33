package wire

import "fmt"

// Bits of the type of a datagram (§10.3.1): 0b00X0XXXX.
const (
	datagramProperties      = 0x01
	datagramEndOfGroup      = 0x02
	datagramZeroObjectID    = 0x04
	datagramDefaultPriority = 0x08
	datagramStatus          = 0x20
)

// Datagram is OBJECT_DATAGRAM (§10.3.1).
type Datagram struct {
	TrackAlias uint64
	Group      uint64
	ID         uint64
	Priority   *uint8 // nil: the track's default
	Properties []byte
	EndOfGroup bool
	HasStatus  bool // Status instead of Payload
	Status     ObjectStatus
	Payload    []byte
}

// Append writes the datagram.
func (d Datagram) Append(b []byte, v Version) ([]byte, error) {
	w := newWriter(b, v)
	var t uint64
	if len(d.Properties) > 0 {
		t |= datagramProperties
	}
	if d.EndOfGroup {
		t |= datagramEndOfGroup
	}
	if d.ID == 0 {
		t |= datagramZeroObjectID
	}
	if d.Priority == nil {
		t |= datagramDefaultPriority
	}
	if d.HasStatus {
		t |= datagramStatus
		if d.EndOfGroup {
			return b, fmt.Errorf("status datagram with end of group: %w", ErrValue)
		}
	}
	w.varint(t)
	w.varint(d.TrackAlias)
	w.varint(d.Group)
	if d.ID != 0 {
		w.varint(d.ID)
	}
	if d.Priority != nil {
		w.byte(*d.Priority)
	}
	if len(d.Properties) > 0 {
		w.objectProperties(d.Properties)
	}
	if d.HasStatus {
		w.varint(uint64(d.Status))
	} else {
		w.b = append(w.b, d.Payload...)
	}
	return w.b, w.err
}

// IsPaddingDatagram reports whether a datagram carries nothing (draft-18 §11.5.2).
func IsPaddingDatagram(b []byte, v Version) bool {
	t, n := drafts[v].varint.parse(b)
	return n > 0 && t == 0x132b3e29 && drafts[v].padding
}

// ParseDatagram decodes a whole datagram; Properties and Payload alias b.
func ParseDatagram(b []byte, v Version) (d Datagram, err error) {
	r := newReader(b, v)
	t := r.varint("type")
	if r.err == nil && (t&^0x2f != 0 || t&(datagramStatus|datagramEndOfGroup) == datagramStatus|datagramEndOfGroup) {
		return d, violation("datagram type %#x", t)
	}
	d.TrackAlias = r.varint("track alias")
	d.Group = r.varint("group id")
	if t&datagramZeroObjectID == 0 {
		d.ID = r.varint("object id")
	}
	if t&datagramDefaultPriority == 0 {
		p := r.byte("publisher priority")
		d.Priority = &p
	}
	if t&datagramProperties != 0 {
		d.Properties = r.lengthBytes(MaxVarint, "properties")
		if r.err == nil && len(d.Properties) == 0 {
			r.fail(violation("properties bit with no properties"))
		}
		if r.err == nil {
			if d.Properties, err = heldObjectProperties(d.Properties, v); err != nil {
				return d, err
			}
		}
	}
	d.EndOfGroup = t&datagramEndOfGroup != 0
	if t&datagramStatus != 0 {
		d.HasStatus = true
		d.Status = ObjectStatus(r.varint("object status"))
		if r.err == nil && !d.Status.Valid() {
			r.fail(violation("object status %#x", uint64(d.Status)))
		}
		if r.err == nil && d.Status != StatusNormal && len(d.Properties) > 0 {
			r.fail(violation("properties on an object with status %v", d.Status)) // §10.2.1.2
		}
	} else {
		d.Payload = r.rest()
	}
	return d, r.done("datagram")
}
