// Package pub publishes a framed object stream (docs/format/eco.md) to relays.
//
// Objects flow in from an io.Reader, MoQ sessions flow out (draft-ietf-moq-transport-16): PUBLISH_NAMESPACE for
// each namespace, PUBLISH for each track, one stream for each subgroup, and FIN where the input says that the
// group is whole. Objects go out as they come in. Bounded memory keeps the last seconds, and what could not be sent yet; a
// folder may keep hours (package store). When a relay is lost and found again, what is new is sent at once. A relay of
// this project lists what is here and fetches what it lacks; any other is sent the rest (backlog.go).
//
// A relay that only subscribes (that answers PUBLISH with NOT_SUPPORTED) is served all the same, and a FETCH is
// answered from memory and disk.
package pub
