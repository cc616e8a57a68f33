package wire

import "every.channel/ec/lib/object"

// SubscribeTracks is SUBSCRIBE_TRACKS: it asks for PUBLISH of the tracks below a prefix (draft-18 §10.17).
type SubscribeTracks struct {
	RequestID  uint64
	Prefix     object.Namespace
	Parameters Parameters
}

// Type returns the message type.
func (*SubscribeTracks) Type() uint64 { return 0x51 }

func (m *SubscribeTracks) append(w *writer) {
	w.varint(m.RequestID)
	w.namespace(m.Prefix, 0)
	w.parameters(m.Parameters)
}

func (m *SubscribeTracks) parse(r *reader) {
	m.RequestID = r.varint("request id")
	m.Prefix = r.trackNamespace(0)
	m.Parameters = r.parameters()
}
