package sim

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

const (
	gpsUTCOffset = 18 // leap seconds since then
	eitPID       = ts.PID(0x1d00)
	eitBlocks    = 4 // A/65 §6.5: EIT-0 to EIT-3 are required
	blockTime    = 3 * time.Hour
	eventTime    = 30 * time.Minute
)

// told is what tables say of a time, and GPS_UTC_offset: after a leap second UTC is a second behind a clock that
// does not know of it.
func (p *plan) told(at time.Time) (time.Time, uint8) {
	if leap := p.mux.Habits.Leap; !leap.IsZero() && !at.Before(leap) {
		return at.Add(-time.Second), gpsUTCOffset + 1
	}
	return at, gpsUTCOffset
}

// stt is the System Time Table, A/65 §6.1.
func (p *plan) stt(b []byte, at time.Time) []byte {
	utc, offset := p.told(at)
	t := psi.STTAt(utc, offset)
	if change := p.mux.Habits.DST; !change.IsZero() {
		// A/65 annex A.2: DS_status, and day and hour of a change in this month.
		t.DaylightSavings = 0x6000
		if !at.Before(change) {
			t.DaylightSavings |= 0x8000
		} else if y, m, d := change.Date(); at.Month() == m && at.Year() == y {
			t.DaylightSavings |= uint16(d)<<8 | 2
		}
	}
	return t.Append(b)
}

// otherSTT has a protocol_version that nobody knows yet, A/65 §6.1; its time is none.
func (p *plan) otherSTT(b []byte, at time.Time) []byte {
	start := len(b)
	b = psi.STTAt(at.Add(-7*time.Hour), gpsUTCOffset).Append(b)
	b[start+8] = 1 // protocol_version
	return checked(b, start)
}

// checked makes CRC_32 of the section from start on anew.
func checked(b []byte, start int) []byte {
	n := len(b) - 4
	binary.BigEndian.PutUint32(b[n:], psi.CRC32(b[start:n]))
	return b
}

// block counts the three-hour blocks that event tables are divided into, A/65 §6.5.
func block(at time.Time) int64 { return at.Unix() / int64(blockTime/time.Second) }

// mgt is the Master Guide Table, A/65 §6.2.
func (p *plan) mgt(b []byte, at time.Time) []byte {
	version := uint8(block(at) & 0x1f)
	vct := psi.MGTTable{PID: ts.PIDPSIP, Bytes: uint32(p.vctSize)}
	if p.mux.Habits.OnePart {
		vct.Type = 2 // CVCT
	}
	if every := p.mux.Habits.Rename; every > 0 {
		vct.Version = uint8(turns(every, at) & 0x1f)
		version += vct.Version
	}
	t := psi.MGT{Version: version & 0x1f, Tables: []psi.MGTTable{vct}}
	version = uint8(block(at) & 0x1f)
	for i := range eitBlocks {
		t.Tables = append(t.Tables, psi.MGTTable{
			Type: 0x0100 + uint16(i), PID: eitPID + ts.PID(i), Version: version, Bytes: uint32(p.eitSize),
		})
	}
	return t.Append(b)
}

// channelNumber splits "5.1". A number without a dot is a one-part number, A/65 §6.3.1.
func channelNumber(s string) (major, minor uint16) {
	a, b, two := strings.Cut(s, ".")
	n, _ := strconv.Atoi(a)
	m, _ := strconv.Atoi(b)
	if !two {
		return 0x3f0 | uint16(n)>>10&0x0f, uint16(n) & 0x3ff
	}
	return uint16(n) & 0x3ff, uint16(m) & 0x3ff
}

