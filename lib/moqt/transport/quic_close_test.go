package transport

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// resetStream is a stream that its peer has refused.
type resetStream struct{ ctx context.Context }

func (resetStream) Write([]byte) (int, error)        { return 0, nil }
func (resetStream) Close() error                     { return errors.New("close called for canceled stream 7") }
func (resetStream) CancelWrite(quic.StreamErrorCode) {}
func (resetStream) SetPriority(int8, bool)           {}
func (resetStream) SetWriteDeadline(time.Time) error { return nil }
func (s resetStream) Context() context.Context       { return s.ctx }
func (resetStream) StreamID() quic.StreamID          { return 7 }

// TestCloseOfRefusedStream: who closes a stream just when the peer refuses it learns that, and not that something is broken.
func TestCloseOfRefusedStream(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(&quic.StreamError{StreamID: 7, ErrorCode: 0x12, Remote: true})
	err := quicSendStream{resetStream{ctx}}.Close()
	if reset, ok := errors.AsType[*StreamResetError](err); !ok || !reset.Remote || reset.Code != 0x12 {
		t.Errorf("%v", err)
	}
}
