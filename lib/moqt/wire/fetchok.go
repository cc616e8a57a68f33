package wire

// FetchOK is FETCH_OK (§9.17).
type FetchOK struct {
	RequestID  uint64 // not on the wire in drafts with a stream per request
	EndOfTrack bool
	End        Location // exclusive; object 0: with that whole group
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
	w.location(endWritten(m.End, w.v))
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
	m.End = endRead(r.location("end"), r.v)
	m.Parameters = r.parameters()
	m.Properties = r.trackProperties()
}

// endWritten is what a draft writes for the end of a range. From draft 20 on that is the last object, and a whole group ends with the
// largest id there can be.
func endWritten(end Location, v Version) Location {
	if drafts[v].filterFetch {
		end.Object--
	}
	return end
}

// endRead is the end of a range that was written by endWritten.
func endRead(end Location, v Version) Location {
	if drafts[v].filterFetch {
		end.Object++
	}
	return end
}
