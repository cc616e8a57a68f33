package wire

import "every.channel/ec/lib/object"

// NamespaceDone is NAMESPACE_DONE: a namespace told of with NAMESPACE went away (§9.23).
type NamespaceDone struct{ Suffix object.Namespace }

// Type returns the message type.
func (*NamespaceDone) Type() uint64 { return 0x0e }

func (m *NamespaceDone) append(w *writer) { w.namespace(m.Suffix, 0) }
func (m *NamespaceDone) parse(r *reader)  { m.Suffix = r.trackNamespace(0) }
