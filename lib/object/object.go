package object

// Status tells a real object from a statement about what does not follow
// (draft-ietf-moq-transport-16 §10.2.1.1).
type Status uint64

const (
	Normal     Status = 0x0
	EndOfGroup Status = 0x3 // no object with this id or a greater one in the group: the group is whole
	EndOfTrack Status = 0x4 // nothing at or after this location in the track
)

func (s Status) String() string {
	switch s {
	case Normal:
		return "normal"
	case EndOfGroup:
		return "end of group"
	case EndOfTrack:
		return "end of track"
	}
	return "unknown status"
}

// Object is the smallest addressable unit of a track. Its identity is (track, Group, ID).
type Object struct {
	Group    uint64
	Subgroup uint64
	ID       uint64
	Priority uint8 // publisher priority, 0 is the most urgent
	Status   Status

	// Properties are key-value pairs as draft-16 writes them (docs/format/properties.md).
	Properties []byte
	Payload    []byte // empty unless Status is Normal
}
