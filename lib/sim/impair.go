package sim

import (
	"fmt"
	"math"
	"time"
)

// Impair is what happens to a transport stream between the transmitter and one receiver. It works on any
// transport stream, and is independent of it: with the same Seed, the same packets are hit whatever they
// hold, and adding one impairment does not move another. The zero value does nothing. Chances are per
// packet, 0…1; times run by the stream's own PCR.
type Impair struct {
	Seed uint64

	Loss   float64 // chance that a packet is lost
	Burst  int     // mean number of packets lost together, Loss being the overall share; default 1: one by one
	LossOn Class   // which packets can be lost; default all
	TEI    float64 // chance that a packet is broken and marked with transport_error_indicator
	Flip   float64 // chance that one bit after the header is wrong, unmarked
	Cut    float64 // chance that 1 to 187 bytes of a packet are missing: sync is lost

	TimeLoss   float64       // chance that a time table (STT, TDT, TOT) is lost
	TimeJitter time.Duration // time tables arrive late by up to this much, saying the time they were sent

	StripNull  bool // null packets are removed
	StripSI    bool // PSIP and SI are removed, time tables too
	RewritePAT bool // PAT made anew: other version, own continuity, no network entry
	RewritePMT bool // PMT with another version and own continuity
	TSID       int  // transport_stream_id in a rewritten PAT; default 0: as it was

	StallEvery time.Duration // reception stops for StallFor each time this has passed; default 0: never
	StallFor   time.Duration
	Drop       time.Duration // the stream ends after this long; default 0: never
}

// Validate says what is out of range.
func (im Impair) Validate() error {
	for _, c := range []struct {
		name string
		v    float64
	}{{"loss", im.Loss}, {"TEI", im.TEI}, {"flip", im.Flip}, {"cut", im.Cut}, {"time table loss", im.TimeLoss}} {
		if !(c.v >= 0 && c.v <= 1) {
			return fmt.Errorf("%s %g: want 0 to 1", c.name, c.v)
		}
	}
	if im.Burst < 0 {
		return fmt.Errorf("burst %d: want 1 or more packets", im.Burst)
	}
	if im.TSID < 0 || im.TSID > math.MaxUint16 {
		return fmt.Errorf("transport stream id %d: want 0 to 65535", im.TSID)
	}
	for _, d := range []time.Duration{im.TimeJitter, im.StallEvery, im.StallFor, im.Drop} {
		if d < 0 {
			return fmt.Errorf("%s: want no negative time", d)
		}
	}
	return nil
}
