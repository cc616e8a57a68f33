package wire

// PublishOK is PUBLISH_OK (§9.14).
type PublishOK struct {
	RequestID  uint64 // not on the wire in drafts with a stream per request
	Parameters Parameters
}

// Type returns the message type.
func (*PublishOK) Type() uint64 { return 0x1e }

func (m *PublishOK) append(w *writer) {
	w.answered(m.RequestID)
	w.parameters(m.Parameters)
}

func (m *PublishOK) parse(r *reader) {
	m.RequestID = r.answered()
	m.Parameters = r.parameters()
}
