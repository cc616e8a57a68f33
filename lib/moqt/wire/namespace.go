package wire

import "every.channel/ec/lib/object"

// Namespace is NAMESPACE: a namespace below the prefix of a SUBSCRIBE_NAMESPACE appeared (§9.21).
type Namespace struct{ Suffix object.Namespace }

// Type returns the message type.
func (*Namespace) Type() uint64 { return 0x08 }

func (m *Namespace) append(w *writer) { w.namespace(m.Suffix, 0) }
func (m *Namespace) parse(r *reader)  { m.Suffix = r.trackNamespace(0) }
