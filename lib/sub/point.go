package sub

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"every.channel/ec/lib/clock"
)

// Point is a place in a track as a human names it.
type Point struct {
	kind  pointKind
	group uint64
	time  time.Time
	ofDay bool // the time is one of a day that nobody named
}

type pointKind uint8

const (
	unset pointKind = iota
	first
	now // the live edge
	atGroup
	atTime
)

// ErrPoint says that a text names no place in a track.
var ErrPoint = errors.New("not a place in a track")

// ParsePoint reads "first", "now", a group number, an RFC 3339 time, a time of day such as 20:15 (local, the last
// time it was that late), or a duration before now such as -5m.
func ParsePoint(s string, at time.Time) (Point, error) {
	switch s {
	case "":
		return Point{}, nil
	case "first":
		return Point{kind: first}, nil
	case "now":
		return Point{kind: now, time: at}, nil
	}
	if g, err := strconv.ParseUint(s, 10, 62); err == nil {
		return Point{kind: atGroup, group: g}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return Point{kind: atTime, time: t}, nil
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			y, m, d := at.Date()
			p := time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, at.Location())
			if p.After(at) {
				p = time.Date(y, m, d-1, t.Hour(), t.Minute(), t.Second(), 0, at.Location())
			}
			return Point{kind: atTime, time: p, ofDay: true}, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && (strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+")) {
		return Point{kind: atTime, time: at.Add(d)}, nil
	}
	return Point{}, fmt.Errorf("%w: %q is not first, now, a group number, 2026-07-04T20:15:00Z, 20:15 or -5m", ErrPoint, s)
}

// ParseSpan reads the places from which and up to which a track is wanted, as ParsePoint does. A time of day to read up to that lies
// before from is on the next day: 23:50 to 00:10; without from, one that lies before at is. Any other time before from is an error.
func ParseSpan(from, to string, at time.Time) (begin, end Point, err error) {
	if begin, err = ParsePoint(from, at); err != nil {
		return begin, end, err
	}
	if end, err = ParsePoint(to, at); err != nil {
		return begin, end, err
	}
	if begin.kind == unset && end.ofDay { // from the group that is being sent up to 20:45, which is the next one
		if end.time.Before(at) {
			end.time = end.time.AddDate(0, 0, 1)
		}
		return begin, end, nil
	}
	if begin.kind == atGroup && end.kind == atGroup && end.group < begin.group && clock.MayBeBucket(begin.group) == clock.MayBeBucket(end.group) {
		return begin, end, fmt.Errorf("%w: %s is before %s", ErrPoint, to, from)
	}
	if begin.kind == atTime && end.kind == now && begin.time.After(end.time) {
		return begin, end, fmt.Errorf("%w: %s is before %s", ErrPoint, to, from)
	}
	if end.kind != atTime || begin.kind != atTime && begin.kind != now || !end.time.Before(begin.time) {
		return begin, end, nil
	}
	if next := end.time.AddDate(0, 0, 1); end.ofDay && next.After(begin.time) {
		end.time = next
		return begin, end, nil
	}
	return begin, end, fmt.Errorf("%w: %s is before %s", ErrPoint, to, from)
}

// asks reports whether a relay must tell where the live edge is before the place is known.
func (p Point) asks() bool { return p.kind != unset && p.kind != atGroup }
