package wire

// PublishDone is PUBLISH_DONE (§9.15).
type PublishDone struct {
	RequestID   uint64
	Code        DoneCode
	StreamCount uint64 // MaxVarint: not counted
	Reason      string
}

// Type returns the message type.
func (*PublishDone) Type() uint64 { return 0x0b }

func (m *PublishDone) append(w *writer) {
	w.varint(m.RequestID)
	w.varint(uint64(m.Code))
	w.varint(m.StreamCount)
	w.reason(m.Reason)
}

func (m *PublishDone) parse(r *reader) {
	m.RequestID = r.varint("request id")
	m.Code = DoneCode(r.varint("status code"))
	m.StreamCount = r.varint("stream count")
	m.Reason = r.reason()
}
