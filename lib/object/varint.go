package object

import "encoding/binary"

// MaxVarint is the largest integer that fits a QUIC variable-length integer (RFC 9000 §16).
const MaxVarint = 1<<62 - 1

// AppendVarint appends v as a QUIC variable-length integer in its shortest form (RFC 9000 §16).
// v must not exceed MaxVarint; callers check, because only they know what to call the value in an error.
func AppendVarint(b []byte, v uint64) []byte {
	switch {
	case v < 1<<6:
		return append(b, byte(v))
	case v < 1<<14:
		return append(b, byte(v>>8)|0x40, byte(v))
	case v < 1<<30:
		return binary.BigEndian.AppendUint32(b, uint32(v)|0x80<<24)
	default:
		return binary.BigEndian.AppendUint64(b, v&MaxVarint|0xc0<<56)
	}
}

// ConsumeVarint reads a variable-length integer at the start of b and returns it with its length,
// which is 0 when b is too short.
func ConsumeVarint(b []byte) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	n = 1 << (b[0] >> 6)
	if len(b) < n {
		return 0, 0
	}
	v = uint64(b[0] & 0x3f)
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, n
}

// consumeBytes reads a length and that many bytes. The result aliases b; n is 0 when b is too short.
func consumeBytes(b []byte) (v []byte, n int) {
	l, n := ConsumeVarint(b)
	if n == 0 || l > uint64(len(b)-n) {
		return nil, 0
	}
	return b[n : n+int(l)], n + int(l)
}
