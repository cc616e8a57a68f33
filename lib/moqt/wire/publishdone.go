package wire

// PublishDone is PUBLISH_DONE (§9.15).
type PublishDone struct {
	RequestID   uint64 // not on the wire in drafts with a stream per request
	Code        DoneCode
	StreamCount uint64 // MaxVarint: not counted, whatever the draft writes for that
	Reason      string
}

// Type returns the message type.
func (*PublishDone) Type() uint64 { return 0x0b }

func (m *PublishDone) append(w *writer) {
	w.answered(m.RequestID)
	w.varint(drafts[w.v].done.number(uint64(m.Code)))
	if m.StreamCount == MaxVarint {
		w.varint(drafts[w.v].uncounted)
	} else {
		w.varint(m.StreamCount)
	}
	w.reason(m.Reason)
}

func (m *PublishDone) parse(r *reader) {
	m.RequestID = r.answered()
	m.Code = DoneCode(drafts[r.v].done.code(r.varint("status code")))
	if m.StreamCount = r.varint("stream count"); m.StreamCount == drafts[r.v].uncounted {
		m.StreamCount = MaxVarint
	}
	m.Reason = r.reason()
}
