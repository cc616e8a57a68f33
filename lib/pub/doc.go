// Package pub publishes a framed object stream (docs/format/eco.md) to relays.
//
// Objects flow in from an io.Reader, MoQ sessions flow out (draft-ietf-moq-transport-16): PUBLISH_NAMESPACE for
// each namespace, PUBLISH for each track, one stream for each subgroup, and FIN where the input says that the
// group is whole. Objects go out as they come in. A bounded spool keeps the last seconds: when a relay is lost and
// found again, all groups of the spool are sent again, which the relay recognises by their hashes, so a loss
// shorter than the spool leaves no gap.
//
// A relay that only subscribes (that answers PUBLISH with NOT_SUPPORTED) is served all the same, and a FETCH is
// answered from the spool.
package pub
