package psi

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// DVBText decodes a text field of EN 300 468 annex A. Emphasis marks are dropped, 0x8A becomes a newline,
// what has no character becomes U+FFFD.
func DVBText(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	table := 0 // 0 is the default table, else the part of ISO 8859
	switch c := b[0]; {
	case c >= 0x20:
	case c >= 0x01 && c <= 0x0b && c != 0x08:
		table, b = int(c)+4, b[1:]
	case c == 0x10 && len(b) >= 3 && b[1] == 0 && b[2] <= 15:
		table, b = int(b[2]), b[3:]
	case c == 0x10:
		b = b[min(3, len(b)):]
	case c == 0x11: // ISO/IEC 10646 basic multilingual plane
		return controls(utf16BE(b[1:]))
	case c == 0x15:
		return controls(strings.ToValidUTF8(string(b[1:]), "\ufffd"))
	case c == 0x1f: // encoding_type_id of somebody's own
		b = b[min(2, len(b)):]
	default:
		b = b[1:]
	}
	var s strings.Builder
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c == 0x8a:
			s.WriteByte('\n')
		case c < 0x20, c >= 0x7f && c < 0xa0:
		case c < 0x7f:
			s.WriteByte(c)
		case table == 1:
			s.WriteRune(rune(c))
		case table != 0:
			s.WriteRune(nth(iso8859[table], int(c)-0xa0))
		case c>>4 == 0xc && i+1 < len(b):
			if a, ok := accents[c]; ok && b[i+1] >= 0x20 && b[i+1] < 0x7f {
				i++
				s.WriteString(compose(b[i], a.mark, a.pairs))
				continue
			}
			s.WriteRune(utf8.RuneError)
		default:
			s.WriteRune(nth(latin6937, int(c)-0xa0))
		}
	}
	return s.String()
}

// AppendDVBText encodes s: plain ASCII in the default table, all else as UTF-8 (0x15).
func AppendDVBText(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return append(append(b, 0x15), s...)
		}
	}
	return append(b, s...)
}

// nth is the n-th rune of s.
func nth(s string, n int) rune {
	for _, r := range s {
		if n == 0 {
			return r
		}
		n--
	}
	return utf8.RuneError
}

func compose(letter byte, mark rune, pairs string) string {
	plain := true
	for _, r := range pairs {
		if !plain {
			return string(r)
		}
		_, size := utf8.DecodeRuneInString(pairs)
		pairs = pairs[size:]
		if byte(r) == letter && r < 0x80 {
			plain = false
		}
	}
	return string([]rune{rune(letter), mark})
}

func utf16BE(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
	}
	return string(utf16.Decode(u))
}

// controls drops the control codes of the two-byte and UTF-8 tables (annex A.1) and others that would upset a terminal.
func controls(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == 0xe08a || r == 0x8a || r == '\n':
			return '\n'
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0xe080 && r <= 0xe09f:
			return -1
		}
		return r
	}, s)
}
