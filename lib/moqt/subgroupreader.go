package moqt

import (
	"errors"
	"fmt"

	"every.channel/ec/lib/moqt/wire"
)

// SubgroupHeader is what a subgroup stream begins with (§10.4.2).
type SubgroupHeader struct {
	Group    uint64
	Subgroup uint64
	// SubgroupFromFirst: the subgroup's id is the id of its first object. On reading, Subgroup is valid from the
	// first Next on.
	SubgroupFromFirst bool
	// Priority of the publisher, lower first; nil: the track's default.
	Priority *uint8
	// EndOfGroup: the last object before FIN is the last of its group.
	EndOfGroup bool
	// HasProperties: objects may carry properties.
	HasProperties bool
	// FirstObject: the stream begins with the first object ever published in its subgroup. Object 0 is one, so a publisher
	// has to say so only if it begins with another. Draft 16 does not tell: then it is false.
	FirstObject bool
}

// ObjectHeader is what precedes the payload of an object in a subgroup.
type ObjectHeader struct {
	ID         uint64
	Properties []byte // key-value-pairs, valid until the next call of Next
	Status     ObjectStatus
	Size       uint64 // of the payload
}

// SubgroupReader reads the objects of one subgroup stream. It is not for concurrent use, except Cancel.
type SubgroupReader struct {
	objectReader
	sub   *Subscription
	alias uint64
	h     SubgroupHeader
	prev  uint64
	some  bool // an object was read
}

// Header is the subgroup's header.
func (r *SubgroupReader) Header() SubgroupHeader { return r.h }

// Priority is the publisher priority in force: the header's or else the track's.
func (r *SubgroupReader) Priority() uint8 {
	if r.h.Priority != nil {
		return *r.h.Priority
	}
	return r.sub.props.Priority
}

// Next skips what is left of the current payload and returns the next object's header. io.EOF is FIN: the subgroup
// is whole. *StreamResetError: the rest will not come on this stream.
func (r *SubgroupReader) Next() (ObjectHeader, error) {
	var o wire.SubgroupObject
	err := r.next(func(b []byte) (n int, err error) {
		var prev *uint64
		if r.some {
			prev = &r.prev
		}
		o, n, err = wire.ParseSubgroupObject(b, r.s.v, prev, r.h.HasProperties, r.s.cfg.MaxPropertiesSize)
		if errors.Is(err, wire.ErrLimit) {
			r.s.count.limit(limitPropertiesSize)
		}
		return n, err
	})
	if err != nil {
		if errors.Is(err, wire.ErrMalformedTrack) {
			r.sub.malformed(err)
		}
		return ObjectHeader{}, err
	}
	if err := r.check(o); err != nil {
		return ObjectHeader{}, r.stop(err)
	}
	r.s.count.add(cObjects+received, 1)
	if r.s.qlog != nil {
		var prev *uint64
		if r.some {
			prev = &r.prev
		}
		r.s.qlog.subgroupObject(false, r.id, prev, o)
	}
	if !r.some && r.h.SubgroupFromFirst {
		r.h.Subgroup = o.ID
	}
	r.prev, r.some, r.left = o.ID, true, o.Length
	return ObjectHeader{ID: o.ID, Properties: o.Properties, Status: o.Status, Size: o.Length}, nil
}

func (r *SubgroupReader) check(o wire.SubgroupObject) error {
	if len(o.Properties) > 0 {
		if o.Status != wire.StatusNormal {
			return violation("properties on an object with status %v", o.Status) // §10.2.1.2
		}
		if err := wire.CheckKeyValues(o.Properties, wire.PropertyForm); err != nil {
			return violation("object properties: %v", err)
		}
	}
	if o.Length > r.s.cfg.MaxObjectSize {
		r.s.count.limit(limitObjectSize)
		return fmt.Errorf("object of %d bytes: %w", o.Length, wire.ErrLimit)
	}
	return nil
}

// Cancel sends STOP_SENDING. Every reader must be read to an error or cancelled, else it keeps its stream credit.
func (r *SubgroupReader) Cancel(code ResetCode) { r.cancel(code) }
