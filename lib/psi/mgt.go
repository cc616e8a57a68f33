package psi

import (
	"bytes"
	"encoding/binary"

	"every.channel/ec/lib/ts"
)

// MGT is a master guide section, A/65 §6.2.
type MGT struct {
	Version     uint8
	Tables      []MGTTable
	Descriptors Descriptors
}

// MGTTable is where a table is found.
type MGTTable struct {
	Type        uint16 // 0 TVCT, 2 CVCT, 4 channel ETT, 0x100+k EIT-k, 0x200+k ETT-k, 0x300+r RRT
	PID         ts.PID
	Version     uint8
	Bytes       uint32
	Descriptors Descriptors
}

// Name is the table's name in A/65 table 6.3: "TVCT", "EIT-0".
func (t MGTTable) Name() string {
	switch k := t.Type; {
	case k == 0:
		return "TVCT"
	case k == 1:
		return "TVCT next"
	case k == 2:
		return "CVCT"
	case k == 3:
		return "CVCT next"
	case k == 4:
		return "channel ETT"
	case k >= 0x100 && k < 0x180:
		return "EIT-" + itoa(int(k-0x100))
	case k >= 0x200 && k < 0x280:
		return "ETT-" + itoa(int(k-0x200))
	case k >= 0x301 && k < 0x400:
		return "RRT region " + itoa(int(k-0x300))
	}
	return "type " + itoa(int(t.Type))
}

// ParseMGT reads a section.
func ParseMGT(section []byte) (MGT, error) {
	h, b, err := parsePSIP(section, TableMGT)
	if err != nil {
		return MGT{}, err
	}
	t := MGT{Version: h.Version}
	if len(b) < 3 {
		return t, ErrShort
	}
	n := int(uint16At(b, 1))
	b = b[3:]
	for range n {
		if len(b) < 11 {
			return t, ErrShort
		}
		e := MGTTable{
			Type:    uint16At(b, 0),
			PID:     ts.PID(uint16At(b, 2) & 0x1fff),
			Version: b[4] & 0x1f,
			Bytes:   binary.BigEndian.Uint32(b[5:]),
		}
		var d []byte
		if d, b, err = loop12(b[9:]); err != nil {
			return t, err
		}
		e.Descriptors = bytes.Clone(d)
		t.Tables = append(t.Tables, e)
	}
	d, _, err := loop12(b)
	t.Descriptors = bytes.Clone(d)
	return t, err
}

// Append writes the section.
func (t MGT) Append(b []byte) []byte {
	start := len(b)
	b = Header{TableID: TableMGT, Version: t.Version, privateFlag: true}.begin(b)
	b = append(b, 0, byte(len(t.Tables)>>8), byte(len(t.Tables)))
	for _, e := range t.Tables {
		b = append(b, byte(e.Type>>8), byte(e.Type), 0xe0|byte(e.PID>>8), byte(e.PID), 0xe0|e.Version&0x1f)
		b = binary.BigEndian.AppendUint32(b, e.Bytes)
		b = appendLoop12(b, 0xf0, e.Descriptors)
	}
	b = appendLoop12(b, 0xf0, t.Descriptors)
	return end(b, start)
}
