package wire

import "strings"

// reason reads a Reason Phrase (§1.4.3). What is not UTF-8, as it must be, is left out, so that it can be logged.
func (r *reader) reason() string {
	return strings.ToValidUTF8(string(r.lengthBytes(MaxReasonLength, "reason phrase")), "")
}

// reason writes a Reason Phrase, cut to the draft's limit on a character boundary.
func (w *writer) reason(s string) { w.lengthString(ClipReason(s)) }

// ClipReason cuts a reason phrase to 1,024 bytes of valid UTF-8.
func ClipReason(s string) string {
	if len(s) > MaxReasonLength {
		s = s[:MaxReasonLength]
	}
	return strings.ToValidUTF8(s, "")
}
