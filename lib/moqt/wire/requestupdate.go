package wire

// RequestUpdate is REQUEST_UPDATE (§9.11).
type RequestUpdate struct {
	RequestID         uint64
	ExistingRequestID uint64 // not on the wire in drafts with a stream per request
	Parameters        Parameters
}

// Type returns the message type.
func (*RequestUpdate) Type() uint64 { return 0x02 }

func (m *RequestUpdate) append(w *writer) {
	w.varint(m.RequestID)
	w.answered(m.ExistingRequestID)
	w.parameters(m.Parameters)
}

func (m *RequestUpdate) parse(r *reader) {
	m.RequestID = r.varint("request id")
	m.ExistingRequestID = r.answered()
	m.Parameters = r.parameters()
}
