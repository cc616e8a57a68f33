package sim

import (
	"time"

	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// A seldom is a PID that is quiet most of the time.
type seldom struct {
	every  time.Duration
	after  ts.PID // from the PID of the PMT
	pes    bool
	listed psi.Stream // in the PMT, but for its PID
	make   func(b []byte, at time.Time) []byte
}

// seldoms lists what h has of them.
func (h *Habits) seldoms() (all []seldom) {
	for _, s := range []seldom{
		{h.SCTE35, afterSCTE35, false, psi.Stream{Type: psi.TypeSCTE35, Descriptors: psi.AppendDescriptor(nil, psi.TagRegistration, []byte("CUEI"))}, spliceNull},
		{h.Subtitles, afterSubtitles, true, psi.Stream{Type: psi.TypePrivate,
			Descriptors: psi.AppendDescriptor(nil, psi.TagSubtitling, []byte("deu\x10\x00\x01\x00\x01"))}, subtitles}, // EN 300 468 §6.2.41
		{h.Teletext, afterTeletext, true, psi.Stream{Type: psi.TypePrivate,
			Descriptors: psi.AppendDescriptor(nil, psi.TagTeletext, []byte("deu\x09\x00"))}, teletext}, // §6.2.43: initial page 100
		{h.PrivateSections, afterSections, false, psi.Stream{Type: psi.TypeSections}, privateSection},
		{h.PrivateData, afterData, true, psi.Stream{Type: psi.TypePrivate}, privateData},
	} {
		if s.every > 0 {
			all = append(all, s)
		}
	}
	return all
}

// sparse lists the seldom PIDs of service i for its PMT.
func (p *plan) sparse(i int) (all []psi.Stream) {
	for _, s := range p.mux.Habits.seldoms() {
		e := s.listed
		e.PID = p.services[i].PID + s.after
		all = append(all, e)
	}
	return all
}

// addSparse sends the seldom PIDs of all services.
func (p *plan) addSparse() {
	for i, v := range p.mux.Services {
		if v.Dead {
			continue
		}
		for n, s := range p.mux.Habits.seldoms() {
			every := int64(s.every / slotTime)
			p.tables = append(p.tables, table{
				pid: v.PID + s.after, every: every, phase: int64(2*n+3) % every, service: i, pes: s.pes, make: s.make, lasts: time.Second,
			})
		}
	}
}

// spliceNull is a splice_info_section with splice_null, SCTE 35 §9.6.
func spliceNull(b []byte, _ time.Time) []byte {
	start := len(b)
	b = append(b, 0xfc, 0x30, 17, // table_id, section_length
		0, 0, 0, 0, 0, 0, // protocol_version, no encryption, pts_adjustment 0
		0xff, 0xff, 0xf0, 0, // cw_index, tier 0xfff, splice_command_length 0
		0,    // splice_null
		0, 0, // descriptor_loop_length
		0, 0, 0, 0)
	return checked(b, start)
}

// private1 begins a PES packet of private_stream_1 with a PTS to fill in, for n bytes, header included.
func private1(b []byte, n int) []byte {
	return append(b, 0, 0, 1, streamIDPrivate1, byte((n-6)>>8), byte(n-6), 0x84, 0x80, 5, 0, 0, 0, 0, 0)
}

// subtitles is an empty page in three packets, EN 300 743 §7.
func subtitles(b []byte, at time.Time) []byte {
	const segments = 480
	b = private1(b, 14+2+8+6+segments+6+1)
	b = append(b, 0x20, 0x00)                                               // data_identifier, subtitle_stream_id
	b = append(b, 0x0f, 0x10, 0, 1, 0, 2, 5, byte(at.Unix()&0x0f)<<4)       // page_composition_segment
	b = append(b, 0x0f, 0xff, 0, 1, byte(segments>>8), byte(segments&0xff)) // stuffing_segment
	for i := range segments {
		b = append(b, byte(at.Unix())^byte(i))
	}
	return append(b, 0x0f, 0x80, 0, 1, 0, 0, 0xff) // end_of_display_set_segment, end_of_PES_data_field_marker
}

// teletext is a PES packet of three lines, EN 300 472 §4: its header has 45 bytes, all of it 184.
func teletext(b []byte, at time.Time) []byte {
	b = append(b, 0, 0, 1, streamIDPrivate1, 0, 184-6, 0x84, 0x80, 0x24, 0, 0, 0, 0, 0)
	for range 45 - 14 {
		b = append(b, 0xff)
	}
	b = append(b, 0x10) // data_identifier: EBU data
	for line := range byte(3) {
		b = append(b, 0x02, 0x2c, 0xe0|7+line, 0xe4) // EBU teletext non-subtitle data, framing code
		for i := range byte(42) {
			b = append(b, byte(at.Unix())+i*line)
		}
	}
	return b
}

// privateSection is a private_section of H.222.0 §2.4.4.10.
func privateSection(b []byte, at time.Time) []byte {
	start := len(b)
	b = append(b, 0x90, 0xf0, 9+32, 0, 1, 0xc1|byte(at.Unix()&0x1f)<<1, 0, 0)
	for i := range byte(32) {
		b = append(b, byte(at.Unix())+i)
	}
	return checked(append(b, 0, 0, 0, 0), start)
}

// privateData is a PES packet that nobody knows.
func privateData(b []byte, at time.Time) []byte {
	b = private1(b, 14+300)
	for i := range 300 {
		b = append(b, byte(i)^byte(at.Unix()))
	}
	return b
}
