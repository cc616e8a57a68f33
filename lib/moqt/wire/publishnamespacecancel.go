package wire

// PublishNamespaceCancel is PUBLISH_NAMESPACE_CANCEL (§9.24).
type PublishNamespaceCancel struct {
	RequestID uint64
	Code      RequestCode
	Reason    string
}

// Type returns the message type.
func (*PublishNamespaceCancel) Type() uint64 { return 0x0c }

func (m *PublishNamespaceCancel) append(w *writer) {
	w.varint(m.RequestID)
	w.varint(uint64(m.Code))
	w.reason(m.Reason)
}

func (m *PublishNamespaceCancel) parse(r *reader) {
	m.RequestID = r.varint("request id")
	m.Code = RequestCode(r.varint("error code"))
	m.Reason = r.reason()
}
