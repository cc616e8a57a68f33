package wire

// RequestOK is REQUEST_OK (§9.7). In draft 18 it is also the answer to PUBLISH.
type RequestOK struct {
	RequestID  uint64 // not on the wire in drafts with a stream per request
	Parameters Parameters
	Properties []byte // track properties, from draft 18 on: in answer to TRACK_STATUS
}

// Type returns the message type.
func (*RequestOK) Type() uint64 { return 0x07 }

func (m *RequestOK) append(w *writer) {
	w.answered(m.RequestID)
	w.parameters(m.Parameters)
	if drafts[w.v].requestStreams {
		w.properties(m.Properties)
	}
}

func (m *RequestOK) parse(r *reader) {
	m.RequestID = r.answered()
	if drafts[r.v].requestStreams {
		m.Parameters = r.parameters()
		m.Properties = r.trackProperties()
		return
	}
	if r.err == nil && len(r.b) == 0 {
		// No count of parameters is against §9.7. Eyevinn/moqtransport v0.9.0 sends it so, and nothing else can be meant.
		return
	}
	m.Parameters = r.parameters()
}
