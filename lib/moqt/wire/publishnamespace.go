package wire

import "every.channel/ec/lib/object"

// PublishNamespace is PUBLISH_NAMESPACE (§9.20).
type PublishNamespace struct {
	RequestID  uint64
	Namespace  object.Namespace
	Parameters Parameters
}

// Type returns the message type.
func (*PublishNamespace) Type() uint64 { return 0x06 }

func (m *PublishNamespace) append(w *writer) {
	w.varint(m.RequestID)
	w.namespace(m.Namespace, drafts[w.v].minFields)
	w.parameters(m.Parameters)
}

func (m *PublishNamespace) parse(r *reader) {
	m.RequestID = r.varint("request id")
	m.Namespace = r.trackNamespace(uint64(drafts[r.v].minFields))
	m.Parameters = r.parameters()
}
