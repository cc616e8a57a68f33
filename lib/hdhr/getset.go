package hdhr

import (
	"encoding/binary"
)

// GetSet is the payload of a get or set request and of its reply.
type GetSet struct {
	Name    string
	Value   *string // nil in a get request
	Error   string  // reply only
	LockKey uint32  // 0: none; request only
}

// Append appends the whole packet to b. A value that does not fit a packet is cut.
func (m GetSet) Append(b []byte, t PacketType) []byte {
	p := appendCString(nil, TagName, m.Name)
	if m.Value != nil {
		p = appendCString(p, TagValue, *m.Value)
	}
	if m.Error != "" {
		p = appendCString(p, TagError, m.Error)
	}
	if m.LockKey != 0 {
		p = appendTLV32(p, TagLockKey, m.LockKey)
	}
	return Packet{t, p}.Append(b)
}

// ParseGetSet reads the payload of a get or set request or reply. Unknown tags are skipped.
func ParseGetSet(p []byte) GetSet {
	var m GetSet
	for t, v, rest, ok := nextTLV(p); ok; t, v, rest, ok = nextTLV(rest) {
		switch t {
		case TagName:
			m.Name = cString(v)
		case TagValue:
			s := cString(v)
			m.Value = &s
		case TagError:
			m.Error = cString(v)
		case TagLockKey:
			if len(v) == 4 {
				m.LockKey = binary.BigEndian.Uint32(v)
			}
		}
	}
	return m
}

// appendCString appends a NUL-terminated value, cut to what the packet still holds when a lock key
// has to follow.
func appendCString(p []byte, t Tag, s string) []byte {
	room := maxPayload - len(p) - 3 - 1 - 6
	if room < 0 {
		return p
	}
	if len(s) > room {
		s = s[:room]
	}
	p = appendTL(p, t, len(s)+1)
	p = append(p, s...)
	return append(p, 0)
}
