package transport

import (
	"errors"
	"fmt"

	"every.channel/ec/lib/moqt/wire"
)

// ErrClosed: the connection, stream or listener was closed on this side.
var ErrClosed = errors.New("closed")

// SessionError says why a connection ended, and with it the session on it.
type SessionError struct {
	Code   wire.SessionCode
	Reason string
	Remote bool // the peer closed it
}

func (e *SessionError) Error() string {
	who := "session closed"
	if e.Remote {
		who = "session closed by peer"
	}
	if e.Reason == "" {
		return fmt.Sprintf("%s: %v", who, e.Code)
	}
	return fmt.Sprintf("%s: %v: %s", who, e.Code, e.Reason)
}

// Is makes errors.Is(err, ErrClosed) true for every connection that was closed.
func (e *SessionError) Is(target error) bool { return target == ErrClosed }

// StreamResetError is a RESET_STREAM received while reading a stream, or a STOP_SENDING received while writing one. Other streams go on.
type StreamResetError struct {
	Code   wire.ResetCode
	Remote bool
}

func (e *StreamResetError) Error() string {
	if e.Remote {
		return fmt.Sprintf("stream reset by peer: %v", e.Code)
	}
	return fmt.Sprintf("stream reset: %v", e.Code)
}
