package wire

// MaxRequestID is MAX_REQUEST_ID (§9.5): the request id from which on requests are forbidden.
type MaxRequestID struct{ MaxRequestID uint64 }

// Type returns the message type.
func (*MaxRequestID) Type() uint64 { return 0x15 }

func (m *MaxRequestID) append(w *writer) { w.varint(m.MaxRequestID) }
func (m *MaxRequestID) parse(r *reader)  { m.MaxRequestID = r.varint("max request id") }
