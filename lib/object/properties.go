package object

import (
	"errors"
	"fmt"
)

// Property types, docs/format/properties.md. Even types hold a varint, odd ones bytes.
const (
	PropPTS      = 0x3EC0
	PropHash     = 0x3EC1
	PropDuration = 0x3EC2
	PropFlags    = 0x3EC4
)

// Flags of a part.
const (
	RandomAccess  uint64 = 1 << 0 // the part starts at a random access point
	Discontinuity uint64 = 1 << 1 // the clock was reset before this part
)

// MaxPropertyBytes bounds one value (draft-ietf-moq-transport-16 §1.4.2).
const MaxPropertyBytes = 1<<16 - 1

// ErrProperties is the cause of every error about malformed properties.
var ErrProperties = errors.New("malformed properties")

// Properties are what every receiver of a broadcast knows about a part.
type Properties struct {
	PTS         uint64 // 33 bits, 90 kHz
	HasPTS      bool
	Hash        Hash // of the payload
	HasHash     bool
	Duration    uint64 // 90 kHz
	HasDuration bool
	Flags       uint64
}

// Append appends the key-value pairs in ascending order of type. Values above MaxVarint do not occur
// in 33-bit clocks; higher bits are lost.
func (p Properties) Append(b []byte) []byte {
	last := uint64(0)
	key := func(t uint64) {
		b = AppendVarint(b, t-last)
		last = t
	}
	if p.HasPTS {
		key(PropPTS)
		b = AppendVarint(b, p.PTS&MaxVarint)
	}
	if p.HasHash {
		key(PropHash)
		b = AppendVarint(b, uint64(len(p.Hash)))
		b = append(b, p.Hash[:]...)
	}
	if p.HasDuration {
		key(PropDuration)
		b = AppendVarint(b, p.Duration&MaxVarint)
	}
	if p.Flags != 0 {
		key(PropFlags)
		b = AppendVarint(b, p.Flags&MaxVarint)
	}
	return b
}

// ParseProperties reads the properties it knows and skips the others.
func ParseProperties(b []byte) (p Properties, err error) {
	var bad error
	err = RangeProperties(b, func(typ, v uint64, value []byte) {
		switch typ {
		case PropPTS:
			p.PTS, p.HasPTS = v, true
		case PropHash:
			p.HasHash = true
			if copy(p.Hash[:], value) != len(value) || len(value) != len(p.Hash) {
				bad = fmt.Errorf("%w: hash of %d bytes", ErrProperties, len(value))
			}
		case PropDuration:
			p.Duration, p.HasDuration = v, true
		case PropFlags:
			p.Flags = v
		}
	})
	if err == nil {
		err = bad
	}
	return p, err
}

// RangeProperties calls f for every pair in b: v holds the value of an even type, value that of an odd
// one. value aliases b.
func RangeProperties(b []byte, f func(typ, v uint64, value []byte)) error {
	typ := uint64(0)
	for rest := b; len(rest) > 0; {
		delta, n := ConsumeVarint(rest)
		if n == 0 {
			return fmt.Errorf("%w: type cut short at byte %d", ErrProperties, len(b)-len(rest))
		}
		if typ+delta < typ {
			return fmt.Errorf("%w: type overflows", ErrProperties)
		}
		typ += delta
		rest = rest[n:]
		if typ%2 == 0 {
			v, n := ConsumeVarint(rest)
			if n == 0 {
				return fmt.Errorf("%w: value of %#x cut short", ErrProperties, typ)
			}
			f(typ, v, nil)
			rest = rest[n:]
			continue
		}
		value, n := consumeBytes(rest)
		if n == 0 || len(value) > MaxPropertyBytes {
			return fmt.Errorf("%w: value of %#x cut short or too long", ErrProperties, typ)
		}
		f(typ, 0, value)
		rest = rest[n:]
	}
	return nil
}
