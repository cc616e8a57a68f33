package cmdutil

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// Exit codes, where they have one the numbers of sysexits.h. A signal gives 128 + its number.
const (
	OK          = 0
	Other       = 1
	Usage       = 64 // the command line is wrong
	BadData     = 65 // the input is not what it should be
	Unreachable = 69 // a device, relay or track is not there
	Bug         = 70 // please report it
	IO          = 74 // reading or writing files, disk full
	Busy        = 75 // try again later: all tuners taken
	Protocol    = 76 // the other side broke the protocol
	NotAllowed  = 77 // refused: token, key, protection
	Config      = 78 // a configuration file is wrong
)

// ExitCoder is what an error of a library implements to choose the exit code. Libraries do not import cmdutil.
type ExitCoder interface{ ExitCode() int }

// Hinter is what an error implements to tell the human what to do next, in one line.
type Hinter interface{ Hint() string }

type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }
func (e exitError) ExitCode() int { return e.code }

// Exit gives err an exit code; nil stays nil.
func Exit(code int, err error) error {
	if err == nil {
		return nil
	}
	return exitError{err, code}
}

type hintError struct {
	error
	hint string
}

func (e hintError) Unwrap() error { return e.error }
func (e hintError) Hint() string  { return e.hint }

// Hint gives err a line of advice; nil stays nil. The outermost hint of an error is printed.
func Hint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return hintError{err, hint}
}

// UsageError is a mistake on the command line: exit 64 and a pointer to --help.
func UsageError(err error) error { return Exit(Usage, err) }

func hint(err error) string {
	var h Hinter
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// ExitCode is the code for err: its own if it has one, else what can be told from the system's errors.
func ExitCode(err error) int {
	if err == nil {
		return OK
	}
	var c ExitCoder
	if errors.As(err, &c) {
		return c.ExitCode()
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return Unreachable
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		if op.Op == "dial" {
			return Unreachable
		}
		return Other
	}
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EFBIG} {
		if errors.Is(err, e) {
			return IO
		}
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return IO
	}
	if _, ok := errors.AsType[*os.LinkError](err); ok {
		return IO
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Unreachable
	}
	return Other
}

// isStdoutClosed tells a reader that went away from other broken pipes, such as a socket's.
func isStdoutClosed(err error) bool {
	p, ok := errors.AsType[*fs.PathError](err)
	return ok && p.Path == os.Stdout.Name() && errors.Is(p.Err, syscall.EPIPE)
}
