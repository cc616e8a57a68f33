package wire

// RequestsBlocked is REQUESTS_BLOCKED (§9.6).
type RequestsBlocked struct{ MaxRequestID uint64 }

// Type returns the message type.
func (*RequestsBlocked) Type() uint64 { return 0x1a }

func (m *RequestsBlocked) append(w *writer) { w.varint(m.MaxRequestID) }
func (m *RequestsBlocked) parse(r *reader)  { m.MaxRequestID = r.varint("maximum request id") }
