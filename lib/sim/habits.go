package sim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PCRHabit says which packets carry the PCR of a program.
type PCRHabit uint8

const (
	PCRMixed   PCRHabit = iota // the first packet of each PES packet, and packets without payload
	PCRPayload                 // packets with payload only; without it in a slot in which the PID sends none
	PCRBare                    // packets without payload only
	PCROwnPID                  // packets without payload on a PID of their own
	PCRCadence                 // as PCRMixed for 10 s, then 10 s without the packets that have no payload, and so on
	PCRNeeded                  // as PCRMixed, but without payload only where the last PCR is an interval ago
	PCRNone                    // none, though the PMT names a PCR_PID
)

var pcrNames = [...]string{"mixed", "payload", "bare", "own-pid", "cadence", "needed", "none"}

// Habits are what multiplexers of broadcasters do besides the ordinary. All of it is legal unless a field says
// otherwise, and all of it follows from UTC. The zero value is the ordinary broadcast. What a field says of ATSC
// or DVB alone leaves a multiplex of the other standard as it is.
type Habits struct {
	PCR PCRHabit
	// PCREvery is the interval of PCRs in packets without payload, and with PCRPayload of all; 10 ms to 100 ms,
	// default 33.3 ms. PCRMixed has one more at each PES packet.
	PCREvery time.Duration
	// DiscontinuityEvery sets discontinuity_indicator with every PCR, though the clock goes on.
	DiscontinuityEvery bool
	// DiscontinuityFirst sets it at each UTC multiple of this on the next PES packet of audio that carries no PCR,
	// whose counter goes on; default never.
	DiscontinuityFirst time.Duration

	// StuffBare sends packets of video and audio without payload; StuffField puts stuffing into adaptation fields
	// amid a PES packet; StuffFiller fills pictures up to their mean size, with filler data (H.264 §7.4.1) or zero
	// bytes (H.262 §5.2.3).
	StuffBare, StuffField, StuffFiller bool
	// Duplicates sends about one in so many packets of video and audio twice (H.222.0 §2.4.3.3), each copy with a
	// PCR of its own; 2 or more, default 0: none.
	Duplicates int

	// How often a PID that is seldom heard sends; 100 ms or more, default 0: there is no such PID. Subtitles and
	// PrivateData are PES packets, SCTE35 and PrivateSections are sections.
	SCTE35, Subtitles, Teletext, PrivateSections, PrivateData time.Duration
	// SilentAudio lists an audio PID that never sends.
	SilentAudio bool
	// SecondAudio sends the audio on a second PID too; Pause says when it is quiet.
	SecondAudio bool
	Pause       Pause

	// PESSize cuts elementary streams into PES packets of so many bytes, wherever access units begin; 256 to
	// 60000, default 0: a PES packet for each access unit.
	PESSize int
	// PESUnits puts so many access units into each PES packet; default 1, at most 32.
	PESUnits int
	// ParameterSets repeats SPS and PPS in each access unit (H.264), the sequence header before each P picture
	// (MPEG-2; H.262 §6.1.1.6 allows none before B).
	ParameterSets bool
	// Still sends one picture each time so long has passed; 200 ms or more.
	Still time.Duration
	// Radio leaves out video.
	Radio bool

	// PATSections sends the PAT in two sections; the first program is in the last. For a program alone
	// one of them is empty.
	PATSections bool
	// PMTChange adds a stream to the PMT and changes a language, and back, at each UTC multiple; PMTVersion changes
	// version_number only. Whole seconds.
	PMTChange, PMTVersion time.Duration
	// TablesEvery is the interval of PAT and PMT; default 50 ms, else 100 ms to 1 s.
	TablesEvery time.Duration
	// TimeJitter delays time tables by up to this, each by another time; they say when they were made.
	TimeJitter time.Duration
	// NoTOT, NoTDT leave out one of the time tables of DVB. TDTWrong makes the TDT alone wrong.
	NoTOT, NoTDT bool
	TDTWrong     time.Duration
	// STTProtocol sends an STT of protocol_version 1 with another time in between (ATSC).
	STTProtocol bool
	// VCTOther lists channels of another transport stream with the programs' numbers, before their own (ATSC).
	VCTOther bool
	// Next sends a VCT or SDT that is not yet applicable, with other ids and names, in between.
	Next bool
	// Rename gives services another name at each UTC multiple, and back. Whole seconds.
	Rename time.Duration
	// PrivateIDs are ids that name nobody: original_network_id 0xFF01 and TSID 1, or TSID 0 (ATSC).
	PrivateIDs bool
	// OnePart sends one-part channel numbers in a CVCT (A/65 §6.3.2): 5.1 is 1051.
	OnePart bool
	// Charset is that of service names: "gb2312", "big5" or "ksx1001" (EN 300 468 annex A.2; DVB).
	Charset string
	// DST is when local time changes from one to two hours ahead of UTC, as TOT and STT say.
	DST time.Time
	// Leap is when a leap second ends: from then on tables say a second less, STT with a GPS_UTC_offset of one more.
	Leap time.Time

	// Drift is how much faster than UTC the broadcast's clock runs, in millionths, -1000 to 1000; it is right on
	// 2026-01-01. Every packet follows it, tables say UTC.
	Drift int

	// Scrambled scrambles all services; PESScrambled does it inside PES packets (PES_scrambling_control).
	Scrambled, PESScrambled bool
	// LowPIDs sends elementary streams of the first service where another standard has tables: PIDs 0x11 and 0x14
	// (ATSC), 0x1FFB (DVB).
	LowPIDs bool
}

