package wire

// FetchCancel is FETCH_CANCEL (§9.18).
type FetchCancel struct{ RequestID uint64 }

// Type returns the message type.
func (*FetchCancel) Type() uint64 { return 0x17 }

func (m *FetchCancel) append(w *writer) { w.varint(m.RequestID) }
func (m *FetchCancel) parse(r *reader)  { m.RequestID = r.varint("request id") }
