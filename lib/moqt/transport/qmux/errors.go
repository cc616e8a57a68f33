package qmux

import (
	"errors"
	"fmt"
	"io"
)

// TransportCode is an error code of the transport (RFC 9000 §20.1).
type TransportCode uint64

const (
	NoError                 TransportCode = 0x00
	InternalError           TransportCode = 0x01
	FlowControlError        TransportCode = 0x03
	StreamLimitError        TransportCode = 0x04
	StreamStateError        TransportCode = 0x05
	FinalSizeError          TransportCode = 0x06
	FrameEncodingError      TransportCode = 0x07
	TransportParameterError TransportCode = 0x08
	ProtocolViolation       TransportCode = 0x0a
	// NoApplicationProtocol is what QUIC makes of the TLS alert 120 (RFC 9001 §4.8, RFC 7301 §3.2).
	NoApplicationProtocol TransportCode = 0x178
)

var codeNames = map[TransportCode]string{
	NoError: "NO_ERROR", InternalError: "INTERNAL_ERROR", FlowControlError: "FLOW_CONTROL_ERROR",
	StreamLimitError: "STREAM_LIMIT_ERROR", StreamStateError: "STREAM_STATE_ERROR", FinalSizeError: "FINAL_SIZE_ERROR",
	FrameEncodingError: "FRAME_ENCODING_ERROR", TransportParameterError: "TRANSPORT_PARAMETER_ERROR",
	ProtocolViolation: "PROTOCOL_VIOLATION", NoApplicationProtocol: "no application protocol in common",
}

func (c TransportCode) String() string {
	if s, ok := codeNames[c]; ok {
		return s
	}
	return fmt.Sprintf("transport error %#x", uint64(c))
}

// TransportError ends a connection because one side broke the protocol: CONNECTION_CLOSE of type 0x1c.
type TransportError struct {
	Code   TransportCode
	Reason string
	Remote bool // the peer found it
}

func (e *TransportError) Error() string {
	return closeText("qmux: "+e.Code.String(), e.Reason, e.Remote)
}

// ApplicationError ends a connection as the application of one side wished: CONNECTION_CLOSE of type 0x1d.
type ApplicationError struct {
	Code   uint64
	Reason string
	Remote bool
}

func (e *ApplicationError) Error() string {
	return closeText(fmt.Sprintf("qmux: closed with code %#x", e.Code), e.Reason, e.Remote)
}

func closeText(what, reason string, remote bool) string {
	if remote {
		what += " by peer"
	}
	if reason != "" {
		what += ": " + reason
	}
	return what
}

// StreamError is a RESET_STREAM or STOP_SENDING, the peer's or this side's own.
type StreamError struct {
	Code   uint64
	Remote bool
}

func (e *StreamError) Error() string {
	return closeText(fmt.Sprintf("qmux: stream reset with code %#x", e.Code), "", e.Remote)
}

var (
	// ErrIdle: nothing arrived for the idle timeout, or the peer did not read what was sent for that long.
	ErrIdle = errors.New("qmux: nothing heard from peer")
	// ErrLost: the transport ended without CONNECTION_CLOSE.
	ErrLost = errors.New("qmux: connection lost")
	// ErrHandshake: no transport parameters within the handshake timeout.
	ErrHandshake = errors.New("qmux: no transport parameters from peer")
	// ErrWriteAfterClose: Write on a stream that was closed on this side.
	ErrWriteAfterClose = errors.New("qmux: write on closed stream")
)

// lost is the error of a connection whose transport has ended with err. It is never io.EOF, which would say that each stream came to its end.
func lost(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}

func broken(code TransportCode, format string, args ...any) error {
	return &TransportError{Code: code, Reason: fmt.Sprintf(format, args...)}
}
