package wire

// FetchOK is FETCH_OK (§9.17).
type FetchOK struct {
	RequestID  uint64 // not on the wire in drafts with a stream per request
	EndOfTrack bool
	End        Location
	Parameters Parameters
	Properties []byte // track properties (§10): key-value-pairs
}

// Type returns the message type.
func (*FetchOK) Type() uint64 { return 0x18 }

func (m *FetchOK) append(w *writer) {
	w.answered(m.RequestID)
	if m.EndOfTrack {
		w.byte(1)
	} else {
		w.byte(0)
	}
	w.location(m.End)
	w.parameters(m.Parameters)
	w.properties(m.Properties)
}

func (m *FetchOK) parse(r *reader) {
	m.RequestID = r.answered()
	eot := r.byte("end of track")
	if eot > 1 {
		r.fail(violation("end of track %d", eot))
	}
	m.EndOfTrack = eot == 1
	m.End = r.location("end")
	m.Parameters = r.parameters()
	m.Properties = r.trackProperties()
}
