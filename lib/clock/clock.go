// Package clock does the arithmetic of broadcast time: the 33-bit 90 kHz PTS, the 27 MHz PCR, and the
// chunk grid and timelines that two receivers of one broadcast must agree on. Values read from a
// transport stream and UTC read from a time table go in; unwrapped ticks, bucket numbers and timeline
// names come out. Everything is integer arithmetic: a float would round differently near an edge.
//
// See ITU-T H.222.0 §2.4.3.5 (PCR), §2.4.3.7 (PTS) and docs/format/chunk.md (x, bucket, timeline).
package clock

import "time"

const (
	// Hz is the rate of PTS, DTS and Ticks.
	Hz = 90_000
	// SystemHz is the rate of PCR and Ticks27 (H.222.0 §2.4.2.1 system clock frequency).
	SystemHz = 27_000_000
	// SystemMillisecond is a millisecond of the system clock.
	SystemMillisecond = SystemHz / 1000
	// ratio is how many ticks of the system clock one of PTS is.
	ratio = SystemHz / Hz
	// Wrap is the modulus of a PTS.
	Wrap = 1 << 33
	// SystemWrap is the modulus of a PCR.
	SystemWrap = Wrap * ratio
)

// PTS is a 33-bit presentation or decoding time stamp in 90 kHz ticks.
type PTS uint64

// PCR is a program clock reference in 27 MHz ticks, modulo SystemWrap.
type PCR uint64

// Ticks is an unwrapped time or a difference in 90 kHz ticks.
type Ticks int64

// Ticks27 is a difference in 27 MHz ticks.
type Ticks27 int64

// TicksOf is d in 90 kHz ticks, rounded toward negative infinity.
func TicksOf(d time.Duration) Ticks {
	s, ns := floorDiv(int64(d), int64(time.Second))
	return Ticks(s*Hz + ns*9/100_000)
}

// TicksAt is the Unix time of t in 90 kHz ticks, rounded toward negative infinity.
func TicksAt(t time.Time) Ticks {
	return Ticks(t.Unix()*Hz + int64(t.Nanosecond())*9/100_000)
}

// Duration is t as wall time, rounded toward negative infinity to a nanosecond.
// It spans 292 years either way; use Time for an x.
func (t Ticks) Duration() time.Duration {
	s, r := floorDiv(int64(t), Hz)
	return time.Duration(s)*time.Second + time.Duration(r*100_000/9)
}

// Time is t read as 90 kHz ticks since the Unix epoch.
func (t Ticks) Time() time.Time {
	s, r := floorDiv(int64(t), Hz)
	return time.Unix(s, r*100_000/9).UTC()
}

// PTS is t as it would appear in a stream.
func (t Ticks) PTS() PTS { return PTS(uint64(t) & (Wrap - 1)) }

// Duration is t as wall time, rounded toward negative infinity to a nanosecond.
func (t Ticks27) Duration() time.Duration {
	s, r := floorDiv(int64(t), SystemHz)
	return time.Duration(s)*time.Second + time.Duration(r*1000/27)
}

// Ticks27 is t in 27 MHz ticks. It spans 10,000 years either way.
func (t Ticks) Ticks27() Ticks27 { return Ticks27(t) * ratio }

// Seconds is t for people, who read it rounded; what is compared or added stays in ticks.
func (t Ticks27) Seconds() float64 { return float64(t) / SystemHz }

// Milliseconds is t for people, like Seconds.
func (t Ticks27) Milliseconds() float64 { return float64(t) / SystemMillisecond }

// Rate is how many there are in a second if n are in t.
func (t Ticks27) Rate(n int64) float64 { return float64(n) * SystemHz / float64(t) }

// Sub is the shortest signed way from q to p, −2^32 … 2^32−1.
func (p PTS) Sub(q PTS) Ticks {
	return Ticks(int64((uint64(p)-uint64(q))<<31) >> 31)
}

// Add moves p by t, modulo 2^33.
func (p PTS) Add(t Ticks) PTS { return PTS((uint64(p) + uint64(t)) & (Wrap - 1)) }

// PCR is p in 27 MHz ticks.
func (p PTS) PCR() PCR { return PCR(uint64(p)&(Wrap-1)) * ratio }

// Sub is the shortest signed way from q to p.
func (p PCR) Sub(q PCR) Ticks27 {
	d := int64(uint64(p)%SystemWrap) - int64(uint64(q)%SystemWrap)
	switch {
	case d >= SystemWrap/2:
		d -= SystemWrap
	case d < -SystemWrap/2:
		d += SystemWrap
	}
	return Ticks27(d)
}

// Add moves p by t, modulo SystemWrap.
func (p PCR) Add(t Ticks27) PCR {
	d := (int64(uint64(p)%SystemWrap) + int64(t)%SystemWrap) % SystemWrap
	if d < 0 {
		d += SystemWrap
	}
	return PCR(d)
}

// PTS is p in 90 kHz ticks, the program_clock_reference_base.
func (p PCR) PTS() PTS { return PTS(uint64(p) / ratio & (Wrap - 1)) }

// Reference ties a program's clock to UTC: the time that a table told, and the PCR at which the table came.
type Reference struct {
	UTC time.Time
	PCR PCR
}

// At is the broadcast UTC of p, which must lie within 13 hours of the reference.
func (r Reference) At(p PTS) time.Time {
	return r.UTC.Add(p.PCR().Sub(r.PCR).Duration())
}

// floorDiv is a/b and a mod b with the quotient rounded toward negative infinity; b > 0.
func floorDiv(a, b int64) (q, r int64) {
	q, r = a/b, a%b
	if r < 0 {
		q--
		r += b
	}
	return q, r
}
