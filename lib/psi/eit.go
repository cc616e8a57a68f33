package psi

import (
	"bytes"
	"encoding/binary"
	"time"
)

// EIT is an ATSC event information section, A/65 §6.5: three hours of one channel.
type EIT struct {
	SourceID   uint16
	Version    uint8
	Number     uint8
	LastNumber uint8
	Events     []Event
}

// Event is one entry of an ATSC EIT.
type Event struct {
	ID          uint16 // 14 bits
	Start       uint32 // GPS seconds; see StartUTC
	Length      time.Duration
	ETM         uint8 // ETM_location
	Title       Text
	Descriptors Descriptors
}

// StartUTC is Start less offset, the leap seconds that the STT gives.
func (e Event) StartUTC(offset uint8) time.Time {
	return time.Unix(GPSEpoch+int64(e.Start)-int64(offset), 0).UTC()
}

// ParseEIT reads a section.
func ParseEIT(section []byte) (EIT, error) {
	h, b, err := parsePSIP(section, TableEIT)
	if err != nil {
		return EIT{}, err
	}
	t := EIT{SourceID: h.Extension, Version: h.Version, Number: h.Number, LastNumber: h.LastNumber}
	if len(b) < 2 {
		return t, ErrShort
	}
	n := int(b[1])
	b = b[2:]
	for range n {
		if len(b) < 10 {
			return t, ErrShort
		}
		title := 10 + int(b[9])
		if title > len(b) {
			return t, ErrShort
		}
		e := Event{
			ID:     uint16At(b, 0) & 0x3fff,
			Start:  binary.BigEndian.Uint32(b[2:]),
			ETM:    b[6] >> 4 & 3,
			Length: time.Duration(int(b[6]&0x0f)<<16|int(b[7])<<8|int(b[8])) * time.Second,
		}
		if e.Title, err = ParseText(b[10:title]); err != nil {
			return t, err
		}
		var d []byte
		if d, b, err = loop12(b[title:]); err != nil {
			return t, err
		}
		e.Descriptors = bytes.Clone(d)
		t.Events = append(t.Events, e)
	}
	return t, nil
}

// Append writes the section. Titles beyond 255 bytes encoded are left out.
func (t EIT) Append(b []byte) []byte {
	start := len(b)
	h := Header{TableID: TableEIT, Extension: t.SourceID, Version: t.Version, Number: t.Number, LastNumber: t.LastNumber, privateFlag: true}
	b = append(h.begin(b), 0, byte(len(t.Events)))
	for _, e := range t.Events {
		b = append(b, 0xc0|byte(e.ID>>8)&0x3f, byte(e.ID))
		b = binary.BigEndian.AppendUint32(b, e.Start)
		s := uint32(e.Length / time.Second)
		b = append(b, 0xc0|e.ETM&3<<4|byte(s>>16)&0x0f, byte(s>>8), byte(s))
		title := e.Title.Append(nil)
		if len(title) > 255 {
			title = nil
		}
		b = append(append(b, byte(len(title))), title...)
		b = appendLoop12(b, 0xf0, e.Descriptors)
	}
	return end(b, start)
}
