package chop

import "encoding/binary"

// appendSI writes sections as the si track holds them: for each its PID in two bytes, then the section
// verbatim, whose own section_length says where it ends (docs/format/chunk.md).
func appendSI(b []byte, list []siSection) []byte {
	for _, s := range list {
		b = binary.BigEndian.AppendUint16(b, uint16(s.pid))
		b = append(b, s.section...)
	}
	return b
}