// Pause is when a stream is quiet: the last For of each Every, both whole seconds.
type Pause struct{ Every, For time.Duration }

// A HabitFlag is a habit as a tool names it.
type HabitFlag struct {
	Name string
	// Value is what it is set to when none is given, "" for a habit that takes none.
	Value string
	Usage string
	set   func(m *Mux, v string) error
}

// HabitFlags lists all habits.
func HabitFlags() []HabitFlag {
	h := func(name, value, usage string, set func(m *Mux, v string) error) HabitFlag {
		return HabitFlag{name, value, usage, set}
	}
	yes := func(name, usage string, at func(m *Mux) *bool) HabitFlag {
		return h(name, "", usage, func(m *Mux, _ string) error { *at(m) = true; return nil })
	}
	length := func(name, value, usage string, at func(h *Habits) *time.Duration) HabitFlag {
		return h(name, value, usage, func(m *Mux, v string) error { return lengths(v, at(&m.Habits)) })
	}
	return []HabitFlag{
		h("pcr", "payload", "which packets carry PCRs: "+strings.Join(pcrNames[:], ", "), func(m *Mux, v string) error {
			i := slices.Index(pcrNames[:], v)
			m.Habits.PCR = PCRHabit(max(i, 0))
			return unless(i >= 0, "want one of "+strings.Join(pcrNames[:], ", "))
		}),
		length("pcr-every", "40ms", "interval of PCRs", func(h *Habits) *time.Duration { return &h.PCREvery }),
		yes("disc-every", "discontinuity_indicator with every PCR", func(m *Mux) *bool { return &m.Habits.DiscontinuityEvery }),
		length("disc-first", "5s", "discontinuity_indicator on audio, whose counter goes on", func(h *Habits) *time.Duration { return &h.DiscontinuityFirst }),
		h("stuffing", "bare", "how streams are stuffed: bare (packets without payload), field, filler", func(m *Mux, v string) error {
			m.Habits.StuffBare = m.Habits.StuffBare || v == "bare"
			m.Habits.StuffField = m.Habits.StuffField || v == "field"
			m.Habits.StuffFiller = m.Habits.StuffFiller || v == "filler"
			return unless(slices.Contains([]string{"bare", "field", "filler"}, v), "want bare, field or filler")
		}),
		h("duplicates", "20", "one in so many packets comes twice", func(m *Mux, v string) error { return number(v, &m.Habits.Duplicates) }),
		length("scte35", "5s", "a PID with SCTE-35, so often", func(h *Habits) *time.Duration { return &h.SCTE35 }),
		length("subtitles", "3s", "a PID with DVB subtitles", func(h *Habits) *time.Duration { return &h.Subtitles }),
		length("teletext", "2s", "a PID with teletext", func(h *Habits) *time.Duration { return &h.Teletext }),
		length("sections", "4s", "a PID with private sections", func(h *Habits) *time.Duration { return &h.PrivateSections }),
		length("data", "7s", "a PID with private data in PES packets", func(h *Habits) *time.Duration { return &h.PrivateData }),
		yes("silent-audio", "an audio PID that is listed and never sends", func(m *Mux) *bool { return &m.Habits.SilentAudio }),
		h("second-audio", "12s/5s", "a second audio PID that pauses, EVERY/FOR; 0s/0s: never", func(m *Mux, v string) error {
			m.Habits.SecondAudio = true
			return lengths(v, &m.Habits.Pause.Every, &m.Habits.Pause.For)
		}),
		h("pes-size", "3000", "PES packets of so many bytes, not aligned with access units", func(m *Mux, v string) error { return number(v, &m.Habits.PESSize) }),
		h("pes-units", "5", "so many access units in a PES packet", func(m *Mux, v string) error { return number(v, &m.Habits.PESUnits) }),
		yes("parameter-sets", "parameter sets in each access unit", func(m *Mux) *bool { return &m.Habits.ParameterSets }),
		length("still", "3s", "still pictures, one each time", func(h *Habits) *time.Duration { return &h.Still }),
		yes("radio", "no video", func(m *Mux) *bool { return &m.Habits.Radio }),
		yes("pat-sections", "the PAT in two sections", func(m *Mux) *bool { return &m.Habits.PATSections }),
		length("pmt-change", "15s", "the PMT gets a stream and another language, and back", func(h *Habits) *time.Duration { return &h.PMTChange }),
		length("pmt-version", "15s", "the PMT gets another version and no more", func(h *Habits) *time.Duration { return &h.PMTVersion }),
		length("tables-every", "500ms", "interval of PAT and PMT", func(h *Habits) *time.Duration { return &h.TablesEvery }),
		length("time-jitter", "800ms", "time tables are sent late by up to this", func(h *Habits) *time.Duration { return &h.TimeJitter }),
		h("time-tables", "tdt", "which are sent: tdt or tot (DVB)", func(m *Mux, v string) error {
			m.Habits.NoTOT, m.Habits.NoTDT = v == "tdt", v == "tot"
			return unless(v == "tdt" || v == "tot", "want tdt or tot")
		}),
		length("tdt-wrong", "3h", "the TDT, not the TOT, is wrong (DVB)", func(h *Habits) *time.Duration { return &h.TDTWrong }),
		yes("stt-protocol", "an STT of protocol_version 1 in between (ATSC)", func(m *Mux) *bool { return &m.Habits.STTProtocol }),
		yes("vct-other", "a VCT with channels of another transport stream (ATSC)", func(m *Mux) *bool { return &m.Habits.VCTOther }),
		yes("next", "a VCT or SDT that is not yet applicable in between", func(m *Mux) *bool { return &m.Habits.Next }),
		length("rename", "30s", "services get another name, and back", func(h *Habits) *time.Duration { return &h.Rename }),
		yes("private-ids", "original_network_id 0xFF01, TSID 1; ATSC: TSID 0", func(m *Mux) *bool { return &m.Habits.PrivateIDs }),
		yes("one-part", "one-part channel numbers (ATSC)", func(m *Mux) *bool { return &m.Habits.OnePart }),
		h("charset", "gb2312", "of names: gb2312, big5, ksx1001 (DVB)", func(m *Mux, v string) error { m.Habits.Charset = v; return nil }),
		h("dst", "2026-03-29T01:00:00Z", "when daylight saving starts", func(m *Mux, v string) error { return day(v, &m.Habits.DST) }),
		h("leap", "2026-07-01T00:00:00Z", "when a leap second ends", func(m *Mux, v string) error { return day(v, &m.Habits.Leap) }),
		h("drift", "30", "the broadcast's clock is so many millionths fast", func(m *Mux, v string) error { return number(v, &m.Habits.Drift) }),
		h("step", "-4s/20s", "the clock steps BY/EVERY, each time further", func(m *Mux, v string) error {
			m.Jump.For, m.Jump.Restart = 0, false
			return lengths(v, &m.Jump.By, &m.Jump.Every)
		}),
		h("splice", "6s/20s/7s", "the clock steps BY/EVERY/FOR and is home after FOR", func(m *Mux, v string) error {
			m.Jump.Restart = false
			return lengths(v, &m.Jump.By, &m.Jump.Every, &m.Jump.For)
		}),
		h("restart", "20s", "the clock starts anew at 0, each time", func(m *Mux, v string) error {
			m.Jump.By, m.Jump.For, m.Jump.Restart = 0, 0, true
			return lengths(v, &m.Jump.Every)
		}),
		yes("counters", "continuity counters start anew where the clock jumps", func(m *Mux) *bool { return &m.Jump.Counters }),
		yes("silent", "the clock jumps without discontinuity_indicator (not legal)", func(m *Mux) *bool { return &m.Jump.Silent }),
		yes("scrambled", "everything is scrambled", func(m *Mux) *bool { return &m.Habits.Scrambled }),
		yes("pes-scrambled", "scrambled inside PES packets (PES_scrambling_control)", func(m *Mux) *bool { return &m.Habits.PESScrambled }),
		yes("low-pids", "elementary streams on PIDs 0x11 and 0x14; DVB: 0x1FFB", func(m *Mux) *bool { return &m.Habits.LowPIDs }),
	}
}

