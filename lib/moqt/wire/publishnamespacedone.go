package wire

// PublishNamespaceDone is PUBLISH_NAMESPACE_DONE (§9.22).
type PublishNamespaceDone struct{ RequestID uint64 }

// Type returns the message type.
func (*PublishNamespaceDone) Type() uint64 { return 0x09 }

func (m *PublishNamespaceDone) append(w *writer) { w.varint(m.RequestID) }
func (m *PublishNamespaceDone) parse(r *reader)  { m.RequestID = r.varint("request id") }
