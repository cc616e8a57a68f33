// Package psi assembles and parses the sections that describe a broadcast, and writes them: transport
// packets go in, sections and the tables in them come out (PAT, PMT, ATSC PSIP, DVB SI), and the same
// structures become sections and packets again. Parsers are bounded: a length that claims more than its
// section holds is an error, never a panic.
//
// See ITU-T H.222.0 §2.4.4, ATSC A/65:2013 and ETSI EN 300 468.
package psi

import (
	"encoding/binary"
	"errors"
	"fmt"

	"every.channel/ec/lib/ts"
)

// Table ids.
const (
	TablePAT      = 0x00
	TableCAT      = 0x01
	TablePMT      = 0x02
	TableNIT      = 0x40
	TableNITOther = 0x41
	TableSDT      = 0x42
	TableSDTOther = 0x46
	TableDVBEIT   = 0x4e // present/following, actual; to 0x6f
	TableTDT      = 0x70
	TableTOT      = 0x73
	TableMGT      = 0xc7
	TableTVCT     = 0xc8
	TableCVCT     = 0xc9
	TableRRT      = 0xca
	TableEIT      = 0xcb // ATSC
	TableETT      = 0xcc
	TableSTT      = 0xcd
)

var (
	// ErrShort: a length in the section claims more than is there.
	ErrShort = errors.New("section is cut short")
	// ErrTable: the table_id is not the one asked for.
	ErrTable = errors.New("not the table asked for")
	// ErrProtocol: protocol_version is not 0, so that what follows may mean anything (A/65 §6).
	ErrProtocol = errors.New("unknown protocol_version")
	// ErrCRC: CRC_32 does not verify.
	ErrCRC = errors.New("section checksum is wrong")
	// ErrSyntax: a field has a value the specification does not allow.
	ErrSyntax = errors.New("section is malformed")
)

const (
	headerLen  = 8    // of a long section: to last_section_number
	crcLen     = 4    //
	maxSection = 4096 // of any section, header included (H.222.0 §2.4.4.11 private_section)
)

// Header is what every long section starts with.
type Header struct {
	TableID     uint8
	Extension   uint16 // table_id_extension: TSID, program number, source id …
	Version     uint8  // 5 bits
	Next        bool   // current_next_indicator is 0: not yet applicable
	Number      uint8  // section_number
	LastNumber  uint8  // last_section_number
	privateFlag bool
}

// Long tells whether section has the long syntax: extension, version, CRC.
func Long(section []byte) bool { return len(section) >= 3 && section[1]&0x80 != 0 }

// Check verifies length and checksum of section, which ends where section_length says.
// A TOT has a checksum though its syntax is short (EN 300 468 §5.2.6).
func Check(section []byte) error {
	if len(section) < 3 {
		return ErrShort
	}
	n := 3 + int(section[1]&0x0f)<<8 + int(section[2])
	if n > len(section) || n > maxSection {
		return ErrShort
	}
	if Long(section) && n < headerLen+crcLen {
		return ErrShort
	}
	if hasCRC(section) && CRC32(section[:n]) != 0 {
		return ErrCRC
	}
	return nil
}

func hasCRC(section []byte) bool { return Long(section) || section[0] == TableTOT }

// ParseHeader reads the head of a long section. Sections come from an Assembler, which has verified them;
// for others call Check first.
func ParseHeader(section []byte) (Header, error) {
	h, _, err := parse(section)
	return h, err
}

// parse splits a long section in head and body, the body without CRC.
func parse(section []byte, tables ...uint8) (Header, []byte, error) {
	if len(section) < headerLen+crcLen {
		return Header{}, nil, ErrShort
	}
	n := 3 + int(section[1]&0x0f)<<8 + int(section[2]) // H.222.0 §2.4.4.11
	h := Header{
		TableID:     section[0],
		privateFlag: section[1]&0x40 != 0,
		Extension:   binary.BigEndian.Uint16(section[3:]),
		Version:     section[5] >> 1 & 0x1f,
		Next:        section[5]&1 == 0,
		Number:      section[6],
		LastNumber:  section[7],
	}
	if n > len(section) || n < headerLen+crcLen {
		return h, nil, ErrShort
	}
	if !Long(section) {
		return h, nil, ErrSyntax
	}
	ok := len(tables) == 0
	for _, t := range tables {
		ok = ok || h.TableID == t
	}
	if !ok {
		return h, nil, fmt.Errorf("table %#02x: %w", h.TableID, ErrTable)
	}
	return h, section[headerLen : n-crcLen], nil
}

// parsePSIP splits a section of A/65, whose body begins with protocol_version 0.
func parsePSIP(section []byte, tables ...uint8) (Header, []byte, error) {
	h, b, err := parse(section, tables...)
	switch {
	case err != nil:
		return h, nil, err
	case len(b) == 0:
		return h, nil, ErrShort
	case b[0] != 0:
		return h, nil, ErrProtocol
	}
	return h, b, nil
}

// begin appends the head of a long section; end completes it.
func (h Header) begin(b []byte) []byte {
	flags := byte(0xb0)
	if h.privateFlag {
		flags = 0xf0
	}
	current := byte(1)
	if h.Next {
		current = 0
	}
	return append(b, h.TableID, flags, 0, byte(h.Extension>>8), byte(h.Extension), 0xc0|h.Version&0x1f<<1|current, h.Number, h.LastNumber)
}

// end writes section_length and CRC_32 of the section that starts at b[start].
func end(b []byte, start int) []byte {
	b = setLength(b, start, crcLen)
	return binary.BigEndian.AppendUint32(b, CRC32(b[start:]))
}

// setLength writes section_length, for a section to which more bytes are still to come.
func setLength(b []byte, start, more int) []byte {
	n := len(b) - start - 3 + more
	b[start+1] = b[start+1]&0xf0 | byte(n>>8)&0x0f
	b[start+2] = byte(n)
	return b
}

// loop16 splits a body that starts with a 12-bit length (descriptor loops) into what the length covers and the rest.
func loop12(b []byte) (inner, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, ErrShort
	}
	n := int(b[0]&0x0f)<<8 | int(b[1])
	if 2+n > len(b) {
		return nil, nil, ErrShort
	}
	return b[2 : 2+n], b[2+n:], nil
}

// appendLoop12 appends inner after its 12-bit length, the upper four bits being high.
func appendLoop12(b []byte, high byte, inner []byte) []byte {
	b = append(b, high|byte(len(inner)>>8)&0x0f, byte(len(inner)))
	return append(b, inner...)
}

// AppendPackets appends section as packets of pid, with pointer_field and stuffing; cc is the counter of
// the next packet and is advanced.
func AppendPackets(dst []byte, pid ts.PID, cc *uint8, section []byte) []byte {
	for first := true; first || len(section) > 0; first = false {
		var p ts.Packet
		p.SetHeader(pid, first, *cc)
		*cc = (*cc + 1) & 0x0f
		body := p[4:]
		if first {
			body[0] = 0 // pointer_field
			body = body[1:]
		}
		n := copy(body, section)
		section = section[n:]
		for i := n; i < len(body); i++ {
			body[i] = 0xff
		}
		dst = append(dst, p[:]...)
	}
	return dst
}
