package wire

// RequestError is REQUEST_ERROR (§9.8).
type RequestError struct {
	RequestID uint64
	Code      RequestCode
	// RetryInterval is the shortest time to the next try in milliseconds, plus one; 0: do not try again.
	RetryInterval uint64
	Reason        string
}

// Type returns the message type.
func (*RequestError) Type() uint64 { return 0x05 }

func (m *RequestError) append(w *writer) {
	w.varint(m.RequestID)
	w.varint(uint64(m.Code))
	w.varint(m.RetryInterval)
	w.reason(m.Reason)
}

func (m *RequestError) parse(r *reader) {
	m.RequestID = r.varint("request id")
	m.Code = RequestCode(r.varint("error code"))
	m.RetryInterval = r.varint("retry interval")
	m.Reason = r.reason()
}
