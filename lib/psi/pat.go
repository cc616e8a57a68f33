package psi

import (
	"encoding/binary"

	"every.channel/ec/lib/ts"
)

// PAT is a program association section, H.222.0 §2.4.4.3.
type PAT struct {
	TSID       uint16
	Version    uint8
	Next       bool // not yet applicable
	Number     uint8
	LastNumber uint8
	Programs   []Program // program_number 0 (network PID) left out
	NIT        ts.PID    // network_PID, 0 when not named
}

// Program is where a program's PMT is found.
type Program struct {
	Number uint16
	PID    ts.PID // program_map_PID
}

// ParsePAT reads a section.
func ParsePAT(section []byte) (PAT, error) {
	h, b, err := parse(section, TablePAT)
	if err != nil {
		return PAT{}, err
	}
	t := PAT{TSID: h.Extension, Version: h.Version, Next: h.Next, Number: h.Number, LastNumber: h.LastNumber}
	if len(b)%4 != 0 {
		return t, ErrShort
	}
	for ; len(b) >= 4; b = b[4:] {
		n, pid := binary.BigEndian.Uint16(b), ts.PID(binary.BigEndian.Uint16(b[2:])&0x1fff)
		if n == 0 {
			t.NIT = pid
			continue
		}
		t.Programs = append(t.Programs, Program{n, pid})
	}
	return t, nil
}

// Append writes the section.
func (t PAT) Append(b []byte) []byte {
	start := len(b)
	b = Header{TableID: TablePAT, Extension: t.TSID, Version: t.Version, Next: t.Next, Number: t.Number, LastNumber: t.LastNumber}.begin(b)
	if t.NIT != 0 {
		b = append(b, 0, 0, 0xe0|byte(t.NIT>>8), byte(t.NIT))
	}
	for _, p := range t.Programs {
		b = append(b, byte(p.Number>>8), byte(p.Number), 0xe0|byte(p.PID>>8), byte(p.PID))
	}
	return end(b, start)
}
