// Package sub reads tracks from a relay, past and live, as one stream without gap or duplicate.
//
// MoQ sessions flow in (draft-ietf-moq-transport-16): FETCH for the past, SUBSCRIBE for what comes. A framed object stream
// (docs/format/eco.md) flows out, or bare payloads, which for a transport stream track are a transport stream, ordered by group
// and object. Missing objects are fetched, waited for a bounded time, and then reported; objects that do not match their hash are
// dropped and reported.
//
// A pull reads the track that one name stands for: one epoch for each track to which a broadcast moves. In an epoch a feeder for
// each session puts objects into the assembler, and one reader takes them out.
package sub
