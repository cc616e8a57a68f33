package psi

import (
	"bytes"
	"time"
)

// DVBEIT is an event information section, EN 300 468 §5.2.4.
type DVBEIT struct {
	TableID     uint8 // 0x4e and 0x4f: present and following; 0x50 … 0x6f: schedule
	ServiceID   uint16
	Version     uint8
	Next        bool
	Number      uint8
	LastNumber  uint8
	TSID        uint16
	ONID        uint16
	LastSegment uint8 // segment_last_section_number
	LastTableID uint8
	Events      []DVBEvent
}

// Schedule tells schedule from present/following.
func (t DVBEIT) Schedule() bool { return t.TableID >= 0x50 }

// Other tells whether the service is in another transport stream.
func (t DVBEIT) Other() bool { return t.TableID == 0x4f || t.TableID >= 0x60 }

// DVBEvent is one entry of a DVB EIT.
type DVBEvent struct {
	ID          uint16
	Start       time.Time // zero when undefined
	Length      time.Duration
	Running     uint8
	FreeCA      bool
	Descriptors Descriptors
}

// Short is the first short event descriptor (§6.2.37).
func (e DVBEvent) Short() (language, name, text string) {
	b, ok := e.Descriptors.Find(TagShortEvent)
	if !ok || len(b) < 4 {
		return "", "", ""
	}
	language = printable(b[:3])
	n := 4 + int(b[3])
	if n > len(b) {
		return language, "", ""
	}
	name = DVBText(b[4:n])
	if n < len(b) {
		text = DVBText(b[n+1 : min(len(b), n+1+int(b[n]))])
	}
	return language, name, text
}

// ShortEvent describes an event.
func ShortEvent(language, name, text string) Descriptors {
	var c [3]byte
	copy(c[:], language)
	n, t := AppendDVBText(nil, name), AppendDVBText(nil, text)
	n = n[:min(len(n), 100)]
	t = t[:min(len(t), 150)]
	b := append(append(c[:], byte(len(n))), n...)
	b = append(append(b, byte(len(t))), t...)
	return AppendDescriptor(nil, TagShortEvent, b)
}

// ParseDVBEIT reads a section.
func ParseDVBEIT(section []byte) (DVBEIT, error) {
	h, b, err := parse(section)
	if err != nil {
		return DVBEIT{}, err
	}
	if h.TableID < TableDVBEIT || h.TableID > 0x6f {
		return DVBEIT{}, ErrTable
	}
	t := DVBEIT{TableID: h.TableID, ServiceID: h.Extension, Version: h.Version, Next: h.Next, Number: h.Number, LastNumber: h.LastNumber}
	if len(b) < 6 {
		return t, ErrShort
	}
	t.TSID, t.ONID, t.LastSegment, t.LastTableID = uint16At(b, 0), uint16At(b, 2), b[4], b[5]
	b = b[6:]
	for len(b) > 0 {
		if len(b) < 12 {
			return t, ErrShort
		}
		e := DVBEvent{ID: uint16At(b, 0), Running: b[10] >> 5, FreeCA: b[10]&0x10 != 0}
		e.Start, _ = parseMJD(b[2:]) // undefined: all ones
		e.Length, _ = parseBCD(b[7:])
		var d []byte
		if d, b, err = loop12(b[10:]); err != nil {
			return t, err
		}
		e.Descriptors = bytes.Clone(d)
		t.Events = append(t.Events, e)
	}
	return t, nil
}

// Append writes the section.
func (t DVBEIT) Append(b []byte) []byte {
	start := len(b)
	h := Header{TableID: t.TableID, Extension: t.ServiceID, Version: t.Version, Next: t.Next, Number: t.Number, LastNumber: t.LastNumber, privateFlag: true}
	b = append(h.begin(b), byte(t.TSID>>8), byte(t.TSID), byte(t.ONID>>8), byte(t.ONID), t.LastSegment, t.LastTableID)
	for _, e := range t.Events {
		b = append(b, byte(e.ID>>8), byte(e.ID))
		b = appendMJD(b, e.Start)
		b = appendBCD(b, e.Length)
		status := e.Running << 5
		if e.FreeCA {
			status |= 0x10
		}
		b = appendLoop12(b, status, e.Descriptors)
	}
	return end(b, start)
}
