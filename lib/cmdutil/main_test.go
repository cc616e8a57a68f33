package cmdutil

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/exit"
)

// ec-try is a command that does what its first argument says.
func tryApp() *cli.App {
	app := App("ec-try", "try what every command does")
	app.ArgsUsage = "VERB [FILE...]"
	app.Description = "Does what VERB says."
	app.Flags = []cli.Flag{
		OutputFlag(),
		SizeFlag("spool", 64<<20, "keep up to `SIZE` in memory"),
		&cli.DurationFlag{Name: "run-time", Value: 2 * time.Second, Usage: "`TIME` to take"},
		&cli.StringSliceFlag{Name: "peer", Usage: "a `URL`"},
		&cli.StringFlag{Name: "colour", Usage: "paint it `red|green`", Aliases: []string{"c"}},
		&cli.StringFlag{Name: "secret", Hidden: true},
		&cli.StringFlag{Name: "key", Usage: "the `KEY`", Required: true, Value: ""},
	}
	Verbs(app, Verb{"add", "put one more: there", []string{"peer", "colour"}, nil}, Verb{"show", "what's there", []string{"output"}, []string{"all"}})
	app.Action = func(c *cli.Context) error {
		if err := Args(c, 1, 4); err != nil {
			return err
		}
		switch c.Args().First() {
		case "print":
			fmt.Fprintf(c.App.Writer, "spool=%d run-time=%v key=%s peer=%q args=%q\n", SizeOf(c, "spool"),
				c.Duration("run-time"), c.String("key"), c.StringSlice("peer"), c.Args().Slice())
		case "copy":
			in, err := Input(c, c.Args().Tail(), "cat FILE | ec-try copy")
			if err != nil {
				return err
			}
			out, err := Output(c)
			if err != nil {
				return err
			}
			_, err = io.Copy(struct{ io.Writer }{out}, in)
			return errors.Join(err, out.Close(), in.Close())
		case "bad":
			return fmt.Errorf("group 7: %w", Hint(Exit(exit.BadData, errors.New("no packets")), "pipe it through ec-chop"))
		case "log":
			Logger(c).Debug("detail", "n", 1)
			Logger(c).Info("event", "n", 2)
		case "panic":
			panic("oops")
		case "wait":
			fmt.Fprintln(c.App.Writer, "waiting")
			<-c.Context.Done()
			fmt.Fprintln(c.App.Writer, "orderly")
			return c.Context.Err()
		}
		return nil
	}
	return app
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ec-try": func() { Main(tryApp()) }})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

type libError struct{}

func (libError) Error() string { return "refused" }
func (libError) ExitCode() int { return exit.NotAllowed }

func TestExitCode(t *testing.T) {
	_, notThere := os.Open("/does/not/exist")
	for _, test := range []struct {
		name string
		err  error
		want int
	}{
		{"nil", nil, exit.OK},
		{"plain", errors.New("x"), exit.Other},
		{"attached", Exit(exit.Busy, errors.New("x")), exit.Busy},
		{"wrapped", fmt.Errorf("a: %w", Exit(exit.Busy, errors.New("x"))), exit.Busy},
		{"outermost wins", Exit(exit.Protocol, Exit(exit.Busy, errors.New("x"))), exit.Protocol},
		{"library's own", fmt.Errorf("a: %w", libError{}), exit.NotAllowed},
		{"joined", errors.Join(errors.New("x"), Exit(exit.IO, errors.New("y"))), exit.IO},
		{"disk full", fmt.Errorf("a: %w", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}), exit.IO},
		{"bare disk full", fmt.Errorf("a: %w", syscall.ENOSPC), exit.IO},
		{"no such file", notThere, exit.IO},
		{"no such host", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host"}}, exit.Unreachable},
		{"connection refused", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, exit.Unreachable},
		{"deadline", context.DeadlineExceeded, exit.Unreachable},
	} {
		if got := ExitCode(test.err); got != test.want {
			t.Errorf("%s: ExitCode(%v) = %d, want %d", test.name, test.err, got, test.want)
		}
	}
	if Exit(1, nil) != nil || Hint(nil, "x") != nil {
		t.Error("nil does not stay nil")
	}
}

func TestBrokenPipeOfSocketIsNotQuiet(t *testing.T) {
	socket := &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}
	stdout := &fs.PathError{Op: "write", Path: os.Stdout.Name(), Err: syscall.EPIPE}
	var b strings.Builder
	if code := report(&terminal{w: &b}, "ec-x", nil, socket); code != exit.Other || b.Len() == 0 {
		t.Errorf("socket: exit %d, printed %q", code, &b)
	}
	b.Reset()
	if code := report(&terminal{w: &b}, "ec-x", nil, fmt.Errorf("copy: %w", stdout)); code != 141 || b.Len() != 0 {
		t.Errorf("stdout: exit %d, printed %q", code, &b)
	}
}

