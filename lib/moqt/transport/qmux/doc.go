// Package qmux carries streams and datagrams over one reliable connection, such as a Unix or TCP socket or a WebSocket, by
// QMux (draft-ietf-quic-qmux-01 and -02, whose bytes are the same; clauses cited as §), which keeps the frames of QUIC
// (RFC 9000) and leaves out its packets.
//
// Records flow in from a Transport and out to it; a record holds frames. What an application writes to streams flows out
// in order of urgency, as far as the peer gives credit; what the peer sends waits in streams until it is read, bounded by
// the credit given. One goroutine reads, one writes; a stream that is not read holds up no other.
//
// docs/format/qmux.md says what of the draft is spoken.
package qmux
