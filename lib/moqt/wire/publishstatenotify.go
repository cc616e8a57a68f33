package wire

// PublishStateNotify is PUBLISH_STATE_NOTIFY: a publisher tells that the state of a subscription changed without a REQUEST_UPDATE
// (draft-20 §10.10).
type PublishStateNotify struct{ Parameters Parameters }

// Type returns the message type.
func (*PublishStateNotify) Type() uint64 { return 0x22 }

func (m *PublishStateNotify) append(w *writer) { w.parameters(m.Parameters) }
func (m *PublishStateNotify) parse(r *reader)  { m.Parameters = r.parameters() }
