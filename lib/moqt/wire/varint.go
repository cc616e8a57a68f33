package wire

import "math/bits"

// varintCodec is a draft's variable-length integer. Drafts up to 16 use that of RFC 9000 §16; later drafts
// define one of their own (draft-18 §1.4.1).
type varintCodec interface {
	append(b []byte, v uint64) []byte
	size(v uint64) int
	// parse returns the value and its length in bytes, or 0 if b is too short.
	parse(b []byte) (uint64, int)
	// max is the largest value that can be written.
	max() uint64
}

// MaxVarint is the largest value of an RFC 9000 variable-length integer.
const MaxVarint = 1<<62 - 1

// quicVarint is the integer of RFC 9000 §16: the two top bits give the length, 1, 2, 4 or 8 bytes.
type quicVarint struct{}

func (quicVarint) max() uint64 { return MaxVarint }

func (quicVarint) size(v uint64) int {
	switch {
	case v < 1<<6:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<30:
		return 4
	}
	return 8
}

// append writes v in the shortest form. Values above max are a programming error upstream; they are
// clamped rather than panicking in the middle of a stream, and every caller validates first.
func (quicVarint) append(b []byte, v uint64) []byte {
	switch {
	case v < 1<<6:
		return append(b, byte(v))
	case v < 1<<14:
		return append(b, byte(v>>8)|0x40, byte(v))
	case v < 1<<30:
		return append(b, byte(v>>24)|0x80, byte(v>>16), byte(v>>8), byte(v))
	}
	if bits.Len64(v) > 62 {
		v = MaxVarint
	}
	return append(b, byte(v>>56)|0xc0, byte(v>>48), byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func (quicVarint) parse(b []byte) (uint64, int) {
	if len(b) == 0 {
		return 0, 0
	}
	n := 1 << (b[0] >> 6)
	if len(b) < n {
		return 0, 0
	}
	v := uint64(b[0] & 0x3f)
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, n
}

// vi64 is the integer of draft-18 §1.4.1: as many ones before the first zero as bytes follow, up to 64 bits in 9 bytes.
type vi64 struct{}

func (vi64) max() uint64 { return 1<<64 - 1 }

func (vi64) size(v uint64) int {
	n := bits.Len64(v)
	if n > 56 {
		return 9
	}
	return max(1, (n+6)/7)
}

// append writes v in the shortest form.
func (c vi64) append(b []byte, v uint64) []byte {
	n := c.size(v)
	if n == 1 {
		return append(b, byte(v))
	}
	if n == 9 {
		b = append(b, 0xff)
	} else {
		b = append(b, byte(v>>(8*(n-1)))|^byte(0xff>>(n-1)))
	}
	for i := n - 2; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

func (vi64) parse(b []byte) (uint64, int) {
	if len(b) == 0 {
		return 0, 0
	}
	if b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	n := 1 + bits.LeadingZeros8(^b[0])
	if len(b) < n {
		return 0, 0
	}
	v := uint64(b[0]) & (0xff >> n)
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, n
}

// AppendVarint appends x in the integer form of v.
func AppendVarint(b []byte, v Version, x uint64) []byte { return drafts[v].varint.append(b, x) }

// Varint reads an integer in the form of v and returns it with its length, or 0, 0 if b is too short.
func Varint(b []byte, v Version) (uint64, int) { return drafts[v].varint.parse(b) }
