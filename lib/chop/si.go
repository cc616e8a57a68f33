package chop

import (
	"encoding/binary"
	"hash/maphash"

	"every.channel/ec/lib/ts"
)

var siSeed = maphash.MakeSeed()

// sectionKey tells one version of a section from every other.
func sectionKey(pid ts.PID, section []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(siSeed)
	h.WriteByte(byte(pid >> 8))
	h.WriteByte(byte(pid))
	h.Write(section)
	return h.Sum64()
}

// appendSI writes sections as the si track holds them: for each its PID in two bytes, then the section
// verbatim, whose own section_length says where it ends (docs/format/chunk.md).
func appendSI(b []byte, list []siSection) []byte {
	for _, s := range list {
		b = binary.BigEndian.AppendUint16(b, uint16(s.pid))
		b = append(b, s.section...)
	}
	return b
}
