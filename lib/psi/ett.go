package psi

import "encoding/binary"

// ETT is an extended text section, A/65 §6.6.
type ETT struct {
	Extension uint16
	Version   uint8
	ETMID     uint32 // source id << 16, | event id << 2 | 2 for an event
	Message   Text
}

// ParseETT reads a section.
func ParseETT(section []byte) (ETT, error) {
	h, b, err := parsePSIP(section, TableETT)
	if err != nil {
		return ETT{}, err
	}
	t := ETT{Extension: h.Extension, Version: h.Version}
	if len(b) < 5 {
		return t, ErrShort
	}
	t.ETMID = binary.BigEndian.Uint32(b[1:])
	t.Message, err = ParseText(b[5:])
	return t, err
}

// Append writes the section.
func (t ETT) Append(b []byte) []byte {
	start := len(b)
	b = Header{TableID: TableETT, Extension: t.Extension, Version: t.Version, privateFlag: true}.begin(b)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint32(b, t.ETMID)
	b = t.Message.Append(b)
	return end(b, start)
}
