package cmdutil

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// OutputFlag is -o FILE for commands that use [Output] or [Stdout].
func OutputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"},
		Usage: "write to `FILE`; - is stdout, even if that is a terminal (default: stdout)"}
}

var errTerminal = errors.New("output is binary and stdout is a terminal")

// Stdout is stdout for binary data. It is refused when it is a terminal, unless -o - insists.
func Stdout(c *cli.Context) (io.Writer, error) {
	if c.String("output") != "-" && isTerminal(c.App.Writer) {
		return nil, UsageError(Hint(errTerminal, "pipe or redirect it, or insist with -o -"))
	}
	return c.App.Writer, nil
}

// Output opens what -o names for binary data: a file, truncated, or stdout. Close reports late write errors;
// closing stdout is left to the process. A reader of stdout that has stopped holds up nobody after a signal.
func Output(c *cli.Context) (io.WriteCloser, error) {
	if name := c.String("output"); name != "" && name != "-" {
		return os.Create(name)
	}
	w, err := Stdout(c)
	if err != nil {
		return nil, err
	}
	if f, ok := w.(*os.File); ok {
		widen(f)
		w = watchWrites(c, f)
	}
	return keepOpen{w}, nil
}

type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// Stdin is stdin for data; a terminal is refused, with a hint at what to pipe in. Reads end with the cause of
// c.Context's cancellation, which a plain read of a pipe would not notice.
func Stdin(c *cli.Context, hint string) (io.Reader, error) {
	if isTerminal(c.App.Reader) {
		return nil, UsageError(Hint(errors.New("nothing to read: stdin is a terminal"), hint))
	}
	f, ok := c.App.Reader.(*os.File)
	if !ok {
		return c.App.Reader, nil
	}
	widen(f)
	return interruptible(c.Context, f)
}

// Input opens the files named by args one after the other, or stdin when there are none; "-" is stdin.
func Input(c *cli.Context, args []string, hint string) (io.ReadCloser, error) {
	if len(args) == 0 {
		args = []string{"-"}
	}
	in := &input{open: func(name string) (io.ReadCloser, error) {
		if name != "-" {
			return os.Open(name)
		}
		r, err := Stdin(c, hint)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(r), nil
	}, rest: args, regular: true}
	for _, name := range args {
		in.regular = in.regular && regular(c, name)
	}
	return in, in.next() // the first one at once, so that a wrong name is told before anything starts
}

// input reads one file after the other, each opened when its turn comes.
type input struct {
	open func(name string) (io.ReadCloser, error)
	cur  io.ReadCloser
	rest []string

	regular bool
}

func regular(c *cli.Context, name string) bool {
	stat := func() (os.FileInfo, error) { return os.Stat(name) }
	if f, ok := c.App.Reader.(*os.File); name == "-" && ok {
		stat = f.Stat
	}
	st, err := stat()
	return err == nil && st.Mode().IsRegular()
}

// Regular tells that all of the input lies in regular files: reading ahead waits for nobody.
func (in *input) Regular() bool { return in.regular }

func (in *input) next() error {
	if err := in.Close(); err != nil {
		return err
	}
	if len(in.rest) == 0 {
		return io.EOF
	}
	r, err := in.open(in.rest[0])
	if err != nil {
		return err
	}
	in.cur, in.rest = r, in.rest[1:]
	return nil
}

func (in *input) Read(p []byte) (int, error) {
	for {
		if in.cur == nil {
			return 0, io.EOF
		}
		n, err := in.cur.Read(p)
		if n > 0 || err != io.EOF {
			if err == io.EOF {
				err = nil // told by the next Read
			}
			return n, err
		}
		if err := in.next(); err != nil {
			return 0, err
		}
	}
}

func (in *input) Close() error {
	if in.cur == nil {
		return nil
	}
	r := in.cur
	in.cur = nil
	return r.Close()
}

func isTerminal(v any) bool {
	f, ok := v.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

// Size is a flag value in bytes, such as 64M; units are powers of 1024: k, M, G, T.
type Size int64

// SizeFlag declares a flag whose value is a [Size].
func SizeFlag(name string, value Size, usage string) cli.Flag {
	return &cli.GenericFlag{Name: name, Value: &value, Usage: usage, DefaultText: value.String()}
}

// SizeOf is the value of a [SizeFlag].
func SizeOf(c *cli.Context, name string) int64 {
	if s, ok := c.Generic(name).(*Size); ok {
		return int64(*s)
	}
	return 0
}

const sizeUnits = "kMGT"

// Set implements flag.Value.
func (s *Size) Set(text string) error {
	var n float64
	var unit string
	if c, err := fmt.Sscanf(text+" ", "%f%s", &n, &unit); c == 0 || (err != nil && c != 1) {
		return fmt.Errorf("%q is not a size such as 64M", text)
	}
	shift := 0
	switch unit {
	case "", "B":
	case "k", "K", "KiB", "kB":
		shift = 10
	case "M", "MiB", "MB":
		shift = 20
	case "G", "GiB", "GB":
		shift = 30
	case "T", "TiB", "TB":
		shift = 40
	default:
		return fmt.Errorf("%q is not a size such as 64M", text)
	}
	if n *= float64(int64(1) << shift); n < 0 || n > 1<<62 {
		return fmt.Errorf("size %q is out of range", text)
	}
	*s = Size(n)
	return nil
}

// String implements flag.Value.
func (s *Size) String() string {
	n, unit := int64(*s), ""
	for i := 0; i < len(sizeUnits) && n != 0 && n%1024 == 0; i++ {
		n, unit = n/1024, sizeUnits[i:i+1]
	}
	return fmt.Sprint(n, unit)
}
