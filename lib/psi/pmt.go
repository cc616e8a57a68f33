package psi

import (
	"bytes"

	"every.channel/ec/lib/ts"
)

// PMT is a program map section, H.222.0 §2.4.4.8.
type PMT struct {
	Program     uint16
	Version     uint8
	Next        bool   // not yet applicable
	PCRPID      ts.PID // 0x1fff: no PCR
	Descriptors Descriptors
	Streams     []Stream
}

// Stream is one elementary stream of a program.
type Stream struct {
	Type        StreamType
	PID         ts.PID
	Descriptors Descriptors
}

// ParsePMT reads a section.
func ParsePMT(section []byte) (PMT, error) {
	h, b, err := parse(section, TablePMT)
	if err != nil {
		return PMT{}, err
	}
	t := PMT{Program: h.Extension, Version: h.Version, Next: h.Next}
	if len(b) < 4 {
		return t, ErrShort
	}
	t.PCRPID = ts.PID(b[0]&0x1f)<<8 | ts.PID(b[1])
	d, b, err := loop12(b[2:])
	if err != nil {
		return t, err
	}
	t.Descriptors = bytes.Clone(d)
	for len(b) > 0 {
		if len(b) < 5 {
			return t, ErrShort
		}
		s := Stream{Type: StreamType(b[0]), PID: ts.PID(b[1]&0x1f)<<8 | ts.PID(b[2])}
		if d, b, err = loop12(b[3:]); err != nil {
			return t, err
		}
		s.Descriptors = bytes.Clone(d)
		t.Streams = append(t.Streams, s)
	}
	return t, nil
}

// Append writes the section.
func (t PMT) Append(b []byte) []byte {
	start := len(b)
	b = Header{TableID: TablePMT, Extension: t.Program, Version: t.Version, Next: t.Next}.begin(b)
	b = append(b, 0xe0|byte(t.PCRPID>>8), byte(t.PCRPID))
	b = appendLoop12(b, 0xf0, t.Descriptors)
	for _, s := range t.Streams {
		b = append(b, byte(s.Type), 0xe0|byte(s.PID>>8), byte(s.PID))
		b = appendLoop12(b, 0xf0, s.Descriptors)
	}
	return end(b, start)
}
