// Package sub reads tracks from a relay, past and live, as one stream without gap or duplicate.
//
// MoQ sessions flow in (draft-ietf-moq-transport-16): FETCH for what is past, SUBSCRIBE for what comes. A framed
// object stream (docs/format/eco.md) or the bare payloads, which for a transport stream track are a transport
// stream, flow out, ordered by group and object. What is missing is fetched, waited for a bounded time, and then
// reported; what does not match its hash is dropped and reported.
//
// A pull reads what one name stands for: one epoch for each track to which a broadcast moves. In an epoch a feeder for each
// session puts what comes into the assembler, and one reader takes it out.
package sub
