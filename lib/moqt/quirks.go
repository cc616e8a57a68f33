package moqt

// moqNetJS is what the JavaScript library @moq/net says it is.
const moqNetJS = "moq-lite-js"

// largestFor is what the peer is told as LARGEST_OBJECT.
//
// @moq/net up to 0.3.4 expects a length before it in draft 18, where a location has none (18 §10.2), and gives the request
// up. (It uses the value for nothing; its authors' Rust library was mended in September 2026.) It does without: the track
// then looks as if it had no objects yet.
func (s *Session) largestFor(l *Location) *Location {
	if s.v.RequestStreams() && s.peer.Implementation == moqNetJS {
		return nil
	}
	return l
}
