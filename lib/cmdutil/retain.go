package cmdutil

import (
	"fmt"
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
		parts = append(parts, AgeText(r.Age))
	}
	if r.Bytes > 0 {
		size := Size(r.Bytes)
		parts = append(parts, size.String())
	}
	return strings.Join(parts, ",")
}
