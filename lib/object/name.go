package object

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of draft-ietf-moq-transport-16 §2.4.1.
const (
	MaxNamespaceFields = 32
	MaxNameBytes       = 4096 // all fields and the track name together
)

// ErrName is the cause of every error about a name.
var ErrName = errors.New("bad name")

// Namespace is an ordered tuple of fields, each a raw byte string of at least one byte.
type Namespace []string

// TrackName is a full track name: a namespace and a name within it, which may be empty.
type TrackName struct {
	Namespace Namespace
	Name      string
}

// Len returns the length the limit counts: the bytes of all fields.
func (n Namespace) Len() int {
	l := 0
	for _, f := range n {
		l += len(f)
	}
	return l
}

// Validate reports a namespace that no peer would accept.
func (n Namespace) Validate() error {
	if len(n) == 0 || len(n) > MaxNamespaceFields {
		return fmt.Errorf("%w: namespace of %d fields, 1 to %d allowed", ErrName, len(n), MaxNamespaceFields)
	}
	for _, f := range n {
		if f == "" {
			return fmt.Errorf("%w: empty namespace field", ErrName)
		}
	}
	if l := n.Len(); l > MaxNameBytes {
		return fmt.Errorf("%w: %d bytes, at most %d allowed", ErrName, l, MaxNameBytes)
	}
	return nil
}

// Validate reports a track name that no peer would accept.
func (t TrackName) Validate() error {
	if err := t.Namespace.Validate(); err != nil {
		return err
	}
	if l := t.Namespace.Len() + len(t.Name); l > MaxNameBytes {
		return fmt.Errorf("%w: %d bytes, at most %d allowed", ErrName, l, MaxNameBytes)
	}
	return nil
}

// Equal reports whether both have the same fields.
func (n Namespace) Equal(o Namespace) bool {
	return len(n) == len(o) && n.HasPrefix(o)
}

// HasPrefix reports whether n starts with the fields of p. The empty prefix fits everything.
func (n Namespace) HasPrefix(p Namespace) bool {
	if len(n) < len(p) {
		return false
	}
	for i := range p {
		if n[i] != p[i] {
			return false
		}
	}
	return true
}

// Equal reports whether both name the same track.
func (t TrackName) Equal(o TrackName) bool {
	return t.Name == o.Name && t.Namespace.Equal(o.Namespace)
}

// String returns the written form, `ec-atsc-2065-3`.
func (n Namespace) String() string { return string(n.Append(nil)) }

// Append appends the written form.
func (n Namespace) Append(b []byte) []byte {
	for i, f := range n {
		if i > 0 {
			b = append(b, '-')
		}
		b = appendWritten(b, f)
	}
	return b
}

// String returns the written form, `ec-atsc-2065-3--ts_t07`.
func (t TrackName) String() string { return string(t.Append(nil)) }

// Append appends the written form. It is a fine map key: each name has exactly one.
func (t TrackName) Append(b []byte) []byte {
	b = append(t.Namespace.Append(b), "--"...)
	return appendWritten(b, t.Name)
}

// MarshalText and UnmarshalText make the written form the JSON form.
func (t TrackName) MarshalText() ([]byte, error) { return t.Append(nil), nil }

func (t *TrackName) UnmarshalText(b []byte) (err error) {
	*t, err = ParseTrackName(string(b))
	return err
}

// ParseNamespace reads the written form of a namespace.
func ParseNamespace(s string) (Namespace, error) {
	n, err := parseFields(s)
	if err == nil {
		err = n.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("namespace %q: %w", s, err)
	}
	return n, nil
}

// ParseTrackName reads the written form of a full track name.
func ParseTrackName(s string) (TrackName, error) {
	t, hasTrack, err := ParseName(s)
	if err == nil && !hasTrack {
		err = fmt.Errorf("name %q: %w: no track, write it as %s--TRACK", s, ErrName, s)
	}
	return t, err
}

// ParseName reads a namespace, or a namespace and a track.
func ParseName(s string) (t TrackName, hasTrack bool, err error) {
	ns, name, hasTrack := strings.Cut(s, "--")
	if t.Namespace, err = parseFields(ns); err == nil {
		t.Name, err = parseWritten(name)
	}
	if err == nil {
		err = t.Validate()
	}
	if err != nil {
		return TrackName{}, false, fmt.Errorf("name %q: %w", s, err)
	}
	return t, hasTrack, nil
}

func parseFields(s string) (Namespace, error) {
	if s == "" {
		return nil, fmt.Errorf("%w: no namespace", ErrName)
	}
	var n Namespace
	for f := range strings.SplitSeq(s, "-") {
		v, err := parseWritten(f)
		if err != nil {
			return nil, err
		}
		n = append(n, v)
	}
	return n, nil
}

// Written returns the written form of one field or of a track name alone.
func Written(field string) string { return string(appendWritten(nil, field)) }

// plain tells the bytes that stand for themselves.
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

func appendWritten(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '.', hex[c>>4], hex[c&15])
		}
	}
	return b
}

func parseWritten(s string) (string, error) {
	if !strings.Contains(s, ".") {
		for i := range len(s) {
			if !plain(s[i]) {
				return "", fmt.Errorf("%w: %q is written .%02x", ErrName, s[i], s[i])
			}
		}
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case plain(c):
			b = append(b, c)
		case c != '.':
			return "", fmt.Errorf("%w: %q is written .%02x", ErrName, c, c)
		case i+2 >= len(s) || unhex(s[i+1]) < 0 || unhex(s[i+2]) < 0:
			return "", fmt.Errorf("%w: '.' needs two lower-case hex digits", ErrName)
		default:
			v := byte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			if plain(v) {
				return "", fmt.Errorf("%w: .%02x is written %q", ErrName, v, v)
			}
			b = append(b, v)
			i += 2
		}
	}
	return string(b), nil
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
