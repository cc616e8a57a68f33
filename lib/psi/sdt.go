package psi

import "bytes"

// SDT is a service description section, EN 300 468 §5.2.3.
type SDT struct {
	Other      bool // describes another transport stream
	TSID       uint16
	ONID       uint16 // original_network_id
	Version    uint8
	Next       bool
	Number     uint8
	LastNumber uint8
	Services   []Service
}

// Service is one entry of an SDT.
type Service struct {
	ID          uint16 // service_id, the program number
	EITSchedule bool
	EITPF       bool
	Running     uint8 // running_status, 4 is running
	FreeCA      bool  // free_CA_mode: some component is scrambled
	Descriptors Descriptors
}

// Name is type, provider and name of the service descriptor (§6.2.33).
func (s Service) Name() (kind uint8, provider, name string) {
	b, ok := s.Descriptors.Find(TagService)
	if !ok || len(b) < 2 {
		return 0, "", ""
	}
	kind = b[0]
	p := 2 + int(b[1])
	if p >= len(b) {
		return kind, "", ""
	}
	provider = DVBText(b[2:p])
	n := p + 1 + int(b[p])
	if n > len(b) {
		n = len(b)
	}
	return kind, provider, DVBText(b[p+1 : n])
}

// Of is the service of a program of this transport stream. A table of another one or one that is not yet applicable
// has none.
func (t SDT) Of(program uint16) (Service, bool) {
	if t.Other || t.Next {
		return Service{}, false
	}
	for _, s := range t.Services {
		if s.ID == program {
			return s, true
		}
	}
	return Service{}, false
}

// ServiceDescriptor names a service.
func ServiceDescriptor(kind uint8, provider, name string) Descriptors {
	p, n := AppendDVBText(nil, provider), AppendDVBText(nil, name)
	p = p[:min(len(p), 120)]
	n = n[:min(len(n), 120)]
	b := append([]byte{kind, byte(len(p))}, p...)
	b = append(append(b, byte(len(n))), n...)
	return AppendDescriptor(nil, TagService, b)
}

// ParseSDT reads a section.
func ParseSDT(section []byte) (SDT, error) {
	h, b, err := parse(section, TableSDT, TableSDTOther)
	if err != nil {
		return SDT{}, err
	}
	t := SDT{Other: h.TableID == TableSDTOther, TSID: h.Extension, Version: h.Version, Next: h.Next, Number: h.Number, LastNumber: h.LastNumber}
	if len(b) < 3 {
		return t, ErrShort
	}
	t.ONID = uint16At(b, 0)
	b = b[3:]
	for len(b) > 0 {
		if len(b) < 5 {
			return t, ErrShort
		}
		s := Service{
			ID:          uint16At(b, 0),
			EITSchedule: b[2]&2 != 0,
			EITPF:       b[2]&1 != 0,
			Running:     b[3] >> 5,
			FreeCA:      b[3]&0x10 != 0,
		}
		var d []byte
		if d, b, err = loop12(b[3:]); err != nil {
			return t, err
		}
		s.Descriptors = bytes.Clone(d)
		t.Services = append(t.Services, s)
	}
	return t, nil
}

// Append writes the section.
func (t SDT) Append(b []byte) []byte {
	start := len(b)
	h := Header{TableID: TableSDT, Extension: t.TSID, Version: t.Version, Next: t.Next, Number: t.Number, LastNumber: t.LastNumber, privateFlag: true}
	if t.Other {
		h.TableID = TableSDTOther
	}
	b = append(h.begin(b), byte(t.ONID>>8), byte(t.ONID), 0xff)
	for _, s := range t.Services {
		flags := byte(0xfc)
		if s.EITSchedule {
			flags |= 2
		}
		if s.EITPF {
			flags |= 1
		}
		status := s.Running << 5
		if s.FreeCA {
			status |= 0x10
		}
		b = append(b, byte(s.ID>>8), byte(s.ID), flags)
		b = appendLoop12(b, status, s.Descriptors)
	}
	return end(b, start)
}
