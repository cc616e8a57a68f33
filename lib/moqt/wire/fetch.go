package wire

import (
	"fmt"

	"every.channel/ec/lib/object"
)

// FetchType tells the forms of FETCH apart (§9.16).
type FetchType uint64

// Fetch types.
const (
	FetchStandalone      FetchType = 1
	FetchRelativeJoining FetchType = 2
	FetchAbsoluteJoining FetchType = 3

	// FetchRelative starts Groups before the group after the largest one. It is in no draft's wire but what draft 20 has in place of
	// joining.
	FetchRelative FetchType = 4
)

// Fetch is FETCH (§9.16).
type Fetch struct {
	RequestID uint64
	FetchType FetchType

	// Standalone (§9.16.1); the track of Relative, too.
	Track object.TrackName
	Start Location
	End   Location // the last object plus one; object 0: the whole group; FetchOpenEnd: up to the largest object

	Groups uint64 // Relative

	// Joining (§9.16.2).
	JoiningRequestID uint64
	JoiningStart     uint64

	Parameters Parameters
}

// FetchOpenEnd is the end of a FETCH that has none.
var FetchOpenEnd = Location{Group: MaxVarint}

// Type returns the message type.
func (*Fetch) Type() uint64 { return 0x16 }

// Joins reports whether it is about a subscription.
func (m *Fetch) Joins() bool {
	return m.FetchType == FetchRelativeJoining || m.FetchType == FetchAbsoluteJoining
}

func (m *Fetch) append(w *writer) {
	w.varint(m.RequestID)
	if drafts[w.v].filterFetch {
		m.appendFiltered(w)
		return
	}
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
	if drafts[r.v].filterFetch {
		m.parseFiltered(r)
		return
	}
	m.FetchType = FetchType(r.varint("fetch type"))
	switch m.FetchType {
	case FetchStandalone:
		m.Track = r.trackName()
		m.Start = r.location("fetch start")
		m.End = r.location("fetch end")
		if r.err == nil && m.End.Less(m.Start) && !(m.End.Group == m.Start.Group && m.End.Object == 0) {
			r.fail(violation("fetch from %v to %v", m.Start, m.End))
		}
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

// appendFiltered writes track and range as draft 20 has them (draft-20 §10.13).
func (m *Fetch) appendFiltered(w *writer) {
	w.trackName(m.Track)
	p := m.Parameters
	last := endWritten(m.End, w.v)
	f := &Filter{Type: FilterObjectRange, Start: m.Start, EndGroup: last.Group, EndObject: last.Object}
	switch {
	case m.FetchType == FetchRelative:
		f = &Filter{Type: FilterRelativeStart, Groups: m.Groups}
	case m.FetchType != FetchStandalone:
		w.fail(fmt.Errorf("fetch type %d in %v: %w", m.FetchType, w.v, ErrValue))
	case m.End != FetchOpenEnd:
		if m.End.Object == 0 {
			f.Type = FilterAbsoluteRange
		}
	case m.Start == Location{}:
		f = nil
	default:
		f.Type = FilterAbsoluteStart
	}
	p.SubscriptionFilter = f
	w.parameters(p)
}

func (m *Fetch) parseFiltered(r *reader) {
	m.Track = r.trackName()
	m.Parameters = r.parameters()
	m.FetchType, m.End = FetchStandalone, FetchOpenEnd
	f := m.Parameters.SubscriptionFilter
	m.Parameters.SubscriptionFilter = nil
	if f == nil {
		return
	}
	m.Start = f.Start
	switch f.Type {
	case FilterNextGroupStart, FilterLargestObject, FilterRelativeStart: // the first two of these start after all there is
		m.FetchType, m.End, m.Groups = FetchRelative, Location{}, f.Groups
	case FilterAbsoluteRange:
		m.End = Location{Group: f.EndGroup}
	case FilterObjectRange:
		m.End = endRead(Location{f.EndGroup, f.EndObject}, r.v)
	}
}
