package wire

import "fmt"

// GoAway is GOAWAY (§9.4).
type GoAway struct{ NewSessionURI string }

// Type returns the message type.
func (*GoAway) Type() uint64 { return 0x10 }

func (m *GoAway) append(w *writer) {
	if len(m.NewSessionURI) > MaxURILength {
		w.fail(fmt.Errorf("new session URI of %d bytes: %w", len(m.NewSessionURI), ErrValue))
	}
	w.lengthString(m.NewSessionURI)
}

func (m *GoAway) parse(r *reader) {
	m.NewSessionURI = string(r.lengthBytes(MaxURILength, "new session URI"))
}
