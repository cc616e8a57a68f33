package wire

// RequestOK is REQUEST_OK (§9.7).
type RequestOK struct {
	RequestID  uint64
	Parameters Parameters
}

// Type returns the message type.
func (*RequestOK) Type() uint64 { return 0x07 }

func (m *RequestOK) append(w *writer) {
	w.varint(m.RequestID)
	w.parameters(m.Parameters)
}

func (m *RequestOK) parse(r *reader) {
	m.RequestID = r.varint("request id")
	m.Parameters = r.parameters()
}
