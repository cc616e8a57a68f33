package cmdutil

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Age is a flag value for times that may be days: 90s, 48h, 2d, 1w12h.
type Age time.Duration

// AgeFlag declares a flag whose value is an [Age].
func AgeFlag(name string, value time.Duration, usage string) cli.Flag {
	f := &cli.GenericFlag{Name: name, Value: (*Age)(&value), Usage: usage}
	if value != 0 {
		f.DefaultText = AgeText(value)
	}
	return f
}

// AgeOf is the value of an [AgeFlag].
func AgeOf(c *cli.Context, name string) time.Duration {
	if a, ok := c.Generic(name).(*Age); ok {
		return time.Duration(*a)
	}
	return 0
}

// Set implements flag.Value.
func (a *Age) Set(text string) error {
	d, err := ParseAge(text)
	if err != nil {
		return fmt.Errorf("%q is not a time such as 90s, 48h or 2d", text)
	}
	*a = Age(d)
	return nil
}

// String implements flag.Value.
func (a *Age) String() string {
	if *a == 0 {
		return ""
	}
	return AgeText(time.Duration(*a))
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
		if d := n * float64(unit.is); err != nil || !(0 <= d && d <= float64(100*365*day)) { // nor is NaN an age
			return 0, errors.New("not an age")
		} else if sum, text = sum+time.Duration(d), rest; text == "" {
			return sum, nil
		}
	}
	d, err := time.ParseDuration(text)
	return sum + d, err
}

// AgeText writes whole days as days, and no zeros behind the last unit that counts.
func AgeText(d time.Duration) string {
	if d != 0 && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
