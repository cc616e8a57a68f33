package wire

import (
	"errors"
	"fmt"
)

// ErrIncomplete says that a structure ends before its last field. Inside a control message, whose length
// is known, that is a protocol violation; on a stream it means "read more".
var ErrIncomplete = errors.New("incomplete")

// ErrMalformedTrack: what came makes its track malformed; the session goes on (draft-18 §2.4.2).
var ErrMalformedTrack = errors.New("malformed track")

// ErrLimit says that a length is over the bound the caller gave, which the draft does not forbid.
var ErrLimit = errors.New("over the configured limit")

// ErrValue says that a value to be sent does not fit the draft: too large an integer, too long a name.
var ErrValue = errors.New("value not representable")

// Error is what a peer got wrong. The session is closed with Code (§3.4).
type Error struct {
	Code SessionCode
	What string // the structure or field, and what is wrong with it
	Err  error  // ErrIncomplete, or nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.What, e.Err)
	}
	return e.What
}

func (e *Error) Unwrap() error { return e.Err }

func violation(format string, args ...any) error {
	return &Error{Code: ProtocolViolation, What: fmt.Sprintf(format, args...)}
}

func badKeyValue(format string, args ...any) error {
	return &Error{Code: KeyValueFormattingError, What: fmt.Sprintf(format, args...)}
}

// Code returns the session termination code an error calls for: that of an *Error, PROTOCOL_VIOLATION for
// ErrIncomplete, INTERNAL_ERROR otherwise.
func Code(err error) SessionCode {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, ErrIncomplete):
		return ProtocolViolation
	}
	return InternalError
}
