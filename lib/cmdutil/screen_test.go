package cmdutil

import (
	"strings"
	"testing"
)

// What is drawn fits the terminal, and moves no other line.
func TestScreen(t *testing.T) {
	var out strings.Builder
	s := &Screen{w: &out, size: func() (int, int) { return 10, 3 }}
	for _, c := range []struct{ text, want string }{
		{"a\nb\n", "\x1b[2J\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J"},
		{"0123456789X\n\x1b[31mred\u009b\n", "\x1b[H0123456789\x1b[K\r\n[31mred\x1b[K\x1b[J"},
		{"1\n2\n3\n4\n", "\x1b[H1\x1b[K\r\n2\x1b[K\r\n… more lin\x1b[K\x1b[J"},
		{"1\n2\n3", "\x1b[H1\x1b[K\r\n2\x1b[K\r\n3\x1b[K\x1b[J"},
	} {
		out.Reset()
		if err := s.Draw(c.text); err != nil || out.String() != c.want {
			t.Errorf("%q is drawn as %q, not as %q (%v)", c.text, out.String(), c.want, err)
		}
	}
	out.Reset()
	if err := s.Close(); err != nil || out.String() != "\r\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
