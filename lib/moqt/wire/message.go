package wire

import (
	"encoding/binary"
	"fmt"
	"maps"
)

// Message is a control message (§9).
type Message interface {
	// Type is the message type.
	Type() uint64
	append(w *writer)
	parse(r *reader)
}

// messages16 are the control messages of draft 16 (§9).
var messages16 = map[uint64]func() Message{
	0x20: func() Message { return new(ClientSetup) },
	0x21: func() Message { return new(ServerSetup) },
	0x10: func() Message { return new(GoAway) },
	0x15: func() Message { return new(MaxRequestID) },
	0x1a: func() Message { return new(RequestsBlocked) },
	0x07: func() Message { return new(RequestOK) },
	0x05: func() Message { return new(RequestError) },
	0x03: func() Message { return new(Subscribe) },
	0x04: func() Message { return new(SubscribeOK) },
	0x02: func() Message { return new(RequestUpdate) },
	0x0a: func() Message { return new(Unsubscribe) },
	0x1d: func() Message { return new(Publish) },
	0x1e: func() Message { return new(PublishOK) },
	0x0b: func() Message { return new(PublishDone) },
	0x16: func() Message { return new(Fetch) },
	0x18: func() Message { return new(FetchOK) },
	0x17: func() Message { return new(FetchCancel) },
	0x0d: func() Message { return new(TrackStatus) },
	0x06: func() Message { return new(PublishNamespace) },
	0x08: func() Message { return new(Namespace) },
	0x09: func() Message { return new(PublishNamespaceDone) },
	0x0e: func() Message { return new(NamespaceDone) },
	0x0c: func() Message { return new(PublishNamespaceCancel) },
	0x11: func() Message { return new(SubscribeNamespace) },
}

// messages18 are the control messages of draft 18 (draft-18 §10), on the control streams and on those of requests.
var messages18 = map[uint64]func() Message{
	0x2f00: func() Message { return new(Setup) },
	0x10:   func() Message { return new(GoAway) },
	0x07:   func() Message { return new(RequestOK) },
	0x05:   func() Message { return new(RequestError) },
	0x03:   func() Message { return new(Subscribe) },
	0x04:   func() Message { return new(SubscribeOK) },
	0x02:   func() Message { return new(RequestUpdate) },
	0x1d:   func() Message { return new(Publish) },
	0x1e:   func() Message { return new(PublishOK) }, // a name of REQUEST_OK by now, but its number stands in the table
	0x0b:   func() Message { return new(PublishDone) },
	0x16:   func() Message { return new(Fetch) },
	0x18:   func() Message { return new(FetchOK) },
	0x0d:   func() Message { return new(TrackStatus) },
	0x06:   func() Message { return new(PublishNamespace) },
	0x08:   func() Message { return new(Namespace) },
	0x0e:   func() Message { return new(NamespaceDone) },
	0x50:   func() Message { return new(SubscribeNamespace) },
	0x51:   func() Message { return new(SubscribeTracks) },
	0x0f:   func() Message { return new(PublishBlocked) },
}

// messages20 are the control messages of draft 20 (draft-20 §10).
var messages20 = func() map[uint64]func() Message {
	m := maps.Clone(messages18)
	delete(m, 0x1e) // no draft that still speaks it is meant
	m[0x22] = func() Message { return new(PublishStateNotify) }
	return m
}()

// TypeIn returns the number of m in a draft. It is that of m.Type unless the draft renumbered the message, and means
// nothing if the draft does not have it.
func TypeIn(v Version, m Message) uint64 {
	if t, ok := drafts[v].renumbered[m.Type()]; ok {
		return t
	}
	return m.Type()
}

// AppendMessage writes type, length and payload of m.
func AppendMessage(b []byte, v Version, m Message) ([]byte, error) {
	w := newWriter(b, v)
	w.typ = m.Type()
	typ := TypeIn(v, m)
	if mk := drafts[v].messages[typ]; mk == nil || mk().Type() != w.typ {
		return b, fmt.Errorf("%T in %v: %w", m, v, ErrValue)
	}
	w.varint(typ)
	at := len(w.b)
	w.b = append(w.b, 0, 0)
	m.append(w)
	n := len(w.b) - at - 2
	if w.err == nil && n > MaxMessageLength {
		w.err = fmt.Errorf("message of %d bytes: %w", n, ErrValue)
	}
	if w.err != nil {
		return b, fmt.Errorf("%T: %w", m, w.err)
	}
	binary.BigEndian.PutUint16(w.b[at:], uint16(n))
	return w.b, nil
}

// MessageHeader reads type and length of a message. n is the number of bytes both took, 0 if b is too short. An
// unknown type is an error already here, before its payload was waited for.
func MessageHeader(b []byte, v Version) (typ uint64, length, n int, err error) {
	d := drafts[v]
	typ, n = d.varint.parse(b)
	if n == 0 {
		return 0, 0, 0, nil
	}
	if d.messages[typ] == nil {
		return typ, 0, 0, violation("unknown message type %#x", typ)
	}
	if len(b) < n+2 {
		return 0, 0, 0, nil
	}
	return typ, int(binary.BigEndian.Uint16(b[n:])), n + 2, nil
}

// ParseMessage decodes the payload of a message of type typ. Nothing in the message aliases payload.
func ParseMessage(v Version, typ uint64, payload []byte) (Message, error) {
	return parseMessage(v, typ, payload, false)
}

// ParseWideMessage does the same for a message whose sender takes parameters of one byte for variable-length integers.
func ParseWideMessage(v Version, typ uint64, payload []byte) (Message, error) {
	return parseMessage(v, typ, payload, true)
}

func parseMessage(v Version, typ uint64, payload []byte, wideBytes bool) (Message, error) {
	mk := drafts[v].messages[typ]
	if mk == nil {
		return nil, violation("unknown message type %#x", typ)
	}
	m := mk()
	r := newReader(payload, v)
	r.typ, r.wideBytes = m.Type(), wideBytes
	m.parse(r)
	if err := r.done(fmt.Sprintf("message %#x", typ)); err != nil {
		return nil, err
	}
	return m, nil
}
