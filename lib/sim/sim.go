// Package sim is an antenna without an antenna. A [Mux] broadcasts a transport stream that is a pure
// function of UTC: every packet follows from its position in the multiplex alone, continuity counters,
// PCR, time stamps and tables included, so two readers that start at different times, in different
// processes, are two receivers of one broadcast. Impair then damages what one receiver gets, by a seed
// of its own.
//
// UTC goes in; ATSC (A/53, A/65) and DVB (EN 300 468) transport streams come out, as fast as they can be
// written ([Mux.Reader]) or in real time ([Mux.Live]), or through an HDHomeRun device ([Backend]). The
// media are small clips made by scripts/make-sim-media, repeated for ever with continuous time stamps.
// docs/format/sim.md says how the broadcast follows from UTC.
package sim

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/ts"
)

// Standard is the broadcast system of a Mux.
type Standard uint8

const (
	ATSC Standard = iota // PSIP tables, STT for the time
	DVB                  // SI tables, TDT and TOT for the time
)

func (s Standard) String() string {
	if s == DVB {
		return "dvb"
	}
	return "atsc"
}

// ErrChannel: no such channel in the lineup.
var ErrChannel = errors.New("unknown channel")

// Broadcast is everything that the antenna hears. The zero value broadcasts DefaultMuxes.
type Broadcast struct {
	Muxes []*Mux
	once  sync.Once
	muxes []*Mux
}

// All is the list of multiplexes.
func (b *Broadcast) All() []*Mux {
	b.once.Do(func() {
		if b.muxes = b.Muxes; b.muxes == nil {
			b.muxes = DefaultMuxes()
		}
	})
	return b.muxes
}

// Channel finds a service by its number, "5.1", or its name.
func (b *Broadcast) Channel(number string) (*Mux, Service, error) {
	var have []string
	for _, m := range b.All() {
		for _, s := range m.Services {
			if s.Number == number || strings.EqualFold(s.Name, number) {
				return m, s, nil
			}
			have = append(have, s.Number)
		}
	}
	return nil, Service{}, &channelError{number, have}
}

type channelError struct {
	number string
	have   []string
}

func (e *channelError) Error() string        { return fmt.Sprintf("%v %q", ErrChannel, e.number) }
func (e *channelError) Is(target error) bool { return target == ErrChannel }
func (e *channelError) ExitCode() int        { return exit.Usage }
func (e *channelError) Hint() string {
	return "channels are " + strings.Join(e.have, ", ") + "; ec-sim list shows more"
}

// Service is one program of a Mux.
type Service struct {
	Number  string // virtual channel "5.1", or for DVB the logical channel number "101"
	Name    string // short name, service name
	Program uint16 // program_number, service_id
	Video   string // clip, "" for an audio-only service; see ClipNames
	Audio   string // clip
	PID     ts.PID // of the PMT; video is PID+1, audio PID+4
	// DRM services are in the lineup, but a device refuses them.
	DRM bool
	// Scrambled services send payload that can not be read.
	Scrambled bool
	// Dead services are in the tables and in the lineup, but nothing is sent.
	Dead bool
}

func (s Service) videoPID() ts.PID { return s.PID + 1 }
func (s Service) audioPID() ts.PID { return s.PID + 4 }

// pcrPID is the PID that carries the clock.
func (s Service) pcrPID() ts.PID {
	if s.Video == "" {
		return s.audioPID()
	}
	return s.videoPID()
}

// Jump makes the clock of a broadcast jump at each UTC multiple of Every. Every receiver sees it at the same packet.
type Jump struct {
	Every time.Duration // default 0: never; rounded down to slots of 100 ms
	// By is how far it jumps ahead, each time from where it is; may be negative.
	By time.Duration
	// For, unless 0, is how long it stays away: it is By ahead for so long, then home again. Less than Every.
	For time.Duration
	// Restart starts the clock anew at By instead.
	Restart bool
	// Counters starts all continuity counters anew too, at each multiple of Every.
	Counters bool
	// Silent leaves discontinuity_indicator out.
	Silent bool
}

func (j *Jump) check() error {
	switch {
	case j.Every == 0:
		return nil
	case j.Every < slotTime:
		return fmt.Errorf("clock jumps every %s: want %s or more", j.Every, slotTime)
	case j.For != 0 && (j.For < slotTime || j.For > j.Every-slotTime):
		return fmt.Errorf("clock jumps every %s for %s: want %s to %s", j.Every, j.For, slotTime, j.Every-slotTime)
	}
	return nil
}

// Mux is one transport stream. Its fields must not change once it is in use.
type Mux struct {
	Name       string // network or transport stream name
	Standard   Standard
	TSID       uint16
	ONID       uint16 // original_network_id, DVB only
	Frequency  int64  // Hz, for the tuner
	Modulation string // "8vsb", "t8qam64", for the tuner
	Services   []Service

	// Offset is how far the program clocks (PCR, PTS) are ahead of UTC; default 0: PCR is
	// Unix time · 27 MHz, modulo 2^33·300. Resolution 1/90000 s.
	Offset time.Duration
	// WrapAt, unless zero, replaces Offset so that the PCR wraps to 0 at this time.
	WrapAt time.Time
	Jump   Jump
	// Habits are what this multiplexer does besides the ordinary.
	Habits Habits

	// NoTime leaves out STT, TDT and TOT.
	NoTime bool
	// TDTEvery is the interval of TDT and TOT; default 10 s, EN 300 468 allows 30 s. ATSC sends an STT
	// each second.
	TDTEvery time.Duration
	// Rate in bit/s, filled up with null packets; default 0: the least that holds the services.
	Rate int

	once sync.Once
	plan *plan
	err  error
}

// Validate says what is wrong with the configuration; a reader of such a Mux returns the same error.
func (m *Mux) Validate() error {
	_, err := m.built()
	return err
}

// built is the plan of the broadcast, made at first use.
func (m *Mux) built() (*plan, error) {
	m.once.Do(func() {
		if m.plan, m.err = newPlan(m); m.err != nil {
			m.err = fmt.Errorf("mux %s %d: %w", m.Standard, m.TSID, m.err)
		}
	})
	return m.plan, m.err
}

// offset is how far the clock is ahead of UTC in a slot, modulo 2^64 and so modulo 2^33.
func (m *Mux) offset(slot int64) clock.Ticks {
	off := clock.TicksOf(m.Offset)
	if !m.WrapAt.IsZero() {
		off = -clock.TicksAt(m.WrapAt)
	}
	every, by := int64(m.Jump.Every/slotTime), clock.TicksOf(m.Jump.By)
	switch {
	case every <= 0:
	case m.Jump.Restart:
		off = by - clock.Ticks(slot/every*every*slotTicks)
	case m.Jump.For > 0:
		if slot%every < int64(m.Jump.For/slotTime) {
			off += by
		}
	default:
		off += by * clock.Ticks(slot/every) // wraps around harmlessly
	}
	return off & (clock.Wrap - 1)
}

// jumps tells whether the clock jumps where the slot starts.
func (m *Mux) jumps(slot int64) bool {
	every := int64(m.Jump.Every / slotTime)
	return every > 0 && (slot%every == 0 || m.Jump.For > 0 && slot%every == int64(m.Jump.For/slotTime))
}

// counted is the slot from which continuity counters count, if it is not the first of all.
func (m *Mux) counted(slot int64) (base int64, ok bool) {
	every := int64(m.Jump.Every / slotTime)
	if every <= 0 || !m.Jump.Counters {
		return 0, false
	}
	return slot / every * every, true
}
