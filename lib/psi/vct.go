package psi

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf16"
)

// VCT is a virtual channel section, terrestrial or cable, A/65 §6.3.
type VCT struct {
	Cable       bool
	TSID        uint16
	Version     uint8
	Next        bool
	Number      uint8
	LastNumber  uint8
	Channels    []VirtualChannel
	Descriptors Descriptors
}

// VirtualChannel is one entry of a VCT.
type VirtualChannel struct {
	ShortName   string // at most seven UTF-16 units
	Major       uint16 // 10 bits
	Minor       uint16 // 10 bits
	Modulation  uint8  // 4 is 8-VSB
	TSID        uint16 // channel_TSID
	Program     uint16 // program_number
	Hidden      bool
	Controlled  bool // access_controlled
	ServiceType uint8
	SourceID    uint16
	Descriptors Descriptors
}

// Channel is the number as people write it: "5.1", or "1234" where it has one part (A/65 §6.3.2); "" without a
// number.
func (c VirtualChannel) Channel() string {
	switch {
	case c.Major == 0 && c.Minor == 0:
		return ""
	case c.Major>>4 == 0x3f: // the upper six of ten bits
		return itoa(int(c.Major&0x0f)<<10 | int(c.Minor))
	}
	return itoa(int(c.Major)) + "." + itoa(int(c.Minor))
}

// Of is the channel of a program of this transport stream. A table that is not yet applicable has none, nor does an
// entry count that is of another transport stream (A/65 §6.3.1, channel_TSID), or of none: program_number 0 is for
// inactive channels, 0xFFFF for analogue ones.
func (t VCT) Of(program uint16) (VirtualChannel, bool) {
	if t.Next || program == 0 || program == 0xffff {
		return VirtualChannel{}, false
	}
	for _, c := range t.Channels {
		if c.Program == program && c.TSID == t.TSID {
			return c, true
		}
	}
	return VirtualChannel{}, false
}

// ParseVCT reads a section.
func ParseVCT(section []byte) (VCT, error) {
	h, b, err := parsePSIP(section, TableTVCT, TableCVCT)
	if err != nil {
		return VCT{}, err
	}
	t := VCT{Cable: h.TableID == TableCVCT, TSID: h.Extension, Version: h.Version, Next: h.Next, Number: h.Number, LastNumber: h.LastNumber}
	if len(b) < 2 {
		return t, ErrShort
	}
	n := int(b[1])
	b = b[2:]
	for range n {
		if len(b) < 32 {
			return t, ErrShort
		}
		c := VirtualChannel{
			ShortName:   strings.TrimRight(controls(utf16BE(b[:14])), " "),
			Major:       uint16(b[14]&0x0f)<<6 | uint16(b[15]>>2),
			Minor:       uint16(b[15]&0x03)<<8 | uint16(b[16]),
			Modulation:  b[17],
			TSID:        uint16At(b, 22),
			Program:     uint16At(b, 24),
			Controlled:  b[26]&0x20 != 0,
			Hidden:      b[26]&0x10 != 0,
			ServiceType: b[27] & 0x3f,
			SourceID:    uint16At(b, 28),
		}
		d := 32 + int(uint16At(b, 30)&0x3ff)
		if d > len(b) {
			return t, ErrShort
		}
		c.Descriptors = bytes.Clone(b[32:d])
		b = b[d:]
		t.Channels = append(t.Channels, c)
	}
	if len(b) < 2 {
		return t, ErrShort
	}
	d := 2 + int(uint16At(b, 0)&0x3ff)
	if d > len(b) {
		return t, ErrShort
	}
	t.Descriptors = bytes.Clone(b[2:d])
	return t, nil
}

// Append writes the section.
func (t VCT) Append(b []byte) []byte {
	start := len(b)
	h := Header{TableID: TableTVCT, Extension: t.TSID, Version: t.Version, Next: t.Next, Number: t.Number, LastNumber: t.LastNumber, privateFlag: true}
	if t.Cable {
		h.TableID = TableCVCT
	}
	b = append(h.begin(b), 0, byte(len(t.Channels)))
	for _, c := range t.Channels {
		var name [7]uint16
		copy(name[:], utf16.Encode([]rune(c.ShortName)))
		for _, u := range name {
			b = append(b, byte(u>>8), byte(u))
		}
		b = append(b, 0xf0|byte(c.Major>>6)&0x0f, byte(c.Major<<2)|byte(c.Minor>>8)&3, byte(c.Minor), c.Modulation)
		b = append(b, 0, 0, 0, 0) // carrier_frequency, deprecated
		b = binary.BigEndian.AppendUint16(b, c.TSID)
		b = binary.BigEndian.AppendUint16(b, c.Program)
		flags := byte(0x0d) // reserved bits; hide_guide 0
		if t.Cable {
			flags = 0x01 // path_select and out_of_band in place of two of them
		}
		if c.Controlled {
			flags |= 0x20
		}
		if c.Hidden {
			flags |= 0x10
		}
		b = append(b, flags, 0xc0|c.ServiceType&0x3f)
		b = binary.BigEndian.AppendUint16(b, c.SourceID)
		b = append(b, 0xfc|byte(len(c.Descriptors)>>8)&3, byte(len(c.Descriptors)))
		b = append(b, c.Descriptors...)
	}
	b = append(b, 0xfc|byte(len(t.Descriptors)>>8)&3, byte(len(t.Descriptors)))
	b = append(b, t.Descriptors...)
	return end(b, start)
}

func itoa(n int) string { return strconv.Itoa(n) }
