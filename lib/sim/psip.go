package sim

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"every.channel/ec/lib/ts"
)

const (
	gpsEpoch     = 315964800 // Unix time of 1980-01-06
	gpsUTCOffset = 18        // leap seconds since then
	eitPID       = ts.PID(0x1d00)
	eitBlocks    = 4 // A/65 §6.5: EIT-0 to EIT-3 are required
	blockTime    = 3 * time.Hour
	eventTime    = 30 * time.Minute
)

// stt is the System Time Table, A/65 §6.1.
func stt(b []byte, at time.Time) []byte {
	b = header(b, 0xcd, 0xf0, 0, 0)
	b = append(b, 0) // protocol_version
	b = u32(b, uint32(at.Unix()-gpsEpoch+gpsUTCOffset))
	return seal(append(b, gpsUTCOffset, 0x60, 0)) // no daylight saving; bits 5 and 6 are reserved
}

// block counts the three-hour blocks that event tables are divided into, A/65 §6.5.
func block(at time.Time) int64 { return at.Unix() / int64(blockTime/time.Second) }

// mgt is the Master Guide Table, A/65 §6.2.
func (p *plan) mgt(b []byte, at time.Time) []byte {
	b = header(b, 0xc7, 0xf0, 0, int(block(at)))
	b = u16(append(b, 0), 1+eitBlocks)
	entry := func(kind uint16, pid ts.PID, version, size int) {
		b = u16(u16(b, kind), 0xe000|uint16(pid))
		b = append(b, 0xe0|byte(version&0x1f))
		b = u16(u32(b, uint32(size)), 0xf000)
	}
	entry(0x0000, ts.PIDPSIP, 0, p.vctSize)
	for i := range eitBlocks {
		entry(0x0100+uint16(i), eitPID+ts.PID(i), int(block(at)), p.eitSize)
	}
	return seal(u16(b, 0xf000))
}

// numbers splits "5.1"; a number without a dot is a one-part channel number.
func numbers(s string) (major, minor int) {
	a, b, two := strings.Cut(s, ".")
	major, _ = strconv.Atoi(a)
	minor, _ = strconv.Atoi(b)
	if !two {
		return 0x3f0 | major>>10, major & 0x3ff // A/65 §6.3.1
	}
	return major & 0x3ff, minor & 0x3ff
}

// tvct is the Terrestrial Virtual Channel Table, A/65 §6.3.1.
func tvct(m *Mux) []byte {
	b := header(nil, 0xc8, 0xf0, m.TSID, 0)
	b = append(b, 0, byte(len(m.Services)))
	for i, s := range m.Services {
		var name [7]byte
		copy(name[:], s.Name)
		for _, c := range name {
			b = u16(b, uint16(c))
		}
		major, minor := numbers(s.Number)
		b = append(b, 0xf0|byte(major>>6), byte(major<<2)|byte(minor>>8), byte(minor), 0x04) // 8-VSB
		b = u32(b, 0)                                                                        // carrier_frequency, to be 0
		b = u16(u16(b, m.TSID), s.Program)
		flags, kind := byte(0), byte(2) // ATSC digital television
		if s.Video == "" {
			kind = 3
		}
		if s.Scrambled {
			flags = 0x20 // access_controlled
		}
		b = u16(append(b, flags|0x0d, 0xc0|kind), uint16(1+i)) // source_id
		b = u16(b, 0xfc00)
	}
	return seal(u16(b, 0xfc00))
}

// atscEIT is the Event Information Table of a service for the block-th block from now, A/65 §6.5.
func atscEIT(b []byte, m *Mux, ahead, service int, at time.Time) []byte {
	n := block(at) + int64(ahead)
	b = header(b, 0xcb, 0xf0, uint16(1+service), int(block(at)))
	const events = int64(blockTime / eventTime)
	b = append(b, 0, byte(events))
	for e := n * events; e < (n+1)*events; e++ {
		start := e * int64(eventTime/time.Second)
		length := uint32(eventTime / time.Second)
		b = u16(b, 0xc000|uint16(e&0x3fff))
		b = u32(b, uint32(start-gpsEpoch+gpsUTCOffset))
		b = append(b, 0xc0|byte(length>>16), byte(length>>8), byte(length))
		title := eventTitle(m.Services[service], e)
		// multiple_string_structure: one string, one segment, not compressed (A/65 §6.10)
		b = append(b, byte(8+len(title)), 1, 'e', 'n', 'g', 1, 0, 0, byte(len(title)))
		b = append(b, title...)
		b = u16(b, 0xf000)
	}
	return seal(b)
}

// eventTitle names event number e since the Unix epoch, always with the same length.
func eventTitle(s Service, e int64) string {
	at := time.Unix(e*int64(eventTime/time.Second), 0).UTC()
	return fmt.Sprintf("%s at %s UTC", s.Name, at.Format("15:04"))
}
