package settings

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"every.channel/ec/lib/exit"
)

// Line is one line of a configuration file.
type Line struct {
	Name, Value string
	Number      int
}

// Read reads a configuration file: lines of `name = value`, named like the flags of program; # starts a
// comment at the start of a line or behind a space.
func Read(path, program string) ([]Line, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, exit.With(exit.Config, err, "")
	}
	defer f.Close()
	var lines []Line
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		text := sc.Text()
		if i := strings.Index(" "+text, " #"); i >= 0 {
			text = text[:i]
		}
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		name, value, ok := strings.Cut(text, "=")
		l := Line{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value), Number: n}
		if !ok || l.Name == "" {
			return nil, l.Wrong(path, program, errors.New("want name = value"))
		}
		lines = append(lines, l)
	}
	if err := sc.Err(); err != nil {
		return nil, exit.With(exit.Config, fmt.Errorf("%s: %w", path, err), "")
	}
	return lines, nil
}

// Wrong says which line of the file at path is wrong, and why.
func (l Line) Wrong(path, program string, err error) error {
	return exit.With(exit.Config, fmt.Errorf("%s:%d: %w", path, l.Number, err), "settings are named like the flags of "+program+" --help")
}
