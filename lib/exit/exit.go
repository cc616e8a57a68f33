// Package exit is the one home of exit codes: what the end of a program says of the reason. An error of any package chooses its code
// by a method ExitCode; cmdutil gives a code to errors that have none, such as the system's, and alone ends the process.
package exit

import "errors"

// Codes, with the numbers of sysexits.h where that has one. The README's table is for users. A signal gives 128 and its number.
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
	Config      = 78 // the configuration is wrong: its file, an address, a key
)

// Coder is an error that chooses its code.
type Coder interface{ ExitCode() int }

// Of is the code that err, or an error that err wraps, chose; false if none did.
func Of(err error) (code int, ok bool) {
	var c Coder
	if errors.As(err, &c) {
		return c.ExitCode(), true
	}
	return Other, false
}

// With gives err a code, and a line of advice for a person unless hint is "". nil stays nil.
func With(code int, err error, hint string) error {
	if err == nil {
		return nil
	}
	return &coded{err, code, hint}
}

// coded is an error with a code.
type coded struct {
	error
	code int
	hint string
}

func (e *coded) Unwrap() error { return e.error }
func (e *coded) ExitCode() int { return e.code }

// Hint is what to do about the error, or the hint of what it wraps.
func (e *coded) Hint() string {
	if e.hint == "" {
		return Hint(e.error)
	}
	return e.hint
}

// Hint is the advice that err, or an error that err wraps, has for a person, in one line, or "".
func Hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
