// Package sub reads tracks from a relay, past and live, as one stream without gap or duplicate.
//
// MoQ sessions flow in (draft-ietf-moq-transport-16): FETCH for what is past, SUBSCRIBE for what comes. A framed
// object stream (docs/format/eco.md) or the bare payloads, which for a transport stream track are a transport
// stream, flow out, ordered by group and object. What is missing is fetched, waited for a bounded time, and then
// reported; what does not match its hash is dropped and reported.
package sub