// SetHabit gives m a habit, "NAME" or "NAME=VALUE".
func (m *Mux) SetHabit(s string) error {
	name, value, has := strings.Cut(s, "=")
	for _, f := range HabitFlags() {
		if f.Name != name {
			continue
		}
		if has && f.Value == "" {
			return fmt.Errorf("habit %s takes no value", name)
		}
		if !has {
			value = f.Value
		}
		if err := f.set(m, value); err != nil {
			return fmt.Errorf("habit %s=%s: %w", name, value, err)
		}
		return nil
	}
	return fmt.Errorf("unknown habit %q", name)
}

func unless(ok bool, want string) error {
	if ok {
		return nil
	}
	return errors.New(want)
}

func number(v string, to *int) (err error) {
	*to, err = strconv.Atoi(v)
	return unless(err == nil, "want a number")
}

func day(v string, to *time.Time) (err error) {
	*to, err = time.Parse(time.RFC3339, v)
	return unless(err == nil, "want a time as 2026-03-14T12:00:00Z")
}

// lengths reads as many times as there is room for, with slashes between.
func lengths(v string, to ...*time.Duration) error {
	all := strings.Split(v, "/")
	if len(all) != len(to) {
		return fmt.Errorf("want %d times, with slashes between", len(to))
	}
	for i, s := range all {
		d, err := time.ParseDuration(s)
		if err != nil {
			return errors.New("want a time as 500ms or 3s")
		}
		*to[i] = d
	}
	return nil
}

