package sim

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DefaultMuxes is the lineup of ec-sim: two ATSC and one DVB multiplex that a receiver can use, and one
// with what a receiver has to refuse.
func DefaultMuxes() []*Mux {
	return []*Mux{
		{
			Name: "EC-TV", Standard: ATSC, TSID: 2065, Frequency: 533_000_000, Modulation: "8vsb",
			Services: []Service{
				{Number: "5.1", Name: "EC-MPEG", Program: 3, PID: 0x30, Video: "atsc-mpeg2", Audio: "tone-ac3"},
				{Number: "5.2", Name: "EC-H264", Program: 4, PID: 0x40, Video: "atsc-h264", Audio: "tone-aac"},
			},
		},
		{
			Name: "EC-DVB", Standard: DVB, ONID: 8468, TSID: 1041, Frequency: 522_000_000, Modulation: "t8qam64",
			Offset: -5 * time.Hour,
			Services: []Service{
				{Number: "101", Name: "EC Eins", Program: 28006, PID: 0x100, Video: "dvb-h264", Audio: "tone-mp2"},
				{Number: "102", Name: "EC Zwei", Program: 28007, PID: 0x110, Video: "dvb-longgop", Audio: "tone-ac3"},
				{Number: "103", Name: "EC Radio", Program: 28008, PID: 0x120, Audio: "tone-mp2"},
			},
		},
		{
			Name: "EC-ODD", Standard: ATSC, TSID: 2067, Frequency: 545_000_000, Modulation: "8vsb",
			Offset: 2 * time.Hour,
			Services: []Service{
				{Number: "7.1", Name: "EC-DRM", Program: 1, PID: 0x30, Video: "atsc-h264", Audio: "tone-ac3", DRM: true},
				{Number: "7.2", Name: "EC-CA", Program: 2, PID: 0x40, Video: "atsc-h264", Audio: "tone-ac3", Scrambled: true},
				{Number: "7.3", Name: "EC-DEAD", Program: 3, PID: 0x50, Video: "atsc-h264", Audio: "tone-ac3", Dead: true},
			},
		},
		{
			Name: "EC-NOTM", Standard: ATSC, TSID: 2069, Frequency: 557_000_000, Modulation: "8vsb", NoTime: true,
			Services: []Service{
				{Number: "9.1", Name: "EC-NOTM", Program: 3, PID: 0x30, Video: "atsc-mpeg2", Audio: "tone-ac3"},
			},
		},
	}
}

// Extend gives the first ATSC and the first DVB multiplex n services each, by repeating those that they have under other names and numbers:
// 5.3, 5.4 and 104. Call it before anything is read.
func (b *Broadcast) Extend(n int) {
	done := map[Standard]bool{}
	for _, m := range b.All() {
		if done[m.Standard] {
			continue
		}
		done[m.Standard] = true
		had := len(m.Services)
		last := m.Services[had-1]
		for i := had; i < n; i++ {
			s := m.Services[i%had]
			s.Name = fmt.Sprintf("%s %d", s.Name, i/had+1)
			s.Program, s.PID = last.Program+1, last.PID+0x10
			if m.Standard == DVB {
				s.Number = strconv.Itoa(101 + i)
			} else {
				major, _, _ := strings.Cut(last.Number, ".")
				s.Number = fmt.Sprintf("%s.%d", major, i+1)
			}
			m.Services = append(m.Services, s)
			last = s
		}
	}
}
