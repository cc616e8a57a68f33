package wire

import "fmt"

// GoAway is GOAWAY (§9.4).
type GoAway struct {
	NewSessionURI string
	Timeout       uint64 // milliseconds until the sender gives up; 0: it does not say. From draft 18 on
	// RequestID is the smallest one of the receiver that was not processed. In draft 18, where it is absent on the stream of a
	// request.
	RequestID *uint64
}

// Type returns the message type.
func (*GoAway) Type() uint64 { return 0x10 }

func (m *GoAway) append(w *writer) {
	if len(m.NewSessionURI) > MaxURILength {
		w.fail(fmt.Errorf("new session URI of %d bytes: %w", len(m.NewSessionURI), ErrValue))
	}
	w.lengthString(m.NewSessionURI)
	if !drafts[w.v].requestStreams {
		return
	}
	w.varint(m.Timeout)
	switch {
	case m.RequestID == nil:
	case w.v.Has(GoAwayNamesRequest):
		w.varint(*m.RequestID)
	default:
		w.fail(fmt.Errorf("GOAWAY with a request id in %v: %w", w.v, ErrValue))
	}
}

func (m *GoAway) parse(r *reader) {
	m.NewSessionURI = string(r.lengthBytes(MaxURILength, "new session URI"))
	if !drafts[r.v].requestStreams {
		return
	}
	m.Timeout = r.varint("timeout")
	if r.err == nil && len(r.b) > 0 && r.v.Has(GoAwayNamesRequest) {
		id := r.varint("request id")
		m.RequestID = &id
	}
}
