package cmdutil

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Retain is a flag value that says how much is kept, by age, by bytes or by both: 12h, 2d, 50G or 2d,50G.
type Retain struct {
	Age   time.Duration
	Bytes int64
}

// RetainFlag declares a flag whose value is a [Retain].
func RetainFlag(name string, value Retain, usage string) cli.Flag {
	return &cli.GenericFlag{Name: name, Value: &value, Usage: usage, DefaultText: value.String()}
}

// RetainOf is the value of a [RetainFlag].
func RetainOf(c *cli.Context, name string) Retain {
	if r, ok := c.Generic(name).(*Retain); ok {
		return *r
	}
	return Retain{}
}

// Set implements flag.Value.
func (r *Retain) Set(text string) error {
	var n Retain
	for part := range strings.SplitSeq(text, ",") {
		var size Size
		age, err := ParseAge(part)
		switch {
		case err == nil && age > 0 && n.Age == 0:
			n.Age = age
		case err != nil && size.Set(part) == nil && size > 0 && n.Bytes == 0:
			n.Bytes = int64(size)
		default:
			return fmt.Errorf("%q is not an age, a size or both, such as 12h, 2d, 50G or 2d,50G", text)
		}
	}
	*r = n
	return nil
}

// String implements flag.Value.
func (r *Retain) String() string {
	var parts []string
	if r.Age > 0 {
		parts = append(parts, ageText(r.Age))
	}
	if r.Bytes > 0 {
		size := Size(r.Bytes)
		parts = append(parts, size.String())
	}
	return strings.Join(parts, ",")
}

// ParseAge reads a duration as time.ParseDuration does, with d for days and w for weeks as well, alone or before the rest: 2d, 1w, 1d12h.
func ParseAge(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	var sum time.Duration
	for _, unit := range []struct {
		name string
		is   time.Duration
	}{{"w", 7 * day}, {"d", day}} {
		number, rest, ok := strings.Cut(text, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if d := n * float64(unit.is); err != nil || d < 0 || d > float64(100*365*day) {
			return 0, errors.New("not an age")
		} else if sum, text = sum+time.Duration(d), rest; text == "" {
			return sum, nil
		}
	}
	d, err := time.ParseDuration(text)
	return sum + d, err
}

// ageText writes whole hours and days as people do.
func ageText(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}
