package wire

import (
	"fmt"

	"every.channel/ec/lib/object"
)

// FetchType tells the three forms of FETCH apart (§9.16).
type FetchType uint64

// Fetch types.
const (
	FetchStandalone      FetchType = 1
	FetchRelativeJoining FetchType = 2
	FetchAbsoluteJoining FetchType = 3
)

// Fetch is FETCH (§9.16).
type Fetch struct {
	RequestID uint64
	FetchType FetchType

	// Standalone (§9.16.1).
	Track object.TrackName
	Start Location
	End   Location // the last object plus one; object 0: the whole group

	// Joining (§9.16.2).
	JoiningRequestID uint64
	JoiningStart     uint64

	Parameters Parameters
}

// Type returns the message type.
func (*Fetch) Type() uint64 { return 0x16 }

func (m *Fetch) append(w *writer) {
	w.varint(m.RequestID)
	w.varint(uint64(m.FetchType))
	switch m.FetchType {
	case FetchStandalone:
		w.trackName(m.Track)
		w.location(m.Start)
		w.location(m.End)
	case FetchRelativeJoining, FetchAbsoluteJoining:
		w.varint(m.JoiningRequestID)
		w.varint(m.JoiningStart)
	default:
		w.fail(fmt.Errorf("fetch type %d: %w", m.FetchType, ErrValue))
	}
	w.parameters(m.Parameters)
}

func (m *Fetch) parse(r *reader) {
	m.RequestID = r.varint("request id")
	m.FetchType = FetchType(r.varint("fetch type"))
	switch m.FetchType {
	case FetchStandalone:
		m.Track = r.trackName()
		m.Start = r.location("fetch start")
		m.End = r.location("fetch end")
	case FetchRelativeJoining, FetchAbsoluteJoining:
		m.JoiningRequestID = r.varint("joining request id")
		m.JoiningStart = r.varint("joining start")
	default:
		if r.err == nil {
			r.fail(violation("fetch type %d", uint64(m.FetchType)))
		}
	}
	m.Parameters = r.parameters()
}
