package sim

import (
	"strconv"
	"time"
)

// mjd is a time as EN 300 468 annex C has it: Modified Julian Date and BCD.
func mjd(b []byte, at time.Time) []byte {
	u := at.Unix()
	const epoch = 40587 // 1970-01-01
	h, m, s := at.UTC().Clock()
	b = u16(b, uint16(u/86400+epoch))
	return append(b, bcd(h), bcd(m), bcd(s))
}

func bcd(n int) byte { return byte(n/10<<4 | n%10) }

// tdt is the Time and Date Table, EN 300 468 §5.2.5: a short section without a CRC.
func tdt(b []byte, at time.Time) []byte {
	return mjd(append(b, 0x70, 0x70, 5), at)
}

// tot is the Time Offset Table, §5.2.6, with a local_time_offset_descriptor of one hour ahead.
func tot(b []byte, at time.Time) []byte {
	b = mjd(append(b, 0x73, 0x70, 0), at)
	b = append(b, 0xf0, 15, 0x58, 13, 'D', 'E', 'U', 0x02, 0x01, 0x00)
	b = mjd(b, time.Unix(0xffff*86400-40587*86400, 0)) // no change ahead
	b = append(b, 0x01, 0x00)
	return seal(b)
}

// nit is the Network Information Table, §5.2.1: one transport stream on one terrestrial carrier.
func nit(m *Mux) []byte {
	b := header(nil, 0x40, 0xf0, m.ONID, 0)
	b = loop(b, 0xf0, func(b []byte) []byte {
		return append(append(b, 0x40, byte(len(m.Name))), m.Name...) // network_name_descriptor
	})
	b = loop(b, 0xf0, func(b []byte) []byte {
		b = u16(u16(b, m.TSID), m.ONID)
		return loop(b, 0xf0, func(b []byte) []byte {
			b = append(b, 0x41, byte(3*len(m.Services))) // service_list_descriptor
			for _, s := range m.Services {
				b = append(u16(b, s.Program), serviceType(s))
			}
			b = append(b, 0x83, byte(4*len(m.Services))) // logical_channel_descriptor (EACEM)
			for _, s := range m.Services {
				lcn, _ := strconv.Atoi(s.Number)
				b = u16(u16(b, s.Program), 0xfc00|uint16(lcn&0x3ff))
			}
			b = append(b, 0x5a, 11) // terrestrial_delivery_system_descriptor: 8 MHz, 64-QAM, 2/3, 1/4, 8k
			b = u32(b, uint32(m.Frequency/10))
			return append(b, 0x1f, 0x81, 0x1a, 0xff, 0xff, 0xff, 0xff)
		})
	})
	return seal(b)
}

func serviceType(s Service) byte { // EN 300 468 table 87
	switch s.Video {
	case "":
		return 0x02 // digital radio
	case "atsc-mpeg2":
		return 0x01 // digital television
	}
	return 0x19 // H.264/AVC HD
}

// sdt is the Service Description Table, §5.2.3.
func sdt(m *Mux) []byte {
	b := header(nil, 0x42, 0xf0, m.TSID, 0)
	b = append(u16(b, m.ONID), 0xff)
	for _, s := range m.Services {
		b = append(u16(b, s.Program), 0xfd) // EIT_present_following
		free := byte(0x80)                  // running
		if s.Scrambled {
			free |= 0x10
		}
		b = loop(b, free, func(b []byte) []byte {
			b = append(b, 0x48, byte(3+len(m.Name)+len(s.Name)), serviceType(s), byte(len(m.Name)))
			b = append(b, m.Name...)
			return append(append(b, byte(len(s.Name))), s.Name...)
		})
	}
	return seal(b)
}

// dvbEIT is the Event Information Table present/following of a service, §5.2.4: section 0 is what is on,
// section 1 what comes next.
func dvbEIT(b []byte, m *Mux, service, following int, at time.Time) []byte {
	s := m.Services[service]
	e := at.Unix()/int64(eventTime/time.Second) + int64(following)
	b = header(b, 0x4e, 0xf0, s.Program, int(at.Unix()/int64(eventTime/time.Second)))
	b[6], b[7] = byte(following), 1 // section_number, last_section_number
	b = u16(u16(b, m.TSID), m.ONID)
	b = append(b, 1, 0x4e)
	b = mjd(u16(b, uint16(e)), time.Unix(e*int64(eventTime/time.Second), 0))
	b = append(b, 0, bcd(int(eventTime/time.Minute)), 0)
	status := byte(0x80) // running
	if following == 1 {
		status = 0x20 // not running
	}
	b = loop(b, status, func(b []byte) []byte {
		title := eventTitle(s, e)
		b = append(b, 0x4d, byte(5+len(title)), 'e', 'n', 'g', byte(len(title))) // short_event_descriptor
		return append(append(b, title...), 0)
	})
	return seal(b)
}
