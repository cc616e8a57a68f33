package cmdutil

import (
	"fmt"
	"math"

	"github.com/urfave/cli/v2"
)

// Rate is a flag value in bit/s, such as 8M; units are powers of 1000: k, M, G.
type Rate int64

// RateFlag declares a flag whose value is a [Rate], by default none.
func RateFlag(name, usage string) cli.Flag {
	return &cli.GenericFlag{Name: name, Value: new(Rate), Usage: usage}
}

// RateOf is the value of a [RateFlag], 0 if the flag is not given.
func RateOf(c *cli.Context, name string) int64 {
	if r, ok := c.Generic(name).(*Rate); ok {
		return int64(*r)
	}
	return 0
}

// Set implements flag.Value.
func (r *Rate) Set(text string) error {
	var n float64
	var unit string
	if c, err := fmt.Sscanf(text+" ", "%f%s", &n, &unit); c == 0 || (err != nil && c != 1) {
		return fmt.Errorf("%q is not a rate such as 8M", text)
	}
	factor, ok := map[string]float64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[unit]
	if !ok {
		return fmt.Errorf("%q is not a rate such as 8M", text)
	}
	if n = math.Round(n * factor); !(n > 0 && n <= 1e12) {
		return fmt.Errorf("rate %q is out of range", text)
	}
	*r = Rate(n)
	return nil
}

// String implements flag.Value.
func (r *Rate) String() string {
	if *r == 0 {
		return ""
	}
	return fmt.Sprint(int64(*r))
}
