package wire

// TrackStatus is TRACK_STATUS, laid out like SUBSCRIBE (§9.19).
type TrackStatus struct{ Subscribe }

// Type returns the message type.
func (*TrackStatus) Type() uint64 { return 0x0d }
