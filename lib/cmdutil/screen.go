package cmdutil

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// Screen draws text on a terminal again and again at the same place. One goroutine uses it.
type Screen struct {
	w     io.Writer
	size  func() (width, height int)
	drawn bool
}

// ScreenOf returns the screen that is stdout; nil if that is no terminal, or one on which nothing can be drawn at a place.
func ScreenOf(c *cli.Context) *Screen {
	f, ok := c.App.Writer.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return &Screen{w: f, size: func() (int, int) {
		w, h, err := term.GetSize(int(f.Fd()))
		if err != nil || w < 1 || h < 1 {
			return 80, 24
		}
		return w, h
	}}
}

// Draw shows text in place of what was drawn before. Lines that are too long are cut, and those that do not fit are left out; control characters,
// which a remote label may hold, are dropped.
func (s *Screen) Draw(text string) error {
	width, height := s.size()
	var b strings.Builder
	if !s.drawn {
		b.WriteString("\x1b[2J")
	}
	s.drawn = true
	b.WriteString("\x1b[H")
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		if i == height-1 && len(lines) > i+1 {
			line = "… more lines than the terminal has"
		}
		b.WriteString(fit(line, width))
		b.WriteString("\x1b[K")
		if i >= height-1 {
			break
		}
		if i < len(lines)-1 {
			b.WriteString("\r\n")
		}
	}
	b.WriteString("\x1b[J")
	_, err := io.WriteString(s.w, b.String())
	return err
}

// fit cuts a line, without its control characters.
func fit(line string, width int) string {
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, line)
	if utf8.RuneCountInString(line) > width {
		return string([]rune(line)[:width])
	}
	return line
}

// Close leaves what was drawn last, and puts the cursor below.
func (s *Screen) Close() error {
	if !s.drawn {
		return nil
	}
	_, err := io.WriteString(s.w, "\r\n")
	return err
}
