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
	if r.err == nil && len(r.b) == 0 {
		// No count of parameters is against §9.7. Eyevinn/moqtransport v0.9.0 sends it so, and nothing else can be meant.
		return
	}
	m.Parameters = r.parameters()
}
