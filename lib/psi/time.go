package psi

import (
	"time"
)

// Plausible tells whether a broadcast may give t as the time: from 1980, where system_time of A/65 §6.1 begins, to
// 2199. So whatever is counted from a plausible time is positive and small. The 16 bits of an MJD end on 2038-04-22
// (EN 300 468 annex C); a date after that reads as one of 1858, which is not plausible.
func Plausible(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 1980 && year <= 2199
}

// TableUTC is the time in an STT, TDT or TOT section. It is not ok for another table, a malformed one,
// or a time that is not plausible.
func TableUTC(section []byte) (utc time.Time, ok bool) {
	if len(section) == 0 {
		return time.Time{}, false
	}
	var err error
	switch section[0] {
	case TableSTT:
		var t STT
		t, err = ParseSTT(section)
		utc = t.UTC()
	case TableTDT:
		var t TDT
		t, err = ParseTDT(section)
		utc = t.UTC
	case TableTOT:
		var t TOT
		t, err = ParseTOT(section)
		utc = t.UTC
	default:
		return time.Time{}, false
	}
	if err != nil || !Plausible(utc) {
		return time.Time{}, false
	}
	return utc, true
}

// mjdUnix is the modified Julian date of 1970-01-01.
const mjdUnix = 40587

// parseMJD reads MJD and BCD UTC, 40 bits, EN 300 468 §5.2.5. All ones mean undefined.
func parseMJD(b []byte) (time.Time, bool) {
	if len(b) < 5 {
		return time.Time{}, false
	}
	d, ok := parseBCD(b[2:])
	if !ok || d >= 24*time.Hour {
		return time.Time{}, false
	}
	mjd := int64(b[0])<<8 | int64(b[1])
	return time.Unix((mjd-mjdUnix)*86400, 0).UTC().Add(d), true
}

// appendMJD writes t; a date beyond 16 bits of MJD wraps.
func appendMJD(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0xff, 0xff, 0xff, 0xff, 0xff)
	}
	s := t.Unix()
	day := s / 86400
	if s%86400 < 0 {
		day--
	}
	mjd := day + mjdUnix
	b = append(b, byte(mjd>>8), byte(mjd))
	return appendBCD(b, time.Duration(s-day*86400)*time.Second)
}

// parseBCD reads hours, minutes and seconds in BCD, 24 bits.
func parseBCD(b []byte) (time.Duration, bool) {
	if len(b) < 3 {
		return 0, false
	}
	var v [3]int
	for i := range v {
		hi, lo := int(b[i]>>4), int(b[i]&0x0f)
		if hi > 9 || lo > 9 {
			return 0, false
		}
		v[i] = hi*10 + lo
	}
	if v[1] > 59 || v[2] > 60 {
		return 0, false
	}
	return time.Duration(v[0])*time.Hour + time.Duration(v[1])*time.Minute + time.Duration(v[2])*time.Second, true
}

func appendBCD(b []byte, d time.Duration) []byte {
	s := int(d / time.Second)
	for _, v := range [3]int{s / 3600 % 100, s / 60 % 60, s % 60} {
		b = append(b, byte(v/10<<4|v%10))
	}
	return b
}

// Timeless is a time table without its time: what else it says, such as leap seconds and local time offsets. It is nil of a table
// that says nothing else.
func Timeless(section []byte) []byte {
	switch {
	case len(section) == 0:
	case section[0] == TableSTT:
		if t, err := ParseSTT(section); err == nil {
			t.SystemTime = 0
			return t.Append(nil)
		}
	case section[0] == TableTOT:
		if t, err := ParseTOT(section); err == nil {
			t.UTC = time.Unix(0, 0)
			return t.Append(nil)
		}
	}
	return nil
}

// WithTime is a time table that says another time, and all else as before; nil if the section is no such table.
func WithTime(section []byte, utc time.Time) []byte {
	switch {
	case len(section) == 0:
	case section[0] == TableSTT:
		if t, err := ParseSTT(section); err == nil {
			t.SystemTime = STTAt(utc, t.GPSUTCOffset).SystemTime
			return t.Append(nil)
		}
	case section[0] == TableTOT:
		if t, err := ParseTOT(section); err == nil {
			t.UTC = utc
			return t.Append(nil)
		}
	case section[0] == TableTDT:
		return TDT{utc}.Append(nil)
	}
	return nil
}
