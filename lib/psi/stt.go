package psi

import (
	"bytes"
	"encoding/binary"
	"time"
)

// GPSEpoch is 1980-01-06 in Unix seconds, where system_time counts from.
const GPSEpoch = 315964800

// STT is a system time section, A/65 §6.1.
type STT struct {
	SystemTime      uint32 // GPS seconds
	GPSUTCOffset    uint8  // leap seconds
	DaylightSavings uint16
	Descriptors     Descriptors
}

// UTC is system_time less the leap seconds.
func (t STT) UTC() time.Time {
	return time.Unix(GPSEpoch+int64(t.SystemTime)-int64(t.GPSUTCOffset), 0).UTC()
}

// STTAt is the table that says utc, with offset leap seconds (18 since 2017).
func STTAt(utc time.Time, offset uint8) STT {
	return STT{SystemTime: uint32(utc.Unix() - GPSEpoch + int64(offset)), GPSUTCOffset: offset, DaylightSavings: 0x6000}
}

// ParseSTT reads a section.
func ParseSTT(section []byte) (STT, error) {
	_, b, err := parsePSIP(section, TableSTT)
	if err != nil {
		return STT{}, err
	}
	if len(b) < 8 {
		return STT{}, ErrShort
	}
	return STT{
		SystemTime:      binary.BigEndian.Uint32(b[1:]),
		GPSUTCOffset:    b[5],
		DaylightSavings: binary.BigEndian.Uint16(b[6:]),
		Descriptors:     bytes.Clone(b[8:]),
	}, nil
}

// Append writes the section.
func (t STT) Append(b []byte) []byte {
	start := len(b)
	b = Header{TableID: TableSTT, privateFlag: true}.begin(b)
	b = append(b, 0) // protocol_version
	b = binary.BigEndian.AppendUint32(b, t.SystemTime)
	b = append(b, t.GPSUTCOffset, byte(t.DaylightSavings>>8), byte(t.DaylightSavings))
	b = append(b, t.Descriptors...)
	return end(b, start)
}
