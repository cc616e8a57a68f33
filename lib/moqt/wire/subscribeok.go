package wire

// SubscribeOK is SUBSCRIBE_OK (§9.10).
type SubscribeOK struct {
	RequestID  uint64 // not on the wire in drafts with a stream per request
	TrackAlias uint64
	Parameters Parameters
	Properties []byte // track properties (§10): key-value-pairs
}

// Type returns the message type.
func (*SubscribeOK) Type() uint64 { return 0x04 }

func (m *SubscribeOK) append(w *writer) {
	w.answered(m.RequestID)
	w.varint(m.TrackAlias)
	w.parameters(m.Parameters)
	w.properties(m.Properties)
}

func (m *SubscribeOK) parse(r *reader) {
	m.RequestID = r.answered()
	m.TrackAlias = r.varint("track alias")
	m.Parameters = r.parameters()
	m.Properties = r.trackProperties()
}
