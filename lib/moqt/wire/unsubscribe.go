package wire

// Unsubscribe is UNSUBSCRIBE (§9.12).
type Unsubscribe struct{ RequestID uint64 }

// Type returns the message type.
func (*Unsubscribe) Type() uint64 { return 0x0a }

func (m *Unsubscribe) append(w *writer) { w.varint(m.RequestID) }
func (m *Unsubscribe) parse(r *reader)  { m.RequestID = r.varint("request id") }