// vct is the Virtual Channel Table, A/65 §6.3.1: of terrestrial broadcasts unless channel numbers have one part.
func (p *plan) vct(b []byte, at time.Time) []byte {
	m, h := p.mux, &p.mux.Habits
	turn := turns(h.Rename, at)
	t := psi.VCT{TSID: m.TSID, Cable: h.OnePart, Version: uint8(turn & 0x1f)}
	for i, s := range m.Services {
		c := psi.VirtualChannel{
			ShortName: nameAt(s.Name, turn), Modulation: 4, TSID: m.TSID, Program: s.Program, // 4: 8-VSB
			Controlled: s.Scrambled, ServiceType: 2, SourceID: uint16(1 + i), // 2: television
		}
		if s.Video == "" {
			c.ServiceType = 3 // audio
		}
		c.Major, c.Minor = channelNumber(s.Number)
		if h.OnePart {
			c.Major, c.Minor = channelNumber(strconv.Itoa(1000 + int(c.Major)*10 + int(c.Minor)))
		}
		t.Channels = append(t.Channels, c)
	}
	if h.VCTOther { // A/65 §6.3.1: channel_TSID may be that of another transport stream
		var other []psi.VirtualChannel
		for i, s := range m.Services {
			other = append(other, psi.VirtualChannel{
				ShortName: "OTHER", Major: 99, Minor: uint16(1 + i), Modulation: 4, TSID: m.TSID + 1, Program: s.Program,
				ServiceType: 2, SourceID: uint16(101 + i),
			})
		}
		t.Channels = append(other, t.Channels...)
	}
	return t.Append(b)
}

// nextVCT is one that is not yet applicable, with nothing in it that is true.
func nextVCT(m *Mux) []byte {
	t := psi.VCT{TSID: m.TSID + 2, Next: true, Version: 21}
	for i, s := range m.Services {
		t.Channels = append(t.Channels, psi.VirtualChannel{
			ShortName: "NEXT", Major: 98, Minor: uint16(1 + i), Modulation: 4, TSID: m.TSID + 2, Program: s.Program,
			ServiceType: 2, SourceID: uint16(1 + i),
		})
	}
	return t.Append(nil)
}

// nameAt is a name, or at every second turn another of the same length.
func nameAt(name string, turn int64) string {
	if turn%2 == 1 && name != "" {
		return name[:len(name)-1] + "+"
	}
	return name
}

// atscEIT is the Event Information Table of a service for three hours, ahead blocks from now, A/65 §6.5.
func atscEIT(b []byte, m *Mux, ahead, service int, at time.Time) []byte {
	const events = int64(blockTime / eventTime)
	n := block(at) + int64(ahead)
	t := psi.EIT{SourceID: uint16(1 + service), Version: uint8(block(at) & 0x1f)}
	for e := n * events; e < (n+1)*events; e++ {
		title, stuffing := compressedTitle("The News, " + eventTitle(m.Services[service], e))
		t.Events = append(t.Events, psi.Event{
			ID:          uint16(e & 0x3fff),
			Start:       uint32(eventStart(e).Unix() - psi.GPSEpoch + gpsUTCOffset),
			Length:      eventTime,
			Title:       title,
			Descriptors: stuffing,
		})
	}
	return t.Append(b)
}

// compressedTitle is a title in Huffman code, A/65 annex C, and as much stuffing as makes events with titles of one
// length equally long: in the code they are not. A title that the code makes longer goes without it.
func compressedTitle(s string) (title psi.Text, stuffing psi.Descriptors) {
	title = psi.English(s)
	long := len(title.Append(nil))
	title[0].Compression = psi.TitleHuffman
	short := len(title.Append(nil))
	if short > long {
		title[0].Compression, short = psi.Uncompressed, long
	}
	return title, psi.AppendDescriptor(nil, psi.TagStuffing, make([]byte, long-short))
}

// eventStart is when event number e since the Unix epoch starts.
func eventStart(e int64) time.Time { return time.Unix(e*int64(eventTime/time.Second), 0).UTC() }

// eventTitle names an event, always with the same length.
func eventTitle(s Service, e int64) string {
	return fmt.Sprintf("%s at %s UTC", s.Name, eventStart(e).Format("15:04"))
}