// check tells what of h can not be broadcast.
func (h *Habits) check() error {
	between := func(what string, v, least, most time.Duration) error {
		if v != 0 && (v < least || v > most) {
			return fmt.Errorf("%s %s: want %s to %s", what, v, least, most)
		}
		return nil
	}
	whole := func(what string, v time.Duration) error {
		if v < 0 || v%time.Second != 0 {
			return fmt.Errorf("%s %s: want whole seconds", what, v)
		}
		return nil
	}
	for _, err := range []error{
		between("PCRs every", h.PCREvery, 10*time.Millisecond, 100*time.Millisecond),
		between("discontinuity every", h.DiscontinuityFirst, slotTime, time.Hour),
		between("SCTE-35 every", h.SCTE35, slotTime, time.Hour),
		between("subtitles every", h.Subtitles, slotTime, time.Hour),
		between("teletext every", h.Teletext, slotTime, time.Hour),
		between("private sections every", h.PrivateSections, slotTime, time.Hour),
		between("private data every", h.PrivateData, slotTime, time.Hour),
		between("still picture every", h.Still, 2*slotTime, time.Minute),
		between("PAT and PMT every", h.TablesEvery, slotTime, 5*time.Second),
		between("time tables late by", h.TimeJitter, 0, time.Minute),
		between("wrong TDT", h.TDTWrong, -48*time.Hour, 48*time.Hour),
		between("second audio: pauses every", h.Pause.Every, 2*time.Second, 5*time.Minute),
		whole("second audio: pauses every", h.Pause.Every), whole("second audio: pauses for", h.Pause.For),
		whole("PMT changes every", h.PMTChange), whole("PMT version every", h.PMTVersion), whole("names change every", h.Rename),
		unless(h.Pause.For <= h.Pause.Every/2 || h.Pause.Every == 0, "second audio: a pause is half of the time at most"),
		unless(h.Duplicates == 0 || h.Duplicates >= 2, "duplicates: one in 2 packets is the most"),
		unless(h.PESSize == 0 || h.PESSize >= 256 && h.PESSize <= 60000, "PES packets have 256 to 60000 bytes"),
		unless(h.PESUnits >= 0 && h.PESUnits <= 32, "a PES packet has 1 to 32 access units"),
		unless(h.Drift >= -1000 && h.Drift <= 1000, "drift is -1000 to 1000 millionths"),
		unless(h.Charset == "" || charsets[h.Charset].table != 0, "charset: want gb2312, big5 or ksx1001"),
		unless(h.PCR < PCRHabit(len(pcrNames)), "PCR: no such habit"),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// formed is the multiplex as its habits make it: what its tables and streams are built from.
func (m *Mux) formed() *Mux {
	h := &m.Habits
	f := &Mux{
		Name: m.Name, Standard: m.Standard, TSID: m.TSID, ONID: m.ONID, Frequency: m.Frequency, Modulation: m.Modulation,
		Services: slices.Clone(m.Services), Offset: m.Offset, WrapAt: m.WrapAt, Jump: m.Jump, NoTime: m.NoTime,
		TDTEvery: m.TDTEvery, Rate: m.Rate, Habits: m.Habits,
	}
	if h.PrivateIDs {
		f.TSID = 0 // A/65 has no use for it
		if m.Standard == DVB {
			f.ONID, f.TSID = 0xff01, 1 // TS 101 162 §5.1.2: 0xff00 to 0xffff are for private use
		}
	}
	for i := range f.Services {
		s := &f.Services[i]
		s.Scrambled = s.Scrambled || h.Scrambled
		if h.Radio && s.Audio != "" {
			s.Video = ""
		}
	}
	return f
}
