package psi

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// DVBText decodes a text field of EN 300 468 annex A. Emphasis marks are dropped, 0x8A becomes a newline,
// what has no character becomes U+FFFD, and so does a whole text in an encoding of somebody's own (0x1F).
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
	case c == 0x12: // KS X 1001
		s, _ := twoByte(b[1:], korean.EUCKR)
		return s
	case c == 0x13: // GB 2312
		s, _ := twoByte(b[1:], simplifiedchinese.GBK)
		return s
	case c == 0x14: // "Big5 subset of ISO/IEC 10646": some send Big5, some the code points of ISO/IEC 10646
		s, ok := twoByte(b[1:], traditionalchinese.Big5)
		if !ok && len(b)%2 == 1 {
			return controls(utf16BE(b[1:]))
		}
		return s
	case c == 0x15: // UTF-8
		return controls(strings.ToValidUTF8(string(b[1:]), "\ufffd"))
	case c == 0x1f: // encoding_type_id of somebody's own, TS 101 162
		if len(b) > 2 {
			return "\ufffd"
		}
		return ""
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

// twoByte decodes bytes of a table whose characters above ASCII have two, and drops the control codes of annex A: those of
// one byte as in other tables, and 0xE080 to 0xE09F. It is ok if all of b had a meaning.
func twoByte(b []byte, table encoding.Encoding) (text string, ok bool) {
	var s strings.Builder
	ok = true
	plain := 0 // b[plain:i] are characters that wait to be decoded
	flush := func(i int) {
		decoded, err := table.NewDecoder().Bytes(b[plain:i])
		part := string(decoded)
		ok = ok && err == nil && !strings.ContainsRune(part, utf8.RuneError)
		s.WriteString(controls(part))
	}
	for i := 0; i < len(b); {
		n, control := 1, byte(0)
		switch c := b[i]; {
		case c == 0x86, c == 0x87, c == 0x8a:
			control = c
		case c == 0xe0 && i+1 < len(b) && b[i+1] >= 0x80 && b[i+1] < 0xa0:
			n, control = 2, b[i+1]
		case c >= 0x80 && i+1 < len(b):
			n = 2
		}
		if control != 0 {
			flush(i)
			plain = i + n
			if control == 0x8a {
				s.WriteByte('\n')
			}
		}
		i += n
	}
	flush(len(b))
	return s.String(), ok
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
