package wire

import "every.channel/ec/lib/object"

// SubscribeNamespaceOptions say what a SUBSCRIBE_NAMESPACE should bring (§9.25).
type SubscribeNamespaceOptions uint64

// Subscribe options.
const (
	SubscribePublish    SubscribeNamespaceOptions = 0
	SubscribeNamespaces SubscribeNamespaceOptions = 1
	SubscribeBoth       SubscribeNamespaceOptions = 2
)

// SubscribeNamespace is SUBSCRIBE_NAMESPACE (§9.25), the first message of a stream of its own.
type SubscribeNamespace struct {
	RequestID  uint64
	Prefix     object.Namespace
	Options    SubscribeNamespaceOptions // up to draft 16; then SubscribeTracks is a message of its own
	Parameters Parameters
}

// Type returns the message type.
func (*SubscribeNamespace) Type() uint64 { return 0x11 }

func (m *SubscribeNamespace) append(w *writer) {
	w.varint(m.RequestID)
	w.namespace(m.Prefix, 0)
	if !drafts[w.v].requestStreams {
		w.varint(uint64(m.Options))
	}
	w.parameters(m.Parameters)
}

func (m *SubscribeNamespace) parse(r *reader) {
	m.RequestID = r.varint("request id")
	m.Prefix = r.trackNamespace(0)
	if drafts[r.v].requestStreams {
		m.Options = SubscribeNamespaces
		m.Parameters = r.parameters()
		return
	}
	m.Options = SubscribeNamespaceOptions(r.varint("subscribe options"))
	if r.err == nil && m.Options > SubscribeBoth {
		r.fail(violation("subscribe options %d", uint64(m.Options)))
	}
	m.Parameters = r.parameters()
}
