package sub

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Point is a place in a track as a human names it.
type Point struct {
	kind  pointKind
	group uint64
	time  time.Time
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
			return Point{kind: atTime, time: p}, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && (strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+")) {
		return Point{kind: atTime, time: at.Add(d)}, nil
	}
	return Point{}, fmt.Errorf("%w: %q is not first, now, a group number, 2026-07-04T20:15:00Z, 20:15 or -5m", ErrPoint, s)
}

// After returns a time of day that lies before from as that time of the next day: --from 23:50 --to 00:10.
func (p Point) After(from Point) Point {
	if p.kind == atTime && from.kind == atTime && p.time.Before(from.time) {
		if next := p.time.AddDate(0, 0, 1); next.After(from.time) {
			p.time = next
		}
	}
	return p
}

// asks reports whether a relay must tell where the live edge is before the place is known.
func (p Point) asks() bool { return p.kind != unset && p.kind != atGroup }
