package sim

import (
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

// stt is the System Time Table, A/65 §6.1.
func stt(b []byte, at time.Time) []byte { return psi.STTAt(at, gpsUTCOffset).Append(b) }

// block counts the three-hour blocks that event tables are divided into, A/65 §6.5.
func block(at time.Time) int64 { return at.Unix() / int64(blockTime/time.Second) }

// mgt is the Master Guide Table, A/65 §6.2.
func (p *plan) mgt(b []byte, at time.Time) []byte {
	version := uint8(block(at) & 0x1f)
	t := psi.MGT{Version: version, Tables: []psi.MGTTable{{PID: ts.PIDPSIP, Bytes: uint32(p.vctSize)}}}
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

// tvct is the Terrestrial Virtual Channel Table, A/65 §6.3.1.
func tvct(m *Mux) []byte {
	t := psi.VCT{TSID: m.TSID}
	for i, s := range m.Services {
		c := psi.VirtualChannel{
			ShortName: s.Name, Modulation: 4, TSID: m.TSID, Program: s.Program, // 4: 8-VSB
			Controlled: s.Scrambled, ServiceType: 2, SourceID: uint16(1 + i), // 2: television
		}
		if s.Video == "" {
			c.ServiceType = 3 // audio
		}
		c.Major, c.Minor = channelNumber(s.Number)
		t.Channels = append(t.Channels, c)
	}
	return t.Append(nil)
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
