package wire

import "every.channel/ec/lib/object"

// PublishBlocked is PUBLISH_BLOCKED: a track below the prefix of SUBSCRIBE_TRACKS for which the publisher has no stream to
// PUBLISH it (draft-18 §10.18).
type PublishBlocked struct {
	Suffix object.Namespace
	Name   string
}

// Type returns the message type.
func (*PublishBlocked) Type() uint64 { return 0x0f }

func (m *PublishBlocked) append(w *writer) {
	w.namespace(m.Suffix, 0)
	w.lengthString(m.Name)
}

func (m *PublishBlocked) parse(r *reader) {
	room := uint64(MaxFullTrackName)
	m.Suffix = r.namespace(0, &room)
	m.Name = string(r.nameBytes(&room, "track name"))
}
