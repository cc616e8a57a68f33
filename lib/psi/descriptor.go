package psi

import "iter"

// Descriptor tags that the parsers and probes look at.
const (
	TagRegistration    = 0x05
	TagCA              = 0x09
	TagLanguage        = 0x0a // ISO_639_language_descriptor
	TagNetworkName     = 0x40
	TagService         = 0x48
	TagShortEvent      = 0x4d
	TagTeletext        = 0x56
	TagLocalTimeOffset = 0x58
	TagSubtitling      = 0x59
	TagAC3             = 0x6a
	TagEAC3            = 0x7a
	TagDTS             = 0x7b
	TagAAC             = 0x7c
	TagExtension       = 0x7f
	TagStuffing        = 0x80 // of A/65 §6.9
	TagATSCAC3         = 0x81
)

// Descriptors is a loop of descriptors as in the section, H.222.0 §2.6.
type Descriptors []byte

// All iterates over tag and body. It stops at a descriptor that claims more than is there.
func (d Descriptors) All() iter.Seq2[uint8, []byte] {
	return func(yield func(uint8, []byte) bool) {
		for b := []byte(d); len(b) >= 2; {
			n := 2 + int(b[1])
			if n > len(b) || !yield(b[0], b[2:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// Find is the body of the first descriptor with tag.
func (d Descriptors) Find(tag uint8) ([]byte, bool) {
	for t, b := range d.All() {
		if t == tag {
			return b, true
		}
	}
	return nil, false
}

// Language is the code of the first ISO 639 descriptor, or "".
func (d Descriptors) Language() string {
	if b, ok := d.Find(TagLanguage); ok && len(b) >= 3 {
		return printable(b[:3])
	}
	return ""
}

// AppendDescriptor appends a descriptor; body is cut at 255 bytes.
func AppendDescriptor(d Descriptors, tag uint8, body []byte) Descriptors {
	body = body[:min(len(body), 255)]
	return append(append(d, tag, byte(len(body))), body...)
}

// LanguageDescriptor names the language of an audio stream.
func LanguageDescriptor(code string) Descriptors {
	var c [3]byte
	copy(c[:], code)
	return AppendDescriptor(nil, TagLanguage, append(c[:], 0))
}

// printable is b with what is not ASCII shown as '?'.
func printable(b []byte) string {
	s := make([]byte, len(b))
	for i, c := range b {
		if c < 0x20 || c >= 0x7f {
			c = '?'
		}
		s[i] = c
	}
	return string(s)
}
