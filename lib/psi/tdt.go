package psi

import (
	"bytes"
	"encoding/binary"
	"time"
)

// TDT is a time and date section, EN 300 468 §5.2.5. It has no checksum.
type TDT struct{ UTC time.Time }

// ParseTDT reads a section.
func ParseTDT(section []byte) (TDT, error) {
	if len(section) < 8 {
		return TDT{}, ErrShort
	}
	if section[0] != TableTDT {
		return TDT{}, ErrTable
	}
	if n := int(section[1]&0x0f)<<8 | int(section[2]); n < 5 {
		return TDT{}, ErrShort
	}
	t, ok := parseMJD(section[3:])
	if !ok {
		return TDT{}, ErrSyntax
	}
	return TDT{t}, nil
}

// Append writes the section.
func (t TDT) Append(b []byte) []byte {
	return appendMJD(append(b, TableTDT, 0x70, 5), t.UTC)
}

// TOT is a time offset section, EN 300 468 §5.2.6.
type TOT struct {
	UTC         time.Time
	Descriptors Descriptors
}

// ParseTOT reads a section.
func ParseTOT(section []byte) (TOT, error) {
	if len(section) < 3+5+2+crcLen {
		return TOT{}, ErrShort
	}
	if section[0] != TableTOT {
		return TOT{}, ErrTable
	}
	n := 3 + int(section[1]&0x0f)<<8 + int(section[2])
	if n > len(section) || n < 3+5+2+crcLen {
		return TOT{}, ErrShort
	}
	t, ok := parseMJD(section[3:])
	if !ok {
		return TOT{}, ErrSyntax
	}
	d, _, err := loop12(section[8 : n-crcLen])
	return TOT{t, bytes.Clone(d)}, err
}

// Append writes the section.
func (t TOT) Append(b []byte) []byte {
	start := len(b)
	b = appendMJD(append(b, TableTOT, 0x70, 0), t.UTC)
	b = appendLoop12(b, 0xf0, t.Descriptors)
	return end(b, start)
}

// TimeOffset is one entry of a local time offset descriptor, EN 300 468 §6.2.20.
type TimeOffset struct {
	Country string // ISO 3166, three letters
	Region  uint8
	Offset  time.Duration // from UTC, east positive
	Change  time.Time     // when Next applies; zero when undefined
	Next    time.Duration
}

// LocalTimeOffsets are the entries of the table's local time offset descriptors.
func (t TOT) LocalTimeOffsets() []TimeOffset {
	var all []TimeOffset
	for tag, b := range t.Descriptors.All() {
		if tag != TagLocalTimeOffset {
			continue
		}
		for ; len(b) >= 13; b = b[13:] {
			o := TimeOffset{Country: printable(b[:3]), Region: b[3] >> 2}
			o.Offset, _ = parseBCD([]byte{b[4], b[5], 0})
			o.Next, _ = parseBCD([]byte{b[11], b[12], 0})
			if b[3]&1 != 0 {
				o.Offset, o.Next = -o.Offset, -o.Next
			}
			o.Change, _ = parseMJD(b[6:])
			all = append(all, o)
		}
	}
	return all
}

// AppendTimeOffset appends a local time offset descriptor with one entry.
func AppendTimeOffset(d Descriptors, o TimeOffset) Descriptors {
	var b []byte
	var c [3]byte
	copy(c[:], o.Country)
	b = append(b, c[:]...)
	polarity := byte(0)
	off, next := o.Offset, o.Next
	if off < 0 || next < 0 {
		polarity, off, next = 1, -off, -next
	}
	b = append(b, o.Region<<2|2|polarity)
	b = append(b, appendBCD(nil, off)[:2]...)
	b = appendMJD(b, o.Change)
	b = append(b, appendBCD(nil, next)[:2]...)
	return AppendDescriptor(d, TagLocalTimeOffset, b)
}

// uint16At reads b[i:i+2], which the caller has bounded.
func uint16At(b []byte, i int) uint16 { return binary.BigEndian.Uint16(b[i:]) }
