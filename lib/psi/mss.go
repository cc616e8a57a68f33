package psi

import "unicode/utf16"

// Text is a multiple string structure, A/65 §6.10.
type Text []LanguageString

// LanguageString is a text in one language.
type LanguageString struct {
	Language    string // ISO 639-2
	Text        string
	Compression Compression // of the first segment; Append uses it where Text allows
	Compressed  bool        // some segments are of a compression type or mode that is not known, and left out of Text
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
		for i := range segments {
			if len(b) < 3 || 3+int(b[2]) > len(b) {
				return append(t, s), ErrShort
			}
			compression, mode, data := Compression(b[0]), b[1], b[3:3+int(b[2])]
			b = b[3+int(b[2]):]
			if i == 0 {
				s.Compression = compression
			}
			text, ok := segmentText(compression, mode, data)
			s.Text += text
			s.Compressed = s.Compressed || !ok
		}
		t = append(t, s)
	}
	return t, nil
}

// segmentText decodes a segment. It is not ok if the compression type or the mode is not known.
func segmentText(c Compression, mode uint8, data []byte) (s string, ok bool) {
	switch trees := c.trees(); {
	case trees != nil && mode == modeLatin: // the only mode of a compressed segment, A/65 §6.10
		s = huffmanText(data, trees)
	case c != Uncompressed:
		return "", false
	case mode == modeUTF16:
		s = utf16BE(data)
	case mode == modeSCSU:
		s = scsuText(data)
	case mode <= modeLastPage:
		r := make([]rune, len(data))
		for i, c := range data {
			r[i] = rune(mode)<<8 | rune(c)
		}
		s = string(r)
	default:
		return "", false
	}
	return controls(s), true
}

// Modes of a segment, A/65 table 6.41: pages of 256 characters of Unicode, and other forms of it.
const (
	modeLatin    = 0x00
	modeLastPage = 0x33
	modeSCSU     = 0x3e
	modeUTF16    = 0x3f
)

// Append writes the structure: compressed where a string asks for it and holds only what can be, else Latin-1 where
// that fits, else UTF-16.
func (t Text) Append(b []byte) []byte {
	if len(t) == 0 {
		return b
	}
	b = append(b, byte(len(t)))
	for _, s := range t {
		var c [3]byte
		copy(c[:], s.Language)
		b = append(b, c[:]...)
		b = s.appendSegments(b)
	}
	return b
}

// appendSegments appends the number of segments and the segments.
func (s LanguageString) appendSegments(b []byte) []byte {
	if trees := s.Compression.trees(); trees != nil && compressible(s.Text) && s.Text != "" {
		count := len(b)
		b = append(b, 0)
		for rest := []rune(s.Text); len(rest) > 0; b[count]++ {
			b = append(b, byte(s.Compression), modeLatin, 0)
			start := len(b)
			b, rest = appendHuffman(b, rest, trees)
			b[start-1] = byte(len(b) - start)
		}
		return b
	}
	mode, data := byte(modeLatin), []byte(nil)
	for _, r := range s.Text {
		if r > 0xff {
			mode = modeUTF16
		}
		data = append(data, byte(r))
	}
	if mode != modeLatin {
		data = data[:0]
		for _, u := range utf16.Encode([]rune(s.Text)) {
			data = append(data, byte(u>>8), byte(u))
		}
	}
	const segment = maxSegment - 1 // even, so that no UTF-16 unit is torn
	count := len(b)
	b = append(b, 0)
	for ; len(data) > 0; b[count]++ {
		n := min(len(data), segment)
		if mode == modeUTF16 && n < len(data) && uint16At(data, n)&0xfc00 == 0xdc00 {
			n -= 2 // nor a pair of them
		}
		b = append(b, 0, mode, byte(n))
		b = append(b, data[:n]...)
		data = data[n:]
	}
	return b
}
