package object

import (
	"errors"
	"fmt"
	"strings"
)

// Namespace is a track namespace: an ordered tuple of byte strings (draft-ietf-moq-transport-16 §2.4.1).
type Namespace []string

// TrackName is a full track name.
type TrackName struct {
	Namespace Namespace
	Name      string
}

// ErrName says that a written name is not one that String gives.
var ErrName = errors.New("not a track name")

// String writes the namespace as in docs/format/names.md: fields joined by "-".
func (n Namespace) String() string {
	var b strings.Builder
	for i, f := range n {
		if i > 0 {
			b.WriteByte('-')
		}
		escape(&b, f)
	}
	return b.String()
}

// String writes the name as in docs/format/names.md: namespace, "--", track.
func (t TrackName) String() string {
	var b strings.Builder
	b.WriteString(t.Namespace.String())
	b.WriteString("--")
	escape(&b, t.Name)
	return b.String()
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

func escape(b *strings.Builder, s string) {
	const hex = "0123456789abcdef"
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('.')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
}

func unescape(s string) (string, error) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case plain(c):
			b = append(b, c)
		case c == '.' && i+2 < len(s):
			hi, lo := strings.IndexByte("0123456789abcdef", s[i+1]), strings.IndexByte("0123456789abcdef", s[i+2])
			if hi < 0 || lo < 0 || plain(byte(hi<<4|lo)) {
				return "", fmt.Errorf("%w: %q", ErrName, s)
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		default:
			return "", fmt.Errorf("%w: %q", ErrName, s)
		}
	}
	return string(b), nil
}

// ParseNamespace reads what Namespace.String writes. Reading is strict, so each name has one written form.
func ParseNamespace(s string) (Namespace, error) {
	var n Namespace
	for _, f := range strings.Split(s, "-") {
		u, err := unescape(f)
		if err != nil {
			return nil, err
		}
		if u == "" {
			return nil, fmt.Errorf("%w: empty field in %q", ErrName, s)
		}
		n = append(n, u)
	}
	return n, nil
}

// Parse reads what TrackName.String writes.
func Parse(s string) (TrackName, error) {
	ns, name, ok := strings.Cut(s, "--")
	if !ok {
		return TrackName{}, fmt.Errorf("%w: no \"--\" in %q", ErrName, s)
	}
	n, err := ParseNamespace(ns)
	if err != nil {
		return TrackName{}, err
	}
	u, err := unescape(name)
	if err != nil {
		return TrackName{}, err
	}
	return TrackName{Namespace: n, Name: u}, nil
}
