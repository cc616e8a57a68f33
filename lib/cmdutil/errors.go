package cmdutil

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"

	"every.channel/ec/lib/exit"
)

// Exit gives err an exit code; nil stays nil.
func Exit(code int, err error) error { return exit.With(code, err, "") }

// hintError is an error with a line of advice, and the code of what it wraps.
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
func UsageError(err error) error { return Exit(exit.Usage, err) }

// ExitCode is the code for err: its own if it has one, else what can be told from the system's errors.
func ExitCode(err error) int {
	if err == nil {
		return exit.OK
	}
	if code, ok := exit.Of(err); ok {
		return code
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return exit.Unreachable
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		if op.Op == "dial" {
			return exit.Unreachable
		}
		return exit.Other
	}
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EFBIG} {
		if errors.Is(err, e) {
			return exit.IO
		}
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return exit.IO
	}
	if _, ok := errors.AsType[*os.LinkError](err); ok {
		return exit.IO
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return exit.Unreachable
	}
	return exit.Other
}

// isStdoutClosed tells a reader that went away from other broken pipes, such as a socket's.
func isStdoutClosed(err error) bool {
	p, ok := errors.AsType[*fs.PathError](err)
	return ok && p.Path == os.Stdout.Name() && errors.Is(p.Err, syscall.EPIPE)
}
