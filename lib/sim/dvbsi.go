package sim

import (
	"encoding/binary"
	"strconv"
	"time"

	"every.channel/ec/lib/psi"
)

// tdt is the Time and Date Table, EN 300 468 §5.2.5.
func (p *plan) tdt(b []byte, at time.Time) []byte {
	utc, _ := p.told(at)
	return psi.TDT{UTC: utc.Add(p.mux.Habits.TDTWrong)}.Append(b)
}

// tot is the Time Offset Table, §5.2.6: local time is an hour ahead, two where daylight is saved.
func (p *plan) tot(b []byte, at time.Time) []byte {
	o := psi.TimeOffset{Country: "DEU", Offset: time.Hour, Next: time.Hour}
	if change := p.mux.Habits.DST; !change.IsZero() {
		o.Next, o.Change = 2*time.Hour, change
		if !at.Before(change) {
			o.Offset, o.Next, o.Change = 2*time.Hour, time.Hour, change.AddDate(0, 0, 210)
		}
	}
	utc, _ := p.told(at)
	return psi.TOT{UTC: utc, Descriptors: psi.AppendTimeOffset(nil, o)}.Append(b)
}

// Descriptors of a NIT, §6.2 and EN 62216 (logical channels).
const (
	tagServiceList    = 0x41
	tagTerrestrial    = 0x5a
	tagLogicalChannel = 0x83
	tagPrivateData    = 0x5f
)

// nit is the Network Information Table, §5.2.1: one transport stream on one terrestrial carrier.
func nit(m *Mux) []byte {
	var list, numbers []byte
	for _, s := range m.Services {
		n, _ := strconv.Atoi(s.Number)
		list = append(binary.BigEndian.AppendUint16(list, s.Program), serviceType(s))
		numbers = binary.BigEndian.AppendUint16(numbers, s.Program)
		numbers = binary.BigEndian.AppendUint16(numbers, 0xfc00|uint16(n&0x3ff))
	}
	carrier := binary.BigEndian.AppendUint32(nil, uint32(m.Frequency/10))
	carrier = append(carrier, 0x1f, 0x81, 0x1a, 0xff, 0xff, 0xff, 0xff) // 8 MHz, 64-QAM, 2/3, 1/4, 8k
	d := psi.AppendDescriptor(nil, tagServiceList, list)
	d = psi.AppendDescriptor(d, tagTerrestrial, carrier)
	d = psi.AppendDescriptor(d, tagPrivateData, []byte{0, 0, 0, 0x28}) // EACEM, to whom 0x83 belongs
	d = psi.AppendDescriptor(d, tagLogicalChannel, numbers)
	t := psi.NIT{
		NetworkID:   m.ONID,
		Descriptors: psi.AppendDescriptor(nil, psi.TagNetworkName, []byte(m.Name)),
		Streams:     []psi.NetworkStream{{TSID: m.TSID, ONID: m.ONID, Descriptors: d}},
	}
	return t.Append(nil)
}

func serviceType(s Service) byte { // table 87
	if s.Video == "" {
		return 0x02 // digital radio
	}
	return 0x19 // H.264/AVC HD
}

// running is running_status "running", table 6.
const running = 4

// sdt is the Service Description Table, §5.2.3.
func (p *plan) sdt(b []byte, at time.Time) []byte {
	m, turn := p.mux, turns(p.mux.Habits.Rename, at)
	t := psi.SDT{TSID: m.TSID, ONID: m.ONID, Version: uint8(turn & 0x1f)}
	for _, s := range m.Services {
		d := psi.ServiceDescriptor(serviceType(s), m.Name, nameAt(s.Name, turn))
		if c := charsets[m.Habits.Charset]; c.table != 0 {
			name := append([]byte{c.table}, c.name...)
			if turn%2 == 1 {
				name = append(name, '+')
			}
			body := append([]byte{serviceType(s), byte(len(m.Name))}, m.Name...)
			d = psi.AppendDescriptor(nil, psi.TagService, append(append(body, byte(len(name))), name...))
		}
		t.Services = append(t.Services, psi.Service{
			ID: s.Program, EITPF: true, Running: running, FreeCA: s.Scrambled || m.Habits.PESScrambled, Descriptors: d,
		})
	}
	return t.Append(b)
}

// charsets are names in encodings of EN 300 468 annex A.2 (table A.3), and the byte that selects each: "central
// television" in Chinese twice, "Korean broadcast" in Korean.
var charsets = map[string]struct {
	table byte
	name  string
}{
	"ksx1001": {0x12, "\xc7\xd1\xb1\xb9\xb9\xe6\xbc\xdb"},
	"gb2312":  {0x13, "\xd6\xd0\xd1\xeb\xb5\xe7\xca\xd3"},
	"big5":    {0x14, "\x4e\x2d\x59\x2e\x96\xfb\x89\x96"}, // the Big5 subset of ISO/IEC 10646, two bytes each
}

// nextSDT is one that is not yet applicable, with nothing in it that is true.
func nextSDT(m *Mux) []byte {
	t := psi.SDT{TSID: m.TSID + 2, ONID: m.ONID + 2, Next: true, Version: 21}
	for _, s := range m.Services {
		t.Services = append(t.Services, psi.Service{
			ID: s.Program, Running: 1, Descriptors: psi.ServiceDescriptor(serviceType(s), m.Name, "next"),
		})
	}
	return t.Append(nil)
}

// dvbEIT is the Event Information Table present/following of a service, §5.2.4: section 0 is what is on,
// section 1 what comes next.
func dvbEIT(b []byte, m *Mux, service, following int, at time.Time) []byte {
	s := m.Services[service]
	now := at.Unix() / int64(eventTime/time.Second)
	e := now + int64(following)
	event := psi.DVBEvent{
		ID: uint16(e), Start: eventStart(e), Length: eventTime, Running: running,
		Descriptors: psi.ShortEvent("eng", eventTitle(s, e), ""),
	}
	if following == 1 {
		event.Running = 1 // not running
	}
	t := psi.DVBEIT{
		TableID: psi.TableDVBEIT, ServiceID: s.Program, Version: uint8(now & 0x1f),
		Number: uint8(following), LastNumber: 1, TSID: m.TSID, ONID: m.ONID, LastTableID: psi.TableDVBEIT,
		Events: []psi.DVBEvent{event},
	}
	return t.Append(b)
}
