package wire

import "every.channel/ec/lib/object"

// Subscribe is SUBSCRIBE (§9.9).
type Subscribe struct {
	RequestID  uint64
	Track      object.TrackName
	Parameters Parameters
}

// Type returns the message type.
func (*Subscribe) Type() uint64 { return 0x03 }

func (m *Subscribe) append(w *writer) {
	w.varint(m.RequestID)
	w.trackName(m.Track)
	w.parameters(m.Parameters)
}

func (m *Subscribe) parse(r *reader) {
	m.RequestID = r.varint("request id")
	m.Track = r.trackName()
	m.Parameters = r.parameters()
}
