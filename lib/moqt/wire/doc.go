// Package wire encodes and decodes what MoQ Transport puts on the wire: control messages, stream
// headers, object headers and datagrams of draft-ietf-moq-transport-16 and -18. Clauses are those of draft 16 unless it says
// draft-18.
//
// Bytes flow in and Go structures flow out, and back; nothing here reads a socket or keeps state.
// Encoders append to a slice. Decoders are bounded: no length is believed before it was compared with
// the bytes at hand and with the draft's limit, nothing is allocated for bytes that are not there,
// and nothing panics on input. What a peer got wrong comes back as an *Error, which carries the code
// the session has to be closed with.
//
// A Version selects the codec. Everything that differs between drafts (integer encoding, message
// types, form of the parameters) is looked up in the table in version.go; a structure whose fields
// differ asks the same table. Adding a draft changes this package and that table only.
package wire
