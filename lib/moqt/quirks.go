package moqt

import (
	"math"

	"every.channel/ec/lib/moqt/wire"
)

// moqNetJS is what the JavaScript library @moq/net says it is.
const moqNetJS = "moq-lite-js"

// largestFor is what the peer is told as LARGEST_OBJECT.
//
// @moq/net up to 0.3.4 expects a length before it in draft 18, where a location has none (18 §10.2), and gives the request
// up. (It uses the value for nothing; its authors' Rust library was mended in September 2026.) It does without: the track
// then looks as if it had no objects yet. MediaMTX, which does not say its name, knows no parameter but tokens.
func (s *Session) largestFor(l *Location) *Location { return s.ways.largest(s, l) }

func largestUnlessMistaken(s *Session, l *Location) *Location {
	name := s.peer.Implementation
	if name == moqNetJS || s.cfg.Lenient && name == "" {
		return nil
	}
	return l
}

// parseRequest decodes a message of a request of the peer.
//
// @moq/net up to 0.2.8 writes all parameters of drafts from 17 on that are numbers as variable-length integers, so a priority from 128 on
// takes two bytes where the draft has one. (0.3.3 writes them right; @moq/watch 0.4.6 still takes 0.2.8.) What cannot be read by the draft
// is read that way.
func (s *Session) parseRequest(v Version, typ uint64, payload []byte) (wire.Message, error) {
	m, err := wire.ParseMessage(v, typ, payload)
	if err != nil && s.peer.Implementation == moqNetJS {
		if wide, wideErr := wire.ParseWideMessage(v, typ, payload); wideErr == nil {
			return wide, nil
		}
	}
	return m, err
}

// renumber gives a request of the peer an id of this side's choice, if the session is lenient: MediaMTX counts 1, 2, 3. In
// drafts where every request has a stream, the id on the wire is for joining fetches alone.
func (s *Session) renumber(id *uint64) {
	if s.carrier.anyIDs() {
		*id = s.requests.renumber()
	}
}

// joined finds the subscription that a joining fetch names; requestTable.mu is held.
func (s *Session) joined(id uint64) uint64 {
	if !s.carrier.anyIDs() {
		return id
	}
	for _, r := range s.requests.open {
		if !r.own && r.said == id && r.typ == typeSubscribe {
			return r.id
		}
	}
	return math.MaxUint64
}
