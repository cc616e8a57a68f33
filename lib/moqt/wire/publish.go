package wire

import "every.channel/ec/lib/object"

// Publish is PUBLISH (§9.13).
type Publish struct {
	RequestID  uint64
	Track      object.TrackName
	TrackAlias uint64
	Parameters Parameters
	Properties []byte // track properties (§10): key-value-pairs
}

// Type returns the message type.
func (*Publish) Type() uint64 { return 0x1d }

func (m *Publish) append(w *writer) {
	w.varint(m.RequestID)
	w.trackName(m.Track)
	w.varint(m.TrackAlias)
	w.parameters(m.Parameters)
	w.properties(m.Properties)
}

func (m *Publish) parse(r *reader) {
	m.RequestID = r.varint("request id")
	m.Track = r.trackName()
	m.TrackAlias = r.varint("track alias")
	m.Parameters = r.parameters()
	m.Properties = r.trackProperties()
}
