package wire

import (
	"fmt"

	"every.channel/ec/lib/object"
)

// RequestError is REQUEST_ERROR (§9.8).
type RequestError struct {
	RequestID uint64 // not on the wire in drafts with a stream per request
	Code      RequestCode
	// RetryInterval is the shortest time to the next try in milliseconds, plus one; 0: do not try again.
	RetryInterval uint64
	Reason        string
	Redirect      *Redirect // from draft 18 on, with code REDIRECT only
}

// Redirect says where a request may be tried again (draft-18 §10.6.1). An empty URI means this session, an empty name the
// same track up to draft 18.
type Redirect struct {
	URI   string
	Track object.TrackName
}

// Type returns the message type.
func (*RequestError) Type() uint64 { return 0x05 }

func (m *RequestError) append(w *writer) {
	w.answered(m.RequestID)
	w.varint(drafts[w.v].requests.number(uint64(m.Code)))
	w.varint(m.RetryInterval)
	w.reason(m.Reason)
	redirects := drafts[w.v].requestStreams && m.Code == RequestRedirect
	if redirects != (m.Redirect != nil) {
		w.fail(fmt.Errorf("code %v with redirect %v: %w", m.Code, m.Redirect, ErrValue))
		return
	}
	if redirects {
		w.lengthString(m.Redirect.URI)
		w.trackName(m.Redirect.Track)
	}
}

func (m *RequestError) parse(r *reader) {
	m.RequestID = r.answered()
	m.Code = RequestCode(drafts[r.v].requests.code(r.varint("error code")))
	m.RetryInterval = r.varint("retry interval")
	m.Reason = r.reason()
	if drafts[r.v].requestStreams && m.Code == RequestRedirect {
		m.Redirect = &Redirect{URI: string(r.lengthBytes(MaxURILength, "connect URI")), Track: r.trackName()}
	}
}
