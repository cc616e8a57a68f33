package psi

import "bytes"

// NIT is a network information section, EN 300 468 §5.2.1.
type NIT struct {
	Other       bool
	NetworkID   uint16
	Version     uint8
	Number      uint8
	LastNumber  uint8
	Descriptors Descriptors
	Streams     []NetworkStream
}

// NetworkStream is one transport stream of a NIT.
type NetworkStream struct {
	TSID        uint16
	ONID        uint16
	Descriptors Descriptors
}

// Name is the network name, or "".
func (t NIT) Name() string {
	b, _ := t.Descriptors.Find(TagNetworkName)
	return DVBText(b)
}

// ParseNIT reads a section.
func ParseNIT(section []byte) (NIT, error) {
	h, b, err := parse(section, TableNIT, TableNITOther)
	if err != nil {
		return NIT{}, err
	}
	t := NIT{Other: h.TableID == TableNITOther, NetworkID: h.Extension, Version: h.Version, Number: h.Number, LastNumber: h.LastNumber}
	d, b, err := loop12(b)
	if err != nil {
		return t, err
	}
	t.Descriptors = bytes.Clone(d)
	if b, _, err = loop12(b); err != nil {
		return t, err
	}
	for len(b) > 0 {
		if len(b) < 6 {
			return t, ErrShort
		}
		s := NetworkStream{TSID: uint16At(b, 0), ONID: uint16At(b, 2)}
		if d, b, err = loop12(b[4:]); err != nil {
			return t, err
		}
		s.Descriptors = bytes.Clone(d)
		t.Streams = append(t.Streams, s)
	}
	return t, nil
}

// Append writes the section.
func (t NIT) Append(b []byte) []byte {
	start := len(b)
	h := Header{TableID: TableNIT, Extension: t.NetworkID, Version: t.Version, Number: t.Number, LastNumber: t.LastNumber, privateFlag: true}
	if t.Other {
		h.TableID = TableNITOther
	}
	b = appendLoop12(h.begin(b), 0xf0, t.Descriptors)
	var loop []byte
	for _, s := range t.Streams {
		loop = append(loop, byte(s.TSID>>8), byte(s.TSID), byte(s.ONID>>8), byte(s.ONID))
		loop = appendLoop12(loop, 0xf0, s.Descriptors)
	}
	b = appendLoop12(b, 0xf0, loop)
	return end(b, start)
}