func TestErrorIsOneLine(t *testing.T) {
	var b strings.Builder
	report(&terminal{w: &b}, "ec-x", nil, Hint(errors.Join(errors.New("a"), errors.New("label \x1b[2Jb")), "do\nthat"))
	if want := "ec-x: error: a; label [2Jb\nec-x: hint: do; that\n"; b.String() != want {
		t.Errorf("printed %q, want %q", &b, want)
	}
}

// TestErrorIsJSON: with --log json nothing on stderr is anything else.
func TestErrorIsJSON(t *testing.T) {
	var b strings.Builder
	code := report(&terminal{w: &b, json: true}, "ec-x", nil, Hint(Exit(exit.IO, errors.New("no\nroom")), "free some"))
	var line struct{ Level, Msg, Err, Hint string }
	if err := json.Unmarshal([]byte(b.String()), &line); err != nil || code != exit.IO {
		t.Fatalf("%q: %v, code %d", &b, err, code)
	}
	if line.Level != "ERROR" || line.Err != "no; room" || line.Hint != "free some" {
		t.Errorf("%+v", line)
	}
}

func TestSize(t *testing.T) {
	for _, test := range []struct {
		in   string
		want Size
		out  string
	}{
		{"0", 0, "0"}, {"188", 188, "188"}, {"64M", 64 << 20, "64M"}, {"1.5k", 1536, "1536"},
		{"2GiB", 2 << 30, "2G"}, {"1T", 1 << 40, "1T"}, {"", -1, ""}, {"M", -1, ""}, {"3x", -1, ""}, {"-1", -1, ""}, {"9999999T", -1, ""},
	} {
		s := Size(-1)
		err := s.Set(test.in)
		if (err != nil) != (test.want == -1) || s != test.want {
			t.Errorf("Set(%q) = %d, %v; want %d", test.in, s, err, test.want)
		}
		if err == nil && s.String() != test.out {
			t.Errorf("Set(%q).String() = %q, want %q", test.in, s.String(), test.out)
		}
	}
}

func TestStatusLineYieldsToLog(t *testing.T) {
	var b strings.Builder
	term := &terminal{isTerminal: true, width: func() int { return 20 }, w: &b}
	s := Status{term}
	s.Set("half %d", 1)
	fmt.Fprintln(term, "event")
	s.Set("a line that is far too long for the terminal\x1b[2J")
	s.Clear()
	want := "\r\x1b[Khalf 1" + "\r\x1b[Kevent\nhalf 1" + "\r\x1b[Ka line that is far " + "\r\x1b[K"
	if b.String() != want {
		t.Errorf("terminal got %q\nwant         %q", &b, want)
	}
	b.Reset()
	term.isTerminal = false
	if s.Set("x"); b.Len() != 0 {
		t.Errorf("a file got %q", &b)
	}
}

func TestNotify(t *testing.T) {
	name := t.TempDir() + "/notify"
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	if err := Notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	l.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := l.Read(b); err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("got %q, %v", b[:n], err)
	}
}
