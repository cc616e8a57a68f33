package psi

import "unicode/utf16"

// Text is a multiple string structure, A/65 §6.10.
type Text []LanguageString

// LanguageString is a text in one language.
type LanguageString struct {
	Language   string // ISO 639-2
	Text       string
	Compressed bool // some segments are Huffman coded (A/65 annex C) and left out of Text
}

// String is the first text.
func (t Text) String() string {
	if len(t) == 0 {
		return ""
	}
	return t[0].Text
}

// English is a text in one language.
func English(s string) Text { return Text{{Language: "eng", Text: s}} }

// ParseText reads a multiple string structure that fills b; no bytes are no text.
func ParseText(b []byte) (Text, error) {
	if len(b) == 0 {
		return nil, nil
	}
	n := int(b[0])
	b = b[1:]
	var t Text
	for range n {
		if len(b) < 4 {
			return t, ErrShort
		}
		s := LanguageString{Language: printable(b[:3])}
		segments := int(b[3])
		b = b[4:]
		for range segments {
			if len(b) < 3 || 3+int(b[2]) > len(b) {
				return append(t, s), ErrShort
			}
			compression, mode, data := b[0], b[1], b[3:3+int(b[2])]
			b = b[3+int(b[2]):]
			switch {
			case compression != 0:
				s.Compressed = true
			case mode == 0x3f: // UTF-16
				s.Text += controls(utf16BE(data))
			case mode <= 0x33: // a page of the basic multilingual plane
				r := make([]rune, len(data))
				for i, c := range data {
					r[i] = rune(mode)<<8 | rune(c)
				}
				s.Text += controls(string(r))
			default:
				s.Compressed = true
			}
		}
		t = append(t, s)
	}
	return t, nil
}

// Append writes the structure, uncompressed: Latin-1 where it fits, else UTF-16.
func (t Text) Append(b []byte) []byte {
	if len(t) == 0 {
		return b
	}
	b = append(b, byte(len(t)))
	for _, s := range t {
		var c [3]byte
		copy(c[:], s.Language)
		b = append(b, c[:]...)
		mode, data := byte(0), []byte(nil)
		for _, r := range s.Text {
			if r > 0xff {
				mode = 0x3f
			}
			data = append(data, byte(r))
		}
		if mode != 0 {
			data = data[:0]
			for _, u := range utf16.Encode([]rune(s.Text)) {
				data = append(data, byte(u>>8), byte(u))
			}
		}
		const segment = 254 // even, so that no UTF-16 unit is torn
		b = append(b, byte((len(data)+segment-1)/segment))
		for len(data) > 0 {
			n := min(len(data), segment)
			b = append(b, 0, mode, byte(n))
			b = append(b, data[:n]...)
			data = data[n:]
		}
	}
	return b
}
