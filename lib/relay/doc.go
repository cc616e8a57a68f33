// Package relay composes the server: sessions publish tracks into a store and subscribe to them.
//
// In flow MoQ sessions (draft-ietf-moq-transport-16) and a store; out flow the same objects, each stored
// before its last bytes are served. It knows nothing of media: only tracks, groups, objects and the hashes in their
// properties (docs/format/properties.md). Package live below it has the newest groups in memory and merges what publishers bring;
// here are sessions, upstreams, and what writes to subscribers. How tracks of several publishers are merged, how slow
// subscribers are treated and what survives a crash is in docs/relay.md.
package relay
