package wire

// ObjectStatus says what an object without payload stands for (§10.2.1.1).
type ObjectStatus uint64

// Object statuses.
const (
	StatusNormal ObjectStatus = 0
	// StatusEndOfGroup: no object with this or a larger id exists in the group.
	StatusEndOfGroup ObjectStatus = 3
	// StatusEndOfTrack: no object at this or a larger location exists in the track.
	StatusEndOfTrack ObjectStatus = 4
)

// String names the status.
func (s ObjectStatus) String() string {
	switch s {
	case StatusNormal:
		return "normal"
	case StatusEndOfGroup:
		return "end of group"
	case StatusEndOfTrack:
		return "end of track"
	}
	return "unknown"
}

// Valid reports whether the draft defines s.
func (s ObjectStatus) Valid() bool {
	return s == StatusNormal || s == StatusEndOfGroup || s == StatusEndOfTrack
}
