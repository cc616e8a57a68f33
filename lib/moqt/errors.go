package moqt

import (
	"errors"
	"fmt"
	"io"
	"time"

	"every.channel/ec/lib/moqt/transport"
)

// Sentinels callers branch on.
var (
	// ErrGoingAway: the peer sent GOAWAY, so no new request may be made on this session (§9.4).
	ErrGoingAway = errors.New("peer is going away")
	// ErrClosed: the session, subscription, publication or stream was closed on this side.
	ErrClosed = transport.ErrClosed
	// ErrFingerprint: the server is not the one pinned.
	ErrFingerprint = transport.ErrFingerprint
	// ErrAnswered: a request was accepted or rejected twice.
	ErrAnswered = errors.New("request already answered")
	// ErrOrder: objects of a subgroup must have increasing ids, and payloads the size announced.
	ErrOrder = errors.New("object out of order")
	// ErrTooLarge: an object, property block or message over the configured bound.
	ErrTooLarge = errors.New("over the configured limit")
	// ErrNoForward: the subscriber set Forward State 0, so nothing may be sent.
	ErrNoForward = errors.New("subscriber asked not to forward")
)

// Errors of the connection below, which sessions pass on.
type (
	// SessionError says why a session ended.
	SessionError = transport.SessionError
	// StreamResetError is a RESET_STREAM or STOP_SENDING: of a data stream the rest will not arrive, the subscription goes on (§10.4.1).
	StreamResetError = transport.StreamResetError
)

// RequestError is a REQUEST_ERROR: the peer refused one request, the session goes on (§9.8).
type RequestError struct {
	Code   RequestCode
	Reason string
	// RetryInterval is how long to wait before asking again; Retry says whether asking again may help.
	RetryInterval time.Duration
	Retry         bool
	// Redirect says where to ask instead, with code REDIRECT (from draft 18 on); else nil. A session cannot follow it;
	// package client does.
	Redirect *Redirect
}

func (e *RequestError) Error() string {
	if r := e.Redirect; r != nil {
		return fmt.Sprintf("request refused: %v to %q, track %q: %s", e.Code, r.URI, r.Track.String(), e.Reason)
	}
	if e.Reason == "" {
		return fmt.Sprintf("request refused: %v", e.Code)
	}
	return fmt.Sprintf("request refused: %v: %s", e.Code, e.Reason)
}

// DoneError is a PUBLISH_DONE: the publisher ended the subscription, and everything it sent was read.
// TRACK_ENDED and SUBSCRIPTION_ENDED are regular ends, for which errors.Is(err, io.EOF) holds.
type DoneError struct {
	Code   DoneCode
	Reason string
}

func (e *DoneError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("subscription ended: %v", e.Code)
	}
	return fmt.Sprintf("subscription ended: %v: %s", e.Code, e.Reason)
}

// Is reports regular ends as io.EOF.
func (e *DoneError) Is(target error) bool {
	return target == io.EOF && (e.Code == wireTrackEnded || e.Code == wireSubscriptionEnded)
}
